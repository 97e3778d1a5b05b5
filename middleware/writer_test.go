package middleware_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/jewgo/gateway/middleware"
)

// told records the calls of a hook.
type told struct {
	name string
	by   *[]string
}

func (t told) OnHeader(status int, _ http.Header) {
	*t.by = append(*t.by, fmt.Sprint(t.name, " ", status))
}

// The inner layer's hook comes first. Hooks see interim heads, and the final one once, however it
// is sent.
func TestOnHeader(t *testing.T) {
	for name, answer := range map[string]func(w http.ResponseWriter){
		"WriteHeader": func(w http.ResponseWriter) { w.WriteHeader(200); w.WriteHeader(200) },
		"Write":       func(w http.ResponseWriter) { _, _ = w.Write(nil); _, _ = w.Write(nil) },
		"Flush":       func(w http.ResponseWriter) { _ = http.NewResponseController(w).Flush() },
	} {
		var got []string
		w := middleware.OnHeader(httptest.NewRecorder(), told{"outer", &got})
		w = middleware.OnHeader(w, told{"inner", &got})
		w.WriteHeader(http.StatusEarlyHints)
		answer(w)
		if want := []string{"inner 103", "outer 103", "inner 200", "outer 200"}; !slices.Equal(got, want) {
			t.Errorf("%s: %v", name, got)
		}
	}
}
