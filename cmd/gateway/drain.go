package main

import (
	"context"
	"net/http"
	"os"
	"syscall"
	"time"

	"github.com/jewgo/gateway/internal/systemd"
)

const (
	// lastArrivals is how long requests are still accepted after the listener was
	// closed: http.Server.Shutdown drops a request that was just read.
	lastArrivals = 200 * time.Millisecond
	// lastWords is the time for orders of certificates to end, for close frames of WebSockets
	// that are cut off, and then for their log lines.
	lastWords = time.Second
	// drainLook is how often requests in flight are counted.
	drainLook = 10 * time.Millisecond
)

// drain ends the service without failing a request. First /readyz says that the gateway
// is not ready, while everything is served, one more request a connection (lame_duck).
// Then no connection is accepted any more, event streams whose clients reconnect end
// between two events, and requests in flight have time to end (drain). Those that are
// left are cut off, WebSockets with a close frame. A second INT skips all of this.
func (g *gateway) drain(s *servers, signals <-chan os.Signal) {
	timeouts := g.live.Load().Policy.Server.Timeouts
	patient, interrupt := context.WithCancel(context.Background())
	defer interrupt()
	go g.heedInterrupt(patient, interrupt, signals)

	g.draining.Store(true)
	g.warmer.leave()
	systemd.Stopping(timeouts.LameDuck.Std() + lastArrivals + timeouts.Drain.Std() + 4*lastWords)
	g.certs.EndOrders(lastWords)
	pause(patient, timeouts.LameDuck.Std())
	s.deafen()
	pause(patient, lastArrivals)
	g.forward.EndEvents()

	draining, end := context.WithTimeout(patient, timeouts.Drain.Std())
	defer end()
	shut := make(chan struct{})
	go func() { // ends with draining
		defer close(shut)
		_ = s.data.server.Shutdown(draining) // what is left then is cut off below
	}()
	if g.emptied(draining, shut) {
		return
	}
	all, _ := g.observer.InFlight()
	g.log.Warn("requests were cut off", "requests", all, "after", timeouts.Drain.Std().String())
	parting, end := context.WithTimeout(context.Background(), lastWords)
	defer end()
	g.forward.Leave(parting)
	_ = s.data.server.Close() // its listener, which is all that can fail, is closed
	logging, end := context.WithTimeout(context.Background(), lastWords)
	defer end()
	g.emptied(logging, shut)
}

// heedInterrupt calls end at the next INT. It returns then, or when ctx is done.
func (g *gateway) heedInterrupt(ctx context.Context, end func(), signals <-chan os.Signal) {
	for {
		select {
		case <-ctx.Done():
			return
		case sig := <-signals:
			if sig == syscall.SIGINT {
				g.log.Warn("stopping at once")
				end()
				return
			}
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// emptied waits until the server is shut down and no request is in flight. As soon as
// all requests in flight have been answered with a head, nothing more is written to
// data_dir, and a successor may have it, however long the streams last.
func (g *gateway) emptied(ctx context.Context, shut <-chan struct{}) bool {
	turns := time.NewTicker(drainLook)
	defer turns.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-turns.C:
		}
		all, undecided := g.observer.InFlight()
		if undecided == 0 {
			g.rest()
		}
		select {
		case <-shut:
			if all == 0 {
				return true
			}
		default:
		}
	}
}

// lastOnes closes the connections of a draining gateway after each response, so that
// clients reconnect, to another gateway.
func (g *gateway) lastOnes(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if g.draining.Load() && r.Header["Upgrade"] == nil {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}
