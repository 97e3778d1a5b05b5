package main

import (
	"context"
	"net/http"
	"os"
	"syscall"
	"time"
)

const (
	// lastArrivals is how long requests are still taken in after the listener was
	// closed: http.Server.Shutdown drops one that was just read.
	lastArrivals = 200 * time.Millisecond
	// lastWords is how long those have that are cut off: to say goodbye, and then to
	// be logged.
	lastWords = time.Second
	// drainLook is how often it is looked at what is in flight.
	drainLook = 10 * time.Millisecond
)

// drain ends the service so that nobody who could not know is turned away. First
// whoever asks /readyz is told (lame_duck): everything is served, the last request
// on its connection each. Then no connections are accepted. Then what is in flight
// has time to end (drain); what has not is cut off, WebSockets with a goodbye. A
// second INT leaves all of that out.
func (g *gateway) drain(s *servers, signals <-chan os.Signal) {
	timeouts := g.live.Load().Policy.Server.Timeouts
	patient, interrupt := context.WithCancel(context.Background())
	defer interrupt()
	go g.heedInterrupt(patient, interrupt, signals)

	g.draining.Store(true)
	pause(patient, timeouts.LameDuck.Std())
	s.deaf.Store(true)
	_ = s.dataListener.Close() // a listener that fails to close takes nobody in either
	pause(patient, lastArrivals)

	draining, end := context.WithTimeout(patient, timeouts.Drain.Std())
	defer end()
	shut := make(chan struct{})
	go func() { // ends with draining
		defer close(shut)
		_ = s.data.Shutdown(draining) // what is left then is cut off below
	}()
	if g.emptied(draining, shut) {
		return
	}
	all, _ := g.observer.InFlight()
	g.log.Warn("requests were cut off", "requests", all, "after", timeouts.Drain.Std().String())
	parting, end := context.WithTimeout(context.Background(), lastWords)
	defer end()
	g.forward.Leave(parting)
	_ = s.data.Close() // its listener, which is all that can fail, is closed
	logging, end := context.WithTimeout(context.Background(), lastWords)
	defer end()
	g.emptied(logging, shut)
}

// heedInterrupt ends everything when another INT comes, and itself with ctx.
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

// emptied waits until the server is shut and no request is in flight. Once those
// that are have their heads, streams that may last for long, nothing is left to be
// written to data_dir, and it is free for a successor.
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

// lastOnes tells clients of a gateway that drains to come back by another
// connection, which will be another gateway's.
func (g *gateway) lastOnes(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if g.draining.Load() && r.Header["Upgrade"] == nil {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}
