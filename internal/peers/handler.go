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

// Serve answers the peers that connect to l, over mutual TLS, until Close. Like http.Serve it
// closes l and always returns an error; after Close that is http.ErrServerClosed.
func (p *Peers) Serve(l net.Listener) error { return p.server.ServeTLS(l, "", "") }

// newServer bounds what a client that has not proved its key may take. A peer gets the time that
// its answer needs from bounded.
func (p *Peers) newServer() *http.Server {
	return &http.Server{
		Handler:           p.handler(),
		TLSConfig:         p.identity.config(),
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: readTimeout, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(p.cfg.Log.Handler(), slog.LevelDebug),
	}
}

// handler serves the other gateways. POST /v1/records applies a batch; the status is 204 if it is
// durable here, else 503. GET /v1/records streams all records in force, or nothing if the caller's
// digest is the same. GET /v1/hello identifies this gateway.
func (p *Peers) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("POST "+recordsPath, p.bounded(p.serveApply))
	mux.Handle("GET "+recordsPath, p.bounded(p.serveRecords))
	mux.Handle("GET "+helloPath, p.bounded(p.serveHello))
	return mux
}

// The most time for reading a request's body and for streaming a response.
const (
	readTimeout   = 10 * time.Second
	streamTimeout = time.Minute
)

// bounded serves a bounded number of requests at a time, and reads each body in full first.
func (p *Peers) bounded(serve func(w http.ResponseWriter, r *http.Request, body []byte)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case p.slots <- struct{}{}:
			defer func() { <-p.slots }()
		default:
			http.Error(w, "too many requests", http.StatusServiceUnavailable)
			return
		}
		// Real servers support deadlines; a test's recorder does not.
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
			p.heard(from) // before the snapshot is taken, so that no later record is missed
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
	// If the sender gives up, a record must not stay half applied.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), readTimeout)
	defer cancel()
	if err := p.cfg.Apply(ctx, records); err != nil {
		p.cfg.Log.Warn("cannot apply a peer's records", "remote", r.RemoteAddr, "count", len(records), "error", err)
		http.Error(w, "cannot apply the records: "+err.Error(), http.StatusServiceUnavailable)
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
	_, _ = w.Write(body) // it fails only if the caller has gone
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
			return // the caller has gone
		}
		records = records[n:]
	}
}
