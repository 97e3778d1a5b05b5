package proxy

import (
	"errors"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/jewgo/gateway/internal/gcra"
)

// idempotent lists the methods that may be sent twice (RFC 9110, 9.2.2).
var idempotent = []string{
	http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete,
}

// repeatable reports whether a request may be retried after err: no response came, the client still
// waits, the method is idempotent, and there is no body. Timeouts of a slow upstream are not retried,
// since that would make it slower.
func repeatable(req *http.Request, err error) bool {
	if req.Context().Err() != nil || errors.Is(err, errUpgrade) {
		return false
	}
	if req.Body != nil && req.Body != http.NoBody || !slices.Contains(idempotent, req.Method) {
		return false
	}
	var op *net.OpError
	return !isTimeout(err) || errors.As(err, &op) && op.Op == "dial"
}

// The window of a retryBudget, and the retries that are always granted, so that an upstream with
// little traffic has any.
const budgetWindow = 5 * time.Second

var budgetFloor = gcra.Quota{Rate: 3, Period: time.Second, Burst: 3}

// retryBudget bounds retries to a share of the recent requests, so that a failing upstream does not
// get twice the load. In addition, three retries per second are always granted.
type retryBudget struct {
	share float64

	mu       sync.Mutex // guards what follows
	window   int64      // number of the current window
	now, old tally      // of the current and the previous window
	floor    int64      // theoretical arrival time of budgetFloor
}

type tally struct{ requests, retries int }

// request counts a request.
func (b *retryBudget) request(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.turnLocked(now)
	b.now.requests++
}

// take reports whether a retry is granted, and if so counts it.
func (b *retryBudget) take(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	var free gcra.Result
	if b.floor, free = budgetFloor.Take(b.floor, now.UnixNano(), 1); free.Allowed {
		return true
	}
	b.turnLocked(now)
	if float64(b.now.retries+b.old.retries+1) > b.share*float64(b.now.requests+b.old.requests) {
		return false
	}
	b.now.retries++
	return true
}

// turnLocked advances to the window of now.
func (b *retryBudget) turnLocked(now time.Time) {
	window := now.UnixNano() / int64(budgetWindow)
	switch window - b.window {
	case 0:
		return
	case 1:
		b.old = b.now
	default:
		b.old = tally{}
	}
	b.window, b.now = window, tally{}
}
