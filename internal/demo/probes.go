package demo

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"time"

	"golang.org/x/net/websocket"
)

func healthy(*request) reply {
	return reply{value: map[string]any{"status": "healthy", "version": "5.0"}}
}

// stats tells how many requests have come, by method and path. It does not
// count itself.
func (s *server) stats(*request) reply {
	return reply{value: map[string]any{"requests": maps.Clone(s.counts)}}
}

func featureFlags(*request) reply {
	return success(map[string]any{
		"advanced_search": true, "reviews": true, "specials": true, "dark_mode": false, "marketplace": false,
	})
}

// debug is open to everyone, which a gateway must not be.
func debug(*request) reply {
	return success(map[string]any{"secrets": map[string]any{"database_url": "postgres://demo:secret@db/demo"}})
}

func restricted(r *request) reply {
	return success(map[string]any{"path": r.URL.Path, "user": r.user.id})
}

// webhook answers with the hash of the body, byte for byte as it came.
func webhook(w http.ResponseWriter, r *http.Request) {
	h := sha256.New()
	n, err := io.Copy(h, http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		writeJSON(w, http.StatusRequestEntityTooLarge, map[string]any{"success": false, "error": "Body too large"})
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"success": true, "length": n, "sha256": hex.EncodeToString(h.Sum(nil))})
}

// echo describes the request as it came in. Fields that came several times
// are joined with commas, as WSGI does.
func echo(w http.ResponseWriter, r *http.Request) {
	h := sha256.New()
	n, err := io.Copy(h, http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		writeJSON(w, http.StatusRequestEntityTooLarge, map[string]any{"success": false, "error": "Body too large"})
		return
	}
	headers := map[string]string{"Host": r.Host}
	for name, values := range r.Header {
		headers[name] = strings.Join(values, ",")
	}
	path, query, _ := strings.Cut(r.RequestURI, "?")
	writeJSON(w, http.StatusOK, map[string]any{
		"method": r.Method, "path": path, "query": query, "headers": headers,
		"length": n, "sha256": hex.EncodeToString(h.Sum(nil)),
	})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(encode(v), '\n')) // a client that is gone cannot be told
}

// stream sends n events, ms milliseconds apart, each as soon as it is there.
func stream(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	n, pause := min(positive(q.Get("n"), 5), 1000), min(positive(q.Get("ms"), 50), 1000)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	for i := range n {
		if i > 0 && !wait(r.Context(), time.Duration(pause)*time.Millisecond) {
			return
		}
		if _, err := fmt.Fprintf(w, "data: %d\n\n", i); err != nil {
			return
		}
		if http.NewResponseController(w).Flush() != nil {
			return
		}
	}
}

// echoSocket sends every message back, if it is asked to upgrade. A client
// that is silent for five minutes is let go.
func echoSocket() http.HandlerFunc {
	sockets := websocket.Server{
		// Any origin: who may connect is the gateway's to say.
		Handshake: func(*websocket.Config, *http.Request) error { return nil },
		Handler: func(c *websocket.Conn) {
			c.MaxPayloadBytes = 64 << 10
			for {
				var message string
				if c.SetDeadline(time.Now().Add(5*time.Minute)) != nil ||
					websocket.Message.Receive(c, &message) != nil ||
					websocket.Message.Send(c, message) != nil {
					return
				}
			}
		},
	}
	return func(w http.ResponseWriter, r *http.Request) {
		if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
			writeJSON(w, http.StatusBadRequest, map[string]any{"success": false, "error": "WebSocket expected"})
			return
		}
		sockets.ServeHTTP(w, r)
	}
}
