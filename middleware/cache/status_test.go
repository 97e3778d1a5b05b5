package cache

import (
	"net/http"
	"testing"
	"time"

	"github.com/dunglas/httpsfv"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/policy"
)

// FuzzCacheStatus checks that the field is always a List, whatever the upstream's members and the
// key are, and has the right parameters (RFC 9211, 2).
func FuzzCacheStatus(f *testing.F) {
	debug := &exchange.Exchange{Snapshot: &policy.Snapshot{Policy: &policy.Policy{Cache: policy.Cache{Debug: true}}}}
	f.Add("inner; hit", 200, int64(-1), "key")
	f.Add(`inner; "`, 0, int64(1)<<60, `a"\b`)
	f.Fuzz(func(t *testing.T, upstream string, status int, ttl int64, key string) {
		h := http.Header{statusField: {upstream}}
		dropInvalidStatus(h)
		addStatus(h, hitStatus(time.Duration(ttl), tierLocal, shownKey(debug, key)))
		addStatus(h, forwarded{why: forwardStale, status: status % 1000, stored: true, detail: "stale-if-error"}.String())
		list, err := httpsfv.UnmarshalList(h[statusField])
		if err != nil || len(list) < 2 {
			t.Fatalf("%q: %v", h[statusField], err)
		}
		last, ok := list[len(list)-1].(httpsfv.Item)
		if why, _ := last.Params.Get("fwd"); !ok || why != httpsfv.Token(forwardStale) {
			t.Errorf("%q ends with %v", h[statusField], last)
		}
		hit, ok := list[len(list)-2].(httpsfv.Item)
		left, _ := hit.Params.Get("ttl")
		if seconds, whole := left.(int64); !ok || !whole || seconds < 0 != (ttl < 0) {
			t.Errorf("%q says ttl %v of %d ns", h[statusField], left, ttl)
		}
		if shown, there := hit.Params.Get("key"); there && shown != key {
			t.Errorf("%q shows the key %q", h[statusField], key)
		}
	})
}

func TestRFC9211_TheMembersParameters(t *testing.T) {
	debug := &exchange.Exchange{Snapshot: &policy.Snapshot{Policy: &policy.Policy{Cache: policy.Cache{Debug: true}}}}
	for _, tt := range []struct{ says, got, want string }{
		{"2.1, 2.4: a hit", hitStatus(1500*time.Millisecond, tierLocal, ""), "edge; hit; ttl=1; detail=l1"},
		{"2.4: stale by less than a second", hitStatus(-time.Millisecond, "", ""), "edge; hit; ttl=-1"},
		{"2.7: the key", hitStatus(0, tierShared, shownKey(debug, "Zm9v-_")), `edge; hit; ttl=0; key="Zm9v-_"; detail=l2`},
		{"2.7: as a String", forwarded{why: forwardMiss, key: shownKey(debug, `a"\`)}.String(), `edge; fwd=uri-miss; key="a\"\\"`},
		{"2.7: a key that is not a String", forwarded{why: forwardMiss, key: shownKey(debug, "é\x00")}.String(), `edge; fwd=uri-miss`},
		{"2.2, 2.3, 2.5, 2.6", forwarded{why: forwardVary, status: 200, stored: true, collapsed: true}.String(), "edge; fwd=vary-miss; fwd-status=200; stored; collapsed"},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: %s, want %s", tt.says, tt.got, tt.want)
		}
	}
}
