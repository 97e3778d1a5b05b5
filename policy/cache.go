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

// Private reports whether entries belong to one session.
func (c *CacheRule) Private() bool { return slices.Contains(c.Key, Source{Kind: SourceSession}) }

// OfSession reports whether a session decides about the key or a bypass.
func (c *CacheRule) OfSession() bool { return usesSession(c.Key) || usesSession(c.Bypass) }

// Sends reports whether a field goes upstream as it came, and selects nothing but by
// its key.
func (c *CacheRule) Sends(name string) bool {
	return slices.Contains(c.Pass, name) || slices.Contains(c.Key, Source{SourceHeader, name})
}

// ReadsCookies reports whether a cookie decides about the key or a bypass.
func (c *CacheRule) ReadsCookies() bool {
	return uses(c.Key, SourceCookie) || uses(c.Bypass, SourceCookie)
}

// QueryRule selects and normalises query parameters; Apply gives the query that
// is both keyed and sent upstream.
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

// Apply gives the query that is both keyed and sent upstream, so that what is
// stored under a key is the answer to exactly that query: only the parameters
// that the rule lets through, sorted by name unless the rule keeps their order
// (repetitions keep theirs), numbers rounded, every character escaped in one way. raw has no '?'. Apply is
// pure, and applied twice changes nothing more.
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

// decodeQuery decodes a name or value of a form: + is a space, and a % that
// starts no escape stands for itself, as form parsers take it.
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

// round rounds a decimal number and writes it in the shortest way. What is not
// one, or is too large to have decimals, is returned as it is.
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

// Lifetime is what the rule gives a response with this status to a query that
// Apply gave: the status's own, else the TTL, and no more than one of the query's
// parameters asks for. named says that the status has its own; 0 then means that
// the response is not stored, else that the origin decides. A part (206) lives as
// long as its whole.
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
