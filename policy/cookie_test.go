package policy

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFilteredCookiesKeepOrderAndBytes(t *testing.T) {
	tests := []struct{ name, line, want string }{
		{"alone", "gw=x", ""},
		{"first", "gw=x; a=1; b=2", "a=1; b=2"},
		{"last", "a=1; gw=x", "a=1"},
		{"twice, in every spacing", "gw=x;a=1;gw=y ; b=2", "a=1; b=2"},
		{"odd bytes of others", `a="1, 2"; gw=x;b=%20=;;c`, `a="1, 2";b=%20=;;c`},
		{"a name that merely ends alike", "xgw=1; gwx=2", "xgw=1; gwx=2"},
		{"another case is another cookie", "GW=1", "GW=1"},
		{"a value that looks like it", "a=gw; b=gw=1", "a=gw; b=gw=1"},
		{"blanks around the name", " gw =x; a=1", "a=1"},
		{"bytes that some upstreams skip", "\xa0gw\x85=x; a=1", "a=1"},
		{"no value at all", "gw; a=1", "a=1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := http.Header{"Cookie": {tt.line, "other=line"}}
			FilterCookies(h, func(name, _ string) bool { return name != "gw" })
			want := []string{tt.want, "other=line"}
			if tt.want == "" {
				want = want[1:]
			}
			if diff := cmp.Diff(want, h["Cookie"]); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
