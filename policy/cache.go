package policy

import (
	"cmp"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// CacheRule is a route's compiled cache section.
type CacheRule struct {
	Strict               bool
	TTL                  time.Duration         // 0: the origin decides; see Lifetime
	Statuses             map[int]time.Duration // in place of TTL; 0: not stored
	StaleWhileRevalidate time.Duration
	StaleIfError         time.Duration
	Query                QueryRule
	Encode               bool     // managed: encoded for each client as it accepts
	Vary                 []string // canonical header names; managed: without Accept-Encoding, and with Origin unless CORS answers it
	Key                  []Source
	Bypass               []Source
	Pass                 []string // canonical header names
	Tags                 []Template
}

// Private reports whether each entry belongs to one session.
func (c *CacheRule) Private() bool { return slices.Contains(c.Key, Source{Kind: SourceSession}) }

// OfSession reports whether the session is in the key or in a bypass.
func (c *CacheRule) OfSession() bool { return usesSession(c.Key) || usesSession(c.Bypass) }

// Sends reports whether a field goes upstream as it came, and selects variants only by
// being in the key.
func (c *CacheRule) Sends(name string) bool {
	return slices.Contains(c.Pass, name) || slices.Contains(c.Key, Source{SourceHeader, name})
}

// ReadsCookies reports whether a cookie is in the key or in a bypass.
func (c *CacheRule) ReadsCookies() bool {
	return uses(c.Key, SourceCookie) || uses(c.Bypass, SourceCookie)
}

// QueryRule selects and normalises query parameters.
type QueryRule struct {
	InOrder bool            // of the request, not sorted
	Allow   map[string]bool // nil: all
	Deny    map[string]bool
	Round   map[string]int           // decimals
	TTL     map[string]time.Duration // lifetimes, each shorter than the rule's own
}

// param is one query parameter, decoded.
type param struct {
	name, value string
	bare        bool // written without =
}

// Apply returns the query that is both keyed and sent upstream, so that a stored response
// answers exactly the query of its key. It keeps the parameters that the rule allows, sorts
// them by name unless the rule keeps their order (repeated ones keep theirs), rounds numbers
// and escapes every character in one way. raw has no '?'. Applying it twice changes nothing
// more.
func (q QueryRule) Apply(raw string) string {
	if raw == "" {
		return ""
	}
	params := make([]param, 0, strings.Count(raw, "&")+1)
	for piece := range strings.SplitSeq(raw, "&") {
		if piece == "" {
			continue
		}
		name, value, has := strings.Cut(piece, "=")
		p := param{decodeQuery(name), decodeQuery(value), !has}
		if q.Allow != nil && !q.Allow[p.name] || q.Deny[p.name] {
			continue
		}
		if decimals, ok := q.Round[p.name]; ok {
			p.value = round(p.value, decimals)
		}
		params = append(params, p)
	}
	if !q.InOrder {
		slices.SortStableFunc(params, func(a, b param) int { return cmp.Compare(a.name, b.name) })
	}
	b := make([]byte, 0, len(raw))
	for i, p := range params {
		if i > 0 {
			b = append(b, '&')
		}
		b = append(b, url.QueryEscape(p.name)...)
		if !p.bare {
			b = append(b, '=')
			b = append(b, url.QueryEscape(p.value)...)
		}
	}
	return string(b)
}

// decodeQuery decodes a name or value as form parsers do: + is a space, and a % that starts
// no escape stands for itself.
func decodeQuery(s string) string {
	if strings.IndexByte(s, '%') < 0 && strings.IndexByte(s, '+') < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '+':
			c = ' '
		case c == '%' && i+2 < len(s):
			if n, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				c = byte(n)
				i += 2
			}
		}
		b = append(b, c)
	}
	return string(b)
}

// round rounds a decimal number and writes it in the shortest way. Other texts, and numbers
// too large to have decimals, are returned unchanged.
func round(s string, decimals int) string {
	const largest = 1e15
	if s == "" || strings.Trim(s, "0123456789.+-eE") != "" {
		return s
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || math.Abs(v) >= largest {
		return s
	}
	text := strconv.FormatFloat(v, 'f', decimals, 64)
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	if text == "-0" {
		return "0"
	}
	return text
}

// Lifetime is the lifetime of a response with this status to a query from Apply: the
// status's own, else the TTL, shortened by the query's parameters. named reports whether the
// status has its own; then 0 means that the response is not stored, else that the origin
// decides. A part (206) lives as long as its whole.
func (c *CacheRule) Lifetime(status int, query string) (ttl time.Duration, named bool) {
	if status == http.StatusPartialContent {
		status = http.StatusOK
	}
	if ttl, named = c.Statuses[status]; !named {
		ttl = c.TTL
	}
	if len(c.Query.TTL) == 0 {
		return ttl, named
	}
	for piece := range strings.SplitSeq(query, "&") {
		name, _, _ := strings.Cut(piece, "=")
		if t, ok := c.Query.TTL[decodeQuery(name)]; ok {
			ttl = min(ttl, t)
		}
	}
	return ttl, named
}
