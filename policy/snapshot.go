package policy

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// Position is a place in a policy file, as the file was named to Load.
type Position struct {
	File   string `json:"file"`
	Line   int    `json:"line,omitempty"` // from 1; 0: no place
	Column int    `json:"column,omitempty"`
}

// String gives file:line:column, the form that editors follow.
func (p Position) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// Snapshot is a compiled policy. It is immutable: everything may read it
// without a lock, and a reload replaces it whole.
type Snapshot struct {
	Policy *Policy // as written, defaults filled, paths absolute
	File   string  // as it was named to Load
	Digest string  // SHA-256 of the file, in hex, as far as it identifies: 12 digits
	Routes []*Route
	Limits map[string]*Limit

	table table
}

// SessionMode says whether a route looks at the session cookie.
type SessionMode int

// The modes of a route's session key.
const (
	SessionOff SessionMode = iota
	SessionOptional
	SessionRequired
)

// Route is a compiled route.
type Route struct {
	Name          string
	Position      Position
	Methods       []string // nil: any
	Host          string   // lower case; "": any
	Pattern       string   // path pattern as written
	Upstream      string   // "" where Deny is set
	Deny          int      // status, 0: forwarded
	Limits        []*Limit
	Session       SessionMode
	SessionSignal bool
	Cache         *CacheRule // nil: not cached
	Invalidates   []Template
	WebSocket     bool
	Timeout       time.Duration // to the response's head; the upstream's where the route has none
	Progress      time.Duration // the server's where the route has none
	MaxBody       int64         // bytes; the server's where the route has none

	pattern pattern
	header  []headerMatch
}

// SourceKind is where one part of a key comes from.
type SourceKind int

// The sources of limit keys, cache keys and bypass conditions.
const (
	SourceClientIP SourceKind = iota
	SourceSession
	SourceSessionUser
	SourceHeader
	SourceCookie
	SourcePath
	SourceHost
)

// Source is one part of a key: a kind and, where the kind has one, a name
// (canonical for headers).
type Source struct {
	Kind SourceKind
	Name string
}

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
func (c *CacheRule) Private() bool {
	for _, s := range c.Key {
		if s.Kind == SourceSession {
			return true
		}
	}
	return false
}

// OfSession reports whether a session decides about the key or a bypass.
func (c *CacheRule) OfSession() bool { return usesSession(c.Key) || usesSession(c.Bypass) }

// Sends reports whether a field goes upstream as it came, and selects nothing but by
// its key.
func (c *CacheRule) Sends(name string) bool {
	return slices.Contains(c.Pass, name) ||
		slices.ContainsFunc(c.Key, func(s Source) bool { return s.Kind == SourceHeader && s.Name == name })
}

// ReadsCookies reports whether a cookie decides about the key or a bypass.
func (c *CacheRule) ReadsCookies() bool {
	isCookie := func(s Source) bool { return s.Kind == SourceCookie }
	return slices.ContainsFunc(c.Key, isCookie) || slices.ContainsFunc(c.Bypass, isCookie)
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

// Template is a text with {name} parts, such as restaurant:{id}.
type Template struct {
	Text  string
	parts []templatePart // literals and names in turn
}

type templatePart struct {
	text  string
	param bool // text names a path value
}

// Expand fills the template's names from the path values of a match.
func (t Template) Expand(params Params) string {
	if len(t.parts) == 1 && !t.parts[0].param {
		return t.Text
	}
	var b strings.Builder
	for _, p := range t.parts {
		if p.param {
			b.WriteString(params.Get(p.text))
		} else {
			b.WriteString(p.text)
		}
	}
	return b.String()
}

// Params are the path values of a match, in the order of the pattern.
type Params []Param

// Param is one path value, decoded.
type Param struct{ Name, Value string }

// Get returns the named value, or "".
func (p Params) Get(name string) string {
	for _, v := range p {
		if v.Name == name {
			return v.Value
		}
	}
	return ""
}

// Live holds the snapshot in force. The zero value holds none.
type Live struct{ p atomic.Pointer[Snapshot] }

// Load returns the snapshot in force, or nil before the first Store.
func (l *Live) Load() *Snapshot { return l.p.Load() }

// Store puts s in force for requests that are matched from now on.
func (l *Live) Store(s *Snapshot) { l.p.Store(s) }
