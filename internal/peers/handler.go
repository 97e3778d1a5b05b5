package peers

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Handler serves what peers ask: POST /v1/records applies a batch and is 204
// when it is durable here, 503 when it is not; GET /v1/records streams all that
// stands, or nothing if the asker holds the same; GET /v1/hello tells who this
// is. What is not signed is 401 and its body unread. It belongs on a listener of
// its own, whose server bounds reading the head.
func (p *Peers) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("POST "+recordsPath, p.signed(p.serveApply))
	mux.Handle("GET "+recordsPath, p.signed(p.serveRecords))
	mux.Handle("GET "+helloPath, p.signed(p.serveHello))
	return mux
}

// The most that a signed request's body and a streamed answer take.
const (
	readTimeout   = 10 * time.Second
	streamTimeout = time.Minute
)

// request is a request of a peer, checked.
type request struct {
	*http.Request
	body  []byte
	asked question
}

// signed lets signed requests through, a bounded number at a time.
func (p *Peers) signed(serve func(http.ResponseWriter, request)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sig, by, err := p.sign.verify(r)
		if err == nil {
			err = p.seen.first(sig.nonce, p.cfg.Now())
		}
		if err != nil {
			refuse(w, err)
			return
		}
		select {
		case p.slots <- struct{}{}:
			defer func() { <-p.slots }()
		default:
			refuse(w, errBusy)
			return
		}
		body, err := readBody(w, r, sig.body)
		if err != nil {
			refuse(w, err)
			return
		}
		if from, err := decodePeer(r.Header.Get(fromHeader)); err == nil {
			p.heard(from) // before a snapshot is taken, so that it misses nothing after it
		}
		serve(w, request{r, body, question{by, sig.nonce[:]}})
	})
}

func readBody(w http.ResponseWriter, r *http.Request, sum [sha256.Size]byte) ([]byte, error) {
	// Servers set deadlines; a recorder in a test does not.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(readTimeout))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBatch))
	if err != nil {
		return nil, fmt.Errorf("read body: %w", err)
	}
	if sha256.Sum256(body) != sum {
		return nil, errSignature
	}
	return body, nil
}

// refuse answers with why, unsigned.
func refuse(w http.ResponseWriter, err error) {
	status := http.StatusUnauthorized
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		status = http.StatusRequestEntityTooLarge
	case errors.Is(err, errBusy):
		status = http.StatusServiceUnavailable
	}
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Signature realm="gateway peers"`)
	}
	http.Error(w, err.Error(), status)
}

func (p *Peers) serveApply(w http.ResponseWriter, r request) {
	records, err := decodeBatch(r.body)
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
	w.Header().Set(signHeader, r.asked.answer(http.StatusNoContent, nil))
	w.WriteHeader(http.StatusNoContent)
}

func (p *Peers) serveHello(w http.ResponseWriter, r request) {
	body, err := json.Marshal(p.cfg.Self())
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set(signHeader, r.asked.answer(http.StatusOK, body))
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body) // who asks sees that it lacks
}

func (p *Peers) serveRecords(w http.ResponseWriter, r request) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(streamTimeout)) // see readBody
	w.Header().Set("Content-Type", "application/octet-stream")
	records := p.cfg.Snapshot()
	if r.URL.Query().Get("digest") == digest(records) {
		records = nil
	}
	for index := uint64(0); ; index++ {
		n := nextBatch(records)
		if err := writeChunk(w, r.asked, index, encodeBatch(records[:n])); err != nil || n == 0 {
			return // an asker that is gone, or the end
		}
		records = records[n:]
	}
}
