// Package demo is a backend in the shape of JewGo's Flask API, with generated data in memory.
// `gateway demo` runs the gateway in front of it. It keeps the habits of the real API that a
// gateway has to cope with: a strong ETag but never a 304, new cookies on any GET, debug pages open
// to everyone. It leaves out registration, guests, the refresh of tokens, and the gateway's
// identity header. Filters by opening hours or distance are imitated. Passwords are plain and
// known. The Flask example has the same shape.
package demo

import (
	"bytes"
	"cmp"
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

// Policy is the policy of `gateway demo`; UPSTREAM_URL stands for the backend's URL.
//
//go:embed demo.yaml
var Policy []byte

// maxBody bounds a request's body, in bytes.
const maxBody = 1 << 20

// Config configures a backend. The zero value works.
type Config struct {
	Latency time.Duration    // added to every request under /api/; 0: none
	Seed    uint64           // of the data
	Now     func() time.Time // nil: time.Now
}

type server struct {
	cfg    Config
	secret []byte // signs tokens
	mux    *http.ServeMux

	mu       sync.Mutex // guards families
	families []*family
}

// New returns a backend with its own data.
func New(cfg Config) http.Handler {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s := &server{cfg: cfg, secret: []byte(rand.Text()), mux: http.NewServeMux(), families: newFamilies(cfg.Seed)}
	for _, e := range endpoints {
		if !strings.Contains(e.pattern, "{family}") {
			s.mux.HandleFunc(e.pattern, s.handle(e, nil))
			continue
		}
		for _, f := range s.families {
			s.mux.HandleFunc(strings.Replace(e.pattern, "{family}", f.name, 1), s.handle(e, f))
		}
	}
	s.mux.HandleFunc("/socket.io/", echoSocket)
	return s
}

// ServeHTTP waits for Latency and then serves.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/api/") && s.cfg.Latency > 0 {
		select {
		case <-time.After(s.cfg.Latency):
		case <-r.Context().Done(): // the client left
			return
		}
	}
	s.mux.ServeHTTP(w, r)
}

// request is the input of an endpoint.
type request struct {
	*http.Request
	now     time.Time
	raw     []byte         // the body, unparsed
	body    map[string]any // nil: not a JSON object
	family  *family        // nil: the endpoint has none
	record  record         // of the {id} in the path; nil: there is no {id}
	user    *user          // nil: not logged in
	expires time.Time      // of the user's access token
}

// reply is an endpoint's response.
type reply struct {
	status  int    // 0: 200
	body    []byte // JSON
	header  map[string]string
	cookies []*http.Cookie
}

func answer(v any) reply { return reply{body: encode(v)} }

func success(data any) reply { return answer(map[string]any{"success": true, "data": data}) }

func failure(status int, message string) reply {
	return answer(map[string]any{"success": false, "error": message}).as(status)
}

func (a reply) as(status int) reply {
	a.status = status
	return a
}

func (a reply) with(name, value string) reply {
	a.header = map[string]string{name: value}
	return a
}

// encode returns compact JSON with sorted keys, as Flask writes it. It panics on a value that JSON
// cannot encode; no such value is ever stored.
func encode(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic("demo: " + err.Error())
	}
	return b.Bytes() // with a newline at the end
}

// handle serves an endpoint, for one family if it belongs to families. The endpoint runs under the
// lock; the body is read before and the response written after.
func (s *server) handle(e endpoint, f *family) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		q := &request{Request: r, now: s.cfg.Now(), family: f}
		var err error
		if q.raw, err = io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody)); err != nil {
			write(w, failure(http.StatusRequestEntityTooLarge, "Body too large"))
			return
		}
		if json.Unmarshal(q.raw, &q.body) != nil {
			q.body = nil
		}
		s.mu.Lock()
		s.authenticate(q)
		a := s.call(e, q)
		if r.Method == http.MethodGet && a.cookies == nil {
			a.cookies = s.renewed(q)
		}
		s.mu.Unlock()
		write(w, a)
	}
}

// call runs the endpoint if the user may use it and the record exists.
func (s *server) call(e endpoint, r *request) reply {
	role := e.role
	if r.family != nil {
		role = cmp.Or(map[string]string{"writer": r.family.writer, "remover": r.family.remover}[role], role)
	}
	switch {
	case role != "" && r.user == nil:
		return failure(http.StatusUnauthorized, "Authentication required")
	case role != "" && !r.user.may(role):
		return failure(http.StatusForbidden, "Insufficient permissions")
	}
	if id := r.PathValue("id"); id != "" {
		if r.record = r.family.find(id); r.record == nil {
			return failure(http.StatusNotFound, "Not found")
		}
	}
	return e.serve(s, r)
}

func write(w http.ResponseWriter, a reply) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(a.body)))
	for name, value := range a.header {
		h.Set(name, value)
	}
	for _, c := range a.cookies {
		http.SetCookie(w, c)
	}
	if a.status != 0 {
		w.WriteHeader(a.status)
	}
	_, _ = w.Write(a.body) // it fails only if the client has gone
}
