package policy

import (
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// Snapshot is a compiled policy. It is immutable, so it is read without a lock; a reload
// replaces it whole.
type Snapshot struct {
	Policy *Policy // as written, defaults filled, paths absolute
	File   string  // the name given to Load
	Digest string  // the first 12 hex digits of the file's SHA-256
	Routes []*Route
	Limits map[string]*Limit
	// Headers are set on every response, HSTS on those over HTTPS. Their values have no spare capacity.
	Headers, HSTS http.Header
	Log           LogRule

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
	Fills         int           // requests of the cache that its upstream gets at once
	MaxBody       int64         // bytes; the server's where the route has none
	Buffer        int64         // bytes of a body that are read before the upstream is asked
	HTTP2         bool          // the upstream may speak it
	Logged        *Shares

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

// Template is a text with {name} parts, such as restaurant:{id}.
type Template struct {
	Text  string
	parts []string // literals and names in turn, a literal first and last
}

// Expand fills the template's names from the path values of a match.
func (t Template) Expand(params Params) string {
	if len(t.parts) == 1 {
		return t.Text
	}
	var b strings.Builder
	for i, part := range t.parts {
		if i%2 == 1 {
			part = params.Get(part)
		}
		b.WriteString(part)
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

// Live holds the snapshot in force: Load returns it, or nil before the first Store.
// The zero value holds none.
type Live = atomic.Pointer[Snapshot]
