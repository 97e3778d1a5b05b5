package peers

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Serve answers the peers that connect to l, over mutual TLS, until Close. Like
// http.Serve it closes l and always returns an error; after Close that is
// http.ErrServerClosed.
func (p *Peers) Serve(l net.Listener) error { return p.server.ServeTLS(l, "", "") }

// newServer bounds what an end that has proved nothing may take. A peer that has gets
// the time that its answer needs from bounded.
func (p *Peers) newServer() *http.Server {
	return &http.Server{
		Handler:           p.handler(),
		TLSConfig:         p.identity.config(),
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: readTimeout, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(p.cfg.Log.Handler(), slog.LevelDebug),
	}
}

// handler serves what peers ask: POST /v1/records applies a batch and is 204
// when it is durable here, 503 when it is not; GET /v1/records streams all that
// stands, or nothing if the asker holds the same; GET /v1/hello tells who this is.
func (p *Peers) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("POST "+recordsPath, p.bounded(p.serveApply))
	mux.Handle("GET "+recordsPath, p.bounded(p.serveRecords))
	mux.Handle("GET "+helloPath, p.bounded(p.serveHello))
	return mux
}

// The most that a request's body and a streamed answer take.
const (
	readTimeout   = 10 * time.Second
	streamTimeout = time.Minute
)

// bounded answers a bounded number of requests at a time, which are read whole before.
func (p *Peers) bounded(serve func(w http.ResponseWriter, r *http.Request, body []byte)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case p.slots <- struct{}{}:
			defer func() { <-p.slots }()
		default:
			http.Error(w, "too many requests", http.StatusServiceUnavailable)
			return
		}
		// Servers set deadlines; a recorder in a test does not.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(readTimeout))
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBatch))
		var tooLarge *http.MaxBytesError
		switch {
		case errors.As(err, &tooLarge):
			http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
			return
		case err != nil:
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if from, err := decodePeer(r.Header.Get(fromHeader)); err == nil {
			p.heard(from) // before a snapshot is taken, so that it misses nothing after it
		}
		serve(w, r, body)
	})
}

func (p *Peers) serveApply(w http.ResponseWriter, r *http.Request, body []byte) {
	records, err := decodeBatch(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	// A sender that gives up must not leave a record half applied.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), readTimeout)
	defer cancel()
	if err := p.cfg.Apply(ctx, records); err != nil {
		p.cfg.Log.Warn("records of a peer are not applied", "remote", r.RemoteAddr, "count", len(records), "error", err)
		http.Error(w, "records are not applied: "+err.Error(), http.StatusServiceUnavailable)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (p *Peers) serveHello(w http.ResponseWriter, _ *http.Request, _ []byte) {
	body, err := json.Marshal(p.Self())
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body) // an asker that is gone cannot be told
}

func (p *Peers) serveRecords(w http.ResponseWriter, r *http.Request, _ []byte) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(streamTimeout)) // see bounded
	w.Header().Set("Content-Type", "application/octet-stream")
	records := p.cfg.Snapshot()
	if r.URL.Query().Get("digest") == digest(records) {
		return
	}
	for len(records) > 0 {
		n := nextBatch(records)
		if err := writeBatch(w, encodeBatch(records[:n])); err != nil {
			return // an asker that is gone
		}
		records = records[n:]
	}
}
