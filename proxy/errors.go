package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"

	"github.com/jewgo/gateway/internal/exchange"
)

// Reasons that the proxy notes in Facts.Reason.
const (
	ReasonClientGone  = "client left"                          // 499, or a truncated response
	ReasonTooLarge    = "request body too large"               // 413
	ReasonBadBody     = "request body malformed"               // 400
	ReasonSlowBody    = "request body stalled"                 // 408
	ReasonUpgrade     = "upgrade malformed"                    // 400
	ReasonNoTarget    = "upstream has no target"               // 503
	ReasonBusy        = "upstream busy"                        // 503
	ReasonUnreachable = "upstream unreachable"                 // 502
	ReasonTimeout     = "upstream too slow"                    // 504
	ReasonBroken      = "upstream answered with no valid head" // 502
	ReasonBrokeOff    = "upstream broke off its answer"        // the response's own status, aborted
	ReasonLeaving     = "gateway stopped"                      // cut off after drain: the response's status, or 503 without one; also event streams that were ended for it
)

var (
	// ErrNoTarget is returned by Pools for an unknown upstream.
	ErrNoTarget = errors.New("proxy: no target")
	// ErrBusy is returned by Pools for a request beyond what the upstream can serve at once.
	ErrBusy = errors.New("proxy: upstream busy")

	errStalled = errors.New("proxy: upstream sent nothing for too long")
	errStatus  = errors.New("proxy: upstream answered with a status below 100")
	errUpgrade = errors.New("proxy: upstream switched to a protocol that was not requested")
)

// failure is what an error means to the client.
type failure struct {
	status int
	reason string
	detail string // for the client
}

// judge is the one place where errors become statuses. ctxErr is the error of the request's context,
// upload that of the client's body, err the transport's. Errors of the client come first, since they
// also make the transport fail, with some other error.
func judge(ctxErr, upload, err error) failure {
	var tooLarge *http.MaxBytesError
	var op *net.OpError
	switch {
	case errors.As(upload, &tooLarge) || errors.As(err, &tooLarge):
		return failure{http.StatusRequestEntityTooLarge, ReasonTooLarge, "the body is too large"}
	case upload != nil:
		return judgeUpload(upload)
	case errors.Is(ctxErr, context.Canceled):
		return failure{status: exchange.StatusClientGone, reason: ReasonClientGone}
	case ctxErr != nil:
		return failure{http.StatusGatewayTimeout, ReasonTimeout, "the upstream did not answer in time"}
	case errors.Is(err, ErrNoTarget):
		return failure{http.StatusServiceUnavailable, ReasonNoTarget, "the upstream is not available"}
	case errors.Is(err, ErrBusy):
		return failure{http.StatusServiceUnavailable, ReasonBusy, "the upstream has as many requests as it can serve"}
	case errors.As(err, &op) && op.Op == "dial":
		return failure{http.StatusBadGateway, ReasonUnreachable, "the upstream cannot be reached"}
	case isTimeout(err):
		return failure{http.StatusGatewayTimeout, ReasonTimeout, "the upstream did not answer in time"}
	}
	return failure{http.StatusBadGateway, ReasonBroken, "the upstream gave no valid answer"}
}

// judgeUpload tells apart clients that are slow, have disconnected, or send a malformed body.
func judgeUpload(err error) failure {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return failure{http.StatusRequestTimeout, ReasonSlowBody, "the body did not arrive in time"}
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, context.Canceled), errors.Is(err, net.ErrClosed),
		errors.Is(err, syscall.ECONNRESET), isNetwork(err):
		return failure{status: exchange.StatusClientGone, reason: ReasonClientGone}
	}
	return failure{http.StatusBadRequest, ReasonBadBody, "the body is malformed"}
}

func isNetwork(err error) bool {
	var e net.Error
	return errors.As(err, &e)
}

func isTimeout(err error) bool {
	var e net.Error
	return errors.As(err, &e) && e.Timeout()
}
