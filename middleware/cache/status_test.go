package cache

import (
	"net/http"
	"testing"
	"time"

	"github.com/dunglas/httpsfv"
)

// FuzzCacheStatus checks that the field stays a List, whatever the upstream made
// of it (RFC 9211, 2).
func FuzzCacheStatus(f *testing.F) {
	f.Add("inner; hit", 200, int64(-1))
	f.Add(`inner; "`, 0, int64(1)<<60)
	f.Fuzz(func(t *testing.T, upstream string, status int, ttl int64) {
		h := http.Header{statusField: {upstream}}
		dropInvalidStatus(h)
		addStatus(h, hitStatus(time.Duration(ttl), tierLocal))
		addStatus(h, forwarded{why: forwardStale, status: status % 1000, stored: true, detail: "stale-if-error"}.String())
		list, err := httpsfv.UnmarshalList(h[statusField])
		if err != nil || len(list) < 2 {
			t.Fatalf("%q: %v", h[statusField], err)
		}
		last, ok := list[len(list)-1].(httpsfv.Item)
		if why, _ := last.Params.Get("fwd"); !ok || why != httpsfv.Token(forwardStale) {
			t.Errorf("%q ends with %v", h[statusField], last)
		}
	})
}
