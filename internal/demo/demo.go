// Package demo is a backend in the shape of JewGo's Flask API, with generated
// data, held in memory: what `gateway demo` stands in front of, and a stand-in
// for the real API in tests. The Flask example has the same endpoints and the
// same data. It keeps the real API's habits, also those that a gateway has to
// bear: a strong ETag and never a 304, new cookies on any GET, debug pages
// for everyone. It is a demonstration: passwords are plain and known.
package demo

import (
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Policy is that of `gateway demo`; UPSTREAM_URL stands for the backend's URL.
//
//go:embed demo.yaml
var Policy []byte

const (
	maxBody  = 1 << 20 // bytes of a request's body that are read
	maxStats = 10_000  // different methods and paths that are counted
)

// Config is how a backend is made. The zero value works.
type Config struct {
	Latency      time.Duration    // added to every request under /api/; 0: none
	Seed         uint64           // of the data
	Now          func() time.Time // nil: time.Now
	IdentityKeys string           // file with the keys of X-Gw-Identity; "": the header is ignored
}

type server struct {
	cfg    Config
	secret []byte // signs tokens
	mux    *http.ServeMux

	mu          sync.Mutex // guards all below
	collections map[string]*collection
	reviews     *reviews
	specials    *specials
	users       []*user
	counts      map[string]int // requests by method and path
}

// New returns a backend with data of its own.
func New(cfg Config) http.Handler {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	restaurants := makeRestaurants(cfg.Seed)
	s := &server{
		cfg:    cfg,
		secret: []byte(rand.Text()),
		mux:    http.NewServeMux(),
		collections: map[string]*collection{
			"restaurants": newCollection("restaurants", "restaurant", restaurants),
			"synagogues":  newCollection("synagogues", "synagogue", makeSynagogues(cfg.Seed)),
			"mikvahs":     newCollection("mikvahs", "mikvah", makeMikvahs(cfg.Seed)),
			"stores":      newCollection("stores", "store", makeStores(cfg.Seed)),
		},
		reviews:  makeReviews(cfg.Seed, restaurants),
		specials: makeSpecials(cfg.Seed, restaurants),
		users:    demoUsers(),
		counts:   map[string]int{},
	}
	s.routes()
	return s
}

// ServeHTTP counts the request, waits for as long as Latency says, and serves.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/__stats" {
		s.count(r.Method + " " + r.URL.Path)
	}
	if strings.HasPrefix(r.URL.Path, "/api/") && !wait(r.Context(), s.cfg.Latency) {
		return
	}
	if _, pattern := s.mux.Handler(r); pattern == "" {
		s.noRoute(w, r)
		return
	}
	s.mux.ServeHTTP(w, r)
}

func (s *server) count(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.counts[key]; !known && len(s.counts) >= maxStats {
		key = "other"
	}
	s.counts[key]++
}

// wait is false if the client left first.
func wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// request is what a handler is given.
type request struct {
	*http.Request
	now   time.Time
	body  map[string]any // nil: no JSON object
	user  *user          // nil: nobody is logged in
	token claims         // of the user's access token, zero without one
}

// id is the number in the path, or -1.
func (r *request) id() int { return positive(r.PathValue("id"), -1) }

// reply is what a handler answers.
type reply struct {
	status int // 0: 200
	value  any // the body, as JSON
	raw    []byte
	header map[string]string
	login  *session // cookies to set
	logout bool     // clear the cookies
	csrf   string   // the token to set as a cookie; "": none
}

func failure(status int, message string) reply {
	return reply{status: status, value: map[string]any{"success": false, "error": message}}
}

func (a reply) json() []byte {
	if a.raw != nil {
		return a.raw
	}
	return encode(a.value)
}

func success(data any) reply {
	return reply{value: map[string]any{"success": true, "data": data}}
}

// handle makes a handler of f, which runs under the lock; the client is read
// before and written to afterwards.
func (s *server) handle(f func(*request) reply) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		q := &request{Request: r, now: s.cfg.Now()}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
			if err != nil {
				s.write(w, q, failure(http.StatusRequestEntityTooLarge, "Body too large"))
				return
			}
			if json.Unmarshal(body, &q.body) != nil {
				q.body = nil
			}
		}
		s.mu.Lock()
		s.authenticate(q)
		answer := f(q)
		answer.raw = answer.json() // under the lock: it may refer to live data
		s.mu.Unlock()
		s.write(w, q, answer)
	}
}

func (s *server) write(w http.ResponseWriter, q *request, answer reply) {
	body := answer.json()
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)+1))
	for name, value := range answer.header {
		h.Set(name, value)
	}
	s.writeCookies(w, q, answer)
	if answer.status != 0 {
		w.WriteHeader(answer.status)
	}
	_, _ = w.Write(body) // a client that is gone cannot be told
	_, _ = io.WriteString(w, "\n")
}

// noRoute gives the multiplexer's 404 and 405 a body in JSON.
func (s *server) noRoute(w http.ResponseWriter, r *http.Request) {
	refusal := &statusWriter{header: http.Header{}}
	s.mux.ServeHTTP(refusal, r)
	if allow := refusal.header.Get("Allow"); allow != "" {
		w.Header().Set("Allow", allow)
	}
	s.write(w, &request{Request: r, now: s.cfg.Now()}, failure(refusal.status, http.StatusText(refusal.status)))
}

// statusWriter takes the head of an answer alone.
type statusWriter struct {
	header http.Header
	status int
}

func (w *statusWriter) Header() http.Header         { return w.header }
func (w *statusWriter) WriteHeader(status int)      { w.status = status }
func (w *statusWriter) Write(b []byte) (int, error) { return len(b), nil }
