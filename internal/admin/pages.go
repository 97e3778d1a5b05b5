package admin

import (
	_ "embed"
	"fmt"
	"net/http"
	"net/http/pprof"
	"strings"
	"time"

	"github.com/jewgo/gateway/internal/admin/dashboard"
	"github.com/jewgo/gateway/internal/problem"
	"github.com/jewgo/gateway/policy"
)

// access says who may call a page.
type access int

const (
	public access = iota // everyone who reaches the listener
	read                 // without a token on loopback or a unix socket, unless the policy wants one
	secret               // with the token, or over a unix socket
	change               // as secret, and each call leaves a line in the log
)

// page is one page of the admin listener.
type page struct {
	method, path string
	access       access
	does         string
	serve        http.HandlerFunc
}

// pages are all pages that the Config has parts for.
func (c *Config) pages() []page {
	all := []page{
		{http.MethodGet, "/livez", public, "whether the process runs", func(w http.ResponseWriter, _ *http.Request) { text(w, http.StatusOK, "ok\n") }},
		{http.MethodGet, "/readyz", public, "whether it serves; ?verbose says why not, and from where", c.readyz},
		{http.MethodGet, "/metrics", public, "metrics in Prometheus' formats", c.Metrics.ServeHTTP},
		{http.MethodGet, "/v1", read, "this list", c.index},
		{http.MethodGet, "/v1/openapi.yaml", read, "the description of /v1 in OpenAPI 3.1", openapi},
		{http.MethodGet, "/v1/config", read, "the policy in force: its file and digest, which is its ETag", c.config},
		{http.MethodPost, "/v1/reload", change, "read the policy again; with If-Match only if that one is in force", c.reload},
	}
	if c.Redis != nil {
		all = append(all, page{http.MethodGet, "/v1/redis", read, "everything about each Redis, the journal and the peers", c.redis})
	}
	if c.Upstreams != nil {
		all = append(all, page{http.MethodGet, "/v1/upstreams", read, "the targets of the upstreams and their health", shows(c.Upstreams)})
	}
	if c.Limits != nil {
		all = append(all,
			page{http.MethodGet, "/v1/limits", read, "the limits, and the keys that are charged most", c.limits},
			page{http.MethodGet, "/v1/limits/{name}", read, "the bucket of ?key=", c.limit},
			page{http.MethodPost, "/v1/limits/{name}/reset", change, "make the bucket of ?key= whole", c.resetLimit})
	}
	if c.Cache != nil {
		all = append(all,
			page{http.MethodGet, "/v1/cache", read, "hit ratios, memory, the hottest and the largest responses", c.cache},
			page{http.MethodGet, "/v1/cache/entries", read, "what is stored of ?url=", c.entries})
	}
	if c.Purges != nil {
		all = append(all,
			page{http.MethodGet, "/v1/purges", read, "the last purges of this gateway", c.purges},
			page{http.MethodGet, "/v1/purges/{id}", read, "how far a purge has got", c.purge},
			page{http.MethodPost, "/v1/purges", change, "purge tags, urls, routes, groups or all", c.startPurge})
	}
	if c.Sessions != nil {
		all = append(all,
			page{http.MethodGet, "/v1/sessions", read, "the sessions of ?user=", c.listSessions},
			page{http.MethodGet, "/v1/sessions/{id}", read, "a session, by the beginning of its ID", c.showSession},
			page{http.MethodPost, "/v1/sessions/revoke", change, "end a session, those of a user, or all", c.revokeSessions})
	}
	if c.Status != nil {
		all = append(all,
			page{http.MethodGet, "/v1/status", read, "how it is, and what happened in the last minute", shows(c.Status)},
			page{http.MethodGet, "/v1/history", read, "what happened in the last 15 minutes, in steps", shows(c.History)},
			page{http.MethodGet, "/v1/routes", read, "the routes, and what they did in the last minute", shows(c.Routes)})
	}
	if c.Warm != nil {
		all = append(all,
			page{http.MethodGet, "/v1/warm", read, "how far the last run has got that fills the cache", c.warmed},
			page{http.MethodPost, "/v1/warm", change, "fill the cache with urls", c.warm},
			page{http.MethodDelete, "/v1/warm", change, "stop that", c.stopWarming})
	}
	if c.Explain != nil {
		all = append(all, page{http.MethodGet, "/v1/explain", read, "what would happen to a request of ?method= and ?url=, and why", c.explain})
	}
	return append(all,
		page{http.MethodGet, "/debug/pprof/", secret, "profiles of the process", pprof.Index},
		page{http.MethodGet, "/debug/pprof/cmdline", secret, "its command line", pprof.Cmdline},
		page{http.MethodGet, "/debug/pprof/profile", secret, "a CPU profile of ?seconds=", pprof.Profile},
		page{http.MethodGet, "/debug/pprof/symbol", secret, "names of functions by their addresses", pprof.Symbol},
		page{http.MethodGet, "/debug/pprof/trace", secret, "an execution trace of ?seconds=", pprof.Trace})
}

// New returns the handler of the admin listener.
func New(cfg Config) http.Handler {
	mux, unguarded := http.NewServeMux(), http.NewServeMux()
	pages := cfg.pages()
	for _, p := range pages {
		unguarded.HandleFunc(p.method+" "+p.path, p.serve)
	}
	if cfg.Status != nil {
		for _, d := range dashboard.Pages(unguarded) {
			a := read
			switch {
			case d.Change:
				a = change
			case d.Secret:
				a = secret
			}
			mux.Handle(d.Method+" "+d.Path, cfg.guard(a, d.Serve, true))
		}
	}
	for _, p := range pages {
		mux.Handle(p.method+" "+p.path, cfg.guard(p.access, p.serve, false))
	}
	return explained(mux)
}

// open reports whether pages with that access need no token.
func (c *Config) open(a access) bool {
	return a == public || a == read && !c.TokenForReads && isLocal(c.Address)
}

// guard lets those call h who may. A browser asks its user for the token.
func (c *Config) guard(a access, h http.Handler, forBrowsers bool) http.Handler {
	open, authorized := h, c.authorized(h, forBrowsers)
	switch {
	case c.open(a) && a != public:
		h = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if proxied(r) {
				authorized.ServeHTTP(w, r)
				return
			}
			open.ServeHTTP(w, r)
		})
	case a != public:
		h = authorized
	}
	if h = c.notRebound(ofThisSite(h)); a == change {
		h = c.audited(h)
	}
	return h
}

// NoPage is the detail of the problem that a path without a page is.
const NoPage = "there is no such page; GET /v1 lists them"

// explained answers with problem documents where mux has no page, or none with the method.
func explained(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := mux.Handler(r); pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		plain := statusOnly{header: http.Header{}}
		mux.ServeHTTP(&plain, r)
		p := problem.Problem{Status: plain.status, Detail: NoPage}
		if allow := plain.header.Get("Allow"); allow != "" {
			w.Header().Set("Allow", allow)
			p.Detail = "the page takes " + allow
		}
		if location := plain.header.Get("Location"); location != "" { // a path that is not clean
			w.Header().Set("Location", location)
			p.Detail = "the page is at " + location
		}
		problem.Write(w, p)
	})
}

// statusOnly is a ResponseWriter that keeps the head of a response.
type statusOnly struct {
	header http.Header
	status int
}

func (s *statusOnly) Header() http.Header         { return s.header }
func (s *statusOnly) WriteHeader(status int)      { s.status = status }
func (s *statusOnly) Write(b []byte) (int, error) { return len(b), nil }

// index lists the pages.
func (c *Config) index(w http.ResponseWriter, _ *http.Request) {
	type entry struct {
		Method string `json:"method"`
		Path   string `json:"path"`
		Token  bool   `json:"token"` // it needs one here
		Does   string `json:"does"`
	}
	var all []entry
	for _, p := range c.pages() {
		open := c.open(p.access) || strings.HasPrefix(c.Address, "unix:")
		all = append(all, entry{p.method, p.path, !open, p.does})
	}
	document(w, http.StatusOK, map[string]any{"pages": all, "openapi": "/v1/openapi.yaml"})
}

//go:embed openapi.yaml
var openapiText []byte

func openapi(w http.ResponseWriter, _ *http.Request) {
	send(w, http.StatusOK, "application/yaml", openapiText)
}

// shows answers with what view returns.
func shows(view func() any) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { document(w, http.StatusOK, view()) }
}

func (c *Config) config(w http.ResponseWriter, _ *http.Request) {
	v := c.Policy()
	w.Header().Set("ETag", `"`+v.Digest+`"`)
	document(w, http.StatusOK, v)
}

func (c *Config) explain(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	asText := query.Get("format") == "text"
	query.Del("format")
	explanation, err := c.Explain(r.Context(), query)
	if texts, ok := explanation.(fmt.Stringer); ok && asText && err == nil {
		text(w, http.StatusOK, texts.String())
		return
	}
	answered(w, explanation, err)
}

// PolicyInForce identifies the policy that is in force.
type PolicyInForce struct {
	File   string `json:"file"`
	Digest string `json:"digest"`
	Routes int    `json:"routes"`
	Limits int    `json:"limits"`

	Since     time.Time       `json:"since"`
	Before    string          `json:"before,omitempty"`  // the digest of the one before; "": it was not reloaded
	Changes   []policy.Change `json:"changes,omitempty"` // since that one
	Refused   string          `json:"refused,omitempty"` // why a later reload was refused
	RefusedAt time.Time       `json:"refused_at,omitzero"`
}

func (c *Config) reload(w http.ResponseWriter, r *http.Request) {
	if want := r.Header.Get("If-Match"); want != "" && want != "*" && want != `"`+c.Policy().Digest+`"` {
		problem.Write(w, problem.Problem{Status: http.StatusPreconditionFailed, Detail: "another policy is in force: " + c.Policy().Digest})
		return
	}
	if err := c.Reload(); err != nil {
		// An operator who holds the token may see what is wrong with the policy.
		problem.Write(w, problem.Problem{Status: http.StatusUnprocessableEntity, Title: "the policy in force stays", Detail: err.Error()})
		return
	}
	w.Header().Set("ETag", `"`+c.Policy().Digest+`"`)
	text(w, http.StatusOK, "reloaded\n")
}
