// Package starter drafts a first policy for a backend, from what the backend answers. Look asks it; Policy
// writes the policy. Whether the policy is valid is left to package policy.
package starter

import (
	"context"
	"errors"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/jewgo/gateway/internal/rfc9111"
)

const (
	// patience bounds one request, and with it what a backend that hangs costs.
	patience = 5 * time.Second
	// longestBody is how much of a body is read to learn its size.
	longestBody = 16 << 20
	// nowhere is a path that no backend has. One that answers it with 200 does so for
	// every path, so its health cannot be told by a path.
	nowhere = "/gateway-init-looks-for-a-path-that-is-not-there"
)

// healthPaths are those that backends commonly have, the shallowest check first.
var healthPaths = []string{"/healthz", "/livez", "/health", "/ping", "/readyz"}

// Backend is a backend as it was seen.
type Backend struct {
	URL     string
	Problem string   // why it does not answer; "": it does
	Health  string   // the path of its health check; "": none was found
	Cookies []string // names of the HttpOnly cookies that it sets on / and on the pages, sorted: no script misses them
	Pages   []Page   // what was asked for, in that order
}

// Page is the answer to GET of one path.
type Page struct {
	URL     *url.URL // path and query
	Problem string   // why there is no answer; "": there is one
	Status  int
	Header  http.Header
	Size    int64 // of the body in bytes; -1: unknown, as for a stream or above 16 MiB
	Cookies []*http.Cookie
}

// Look asks the backend at base for its health and for pages, each given by path and query. It takes at most 5 s for
// each request, and gives up when the backend does not answer at all.
func Look(ctx context.Context, client *http.Client, base *url.URL, pages []*url.URL) Backend {
	b := Backend{URL: base.String()}
	root := get(ctx, client, base, &url.URL{Path: "/"})
	if root.Problem != "" {
		b.Problem = root.Problem
		for _, p := range pages {
			b.Pages = append(b.Pages, Page{URL: p, Problem: root.Problem})
		}
		return b
	}
	if get(ctx, client, base, &url.URL{Path: nowhere}).Status != http.StatusOK {
		for _, path := range healthPaths {
			if get(ctx, client, base, &url.URL{Path: path}).Status == http.StatusOK {
				b.Health = path
				break
			}
		}
	}
	cookies := map[string]bool{}
	for _, p := range pages {
		b.Pages = append(b.Pages, get(ctx, client, base, p))
	}
	for _, p := range append(slices.Clip(b.Pages), root) {
		for _, c := range p.Cookies {
			if c.HttpOnly {
				cookies[c.Name] = true
			}
		}
	}
	b.Cookies = slices.Sorted(maps.Keys(cookies))
	return b
}

// get asks for one page, and follows no redirect.
func get(ctx context.Context, client *http.Client, base, page *url.URL) Page {
	p := Page{URL: page, Size: -1}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base.ResolveReference(page).String(), nil)
	if err != nil {
		p.Problem = err.Error()
		return p
	}
	req.Header.Set("User-Agent", "gateway-init")
	req.Header.Set("Accept-Encoding", "identity") // the size that the gateway will store
	res, err := client.Do(req)
	if err != nil {
		p.Problem = err.Error()
		if outer, ok := errors.AsType[*url.Error](err); ok { // which only repeats the method and the URL
			p.Problem = outer.Err.Error()
		}
		return p
	}
	defer func() { _ = res.Body.Close() }() // what was read counts
	p.Status, p.Header = res.StatusCode, res.Header
	p.Cookies = res.Cookies()
	if n, err := io.Copy(io.Discard, io.LimitReader(res.Body, longestBody)); err == nil && n < longestBody {
		p.Size = n
	}
	return p
}

// Client is an http.Client for Look.
func Client() *http.Client {
	return &http.Client{
		Transport:     &http.Transport{MaxResponseHeaderBytes: 64 << 10},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Caching is how a page may be cached.
type Caching string

// A page is not cached, as its own headers say, or for as long as the policy says.
const (
	None    Caching = ""
	Strict  Caching = "strict"
	Managed Caching = "managed"
)

// Caching judges a page by the rules of the gateway's own shared cache; why says what speaks against it.
func (p Page) Caching(now time.Time) (c Caching, why string) {
	kind, _, _ := mime.ParseMediaType(p.Header.Get("Content-Type")) // "" where it is malformed, as where it is absent
	cc := rfc9111.ResponseControl(p.Header, nil)
	lifetime, source := rfc9111.Lifetime(p.Status, p.Header, &cc, now, true)
	refusal := rfc9111.Storable(rfc9111.Candidate{
		Status: p.Status, Header: p.Header, Response: &cc, Request: &rfc9111.CacheControl{}, Shared: true,
		Lifetime: rfc9111.Explicit, Window: time.Minute, // what a policy's ttl would give it
	})
	switch {
	case p.Problem != "":
		return None, "the backend did not answer"
	case kind == "text/event-stream":
		return None, "it is a stream"
	case len(p.Cookies) > 0:
		return None, "it sets a cookie, so it belongs to one client"
	case p.Status != http.StatusOK:
		return None, "it answered " + strconv.Itoa(p.Status)
	case cc.NoCache:
		return None, "its headers forbid it: no-cache"
	case refusal != rfc9111.Accepted:
		return None, "its headers forbid it: " + string(refusal)
	case source == rfc9111.Explicit && lifetime <= 0:
		return None, "its headers say that it is stale at once"
	case source == rfc9111.Explicit:
		return Strict, ""
	}
	return Managed, ""
}
