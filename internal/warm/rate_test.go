package warm_test

import (
	"context"
	"testing"
	"time"

	"github.com/jewgo/gateway/internal/warm"
)

// A rate that is next to none is no rate without a bound.
func TestRunHoldsATinyRate(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	urls := make([]string, 1000)
	r := warm.New(urls, warm.Config{Ask: func(string) warm.Outcome { return warm.Outcome{Status: 200} }, Rate: 1e-12, AtOnce: 1})
	r.Run(ctx)
	if p := r.Progress(); p.Done > 1 {
		t.Errorf("%d requests at once", p.Done)
	}
}
