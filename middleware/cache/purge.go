package cache

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jewgo/gateway/middleware"
	"github.com/jewgo/gateway/policy"
)

// Selection says which entries a purge is for: those that one of its members names.
type Selection struct {
	Tags   []string `json:"tags,omitempty"`   // of the policy, or of responses
	URLs   []string `json:"urls,omitempty"`   // with every query and variant; without host: on all hosts that the policy lists
	Routes []string `json:"routes,omitempty"` // by name
	Groups []string `json:"groups,omitempty"` // cache groups (RFC 9875), of every origin
	All    bool     `json:"all,omitempty"`    // everything
	Soft   bool     `json:"soft,omitempty"`   // they become stale instead: revalidated, or served by the rules for stale responses
}

// ErrSelection is wrapped by errors that say what is wrong with a Selection.
var ErrSelection = errors.New("bad selection")

// maxSelected bounds the members of a Selection.
const maxSelected = 256

// tags returns the tags to purge.
func (s Selection) tags(p *policy.Snapshot) ([]string, error) {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: "+format, append([]any{ErrSelection}, args...)...)
	}
	var tags []string
	for _, tag := range s.Tags {
		if !wellFormedTag(tag) {
			return nil, bad("tag %q: tags are visible ASCII without commas and quotes, at most %d bytes", tag, maxTag)
		}
		tags = append(tags, tag)
	}
	for _, text := range s.URLs {
		of, err := tagsOfURL(p, text)
		if err != nil {
			return nil, bad("url %q: %w", text, err)
		}
		tags = append(tags, of...)
	}
	for _, name := range s.Routes {
		i := slices.IndexFunc(p.Routes, func(r *policy.Route) bool { return r.Name == name })
		if i < 0 {
			return nil, bad("the policy has no route %q", name)
		}
		if p.Routes[i].Cache == nil {
			return nil, bad("route %q has no cache", name)
		}
		tags = append(tags, routeTag(name))
	}
	for _, name := range s.Groups {
		tags = append(tags, groupTag(name))
	}
	if s.All {
		tags = append(tags, tagAll)
	}
	switch {
	case len(tags) == 0:
		return nil, bad("name tags, urls, routes or groups, or all")
	case len(tags) > maxSelected:
		return nil, bad("%d at once are too many: at most %d", len(tags), maxSelected)
	}
	if s.Soft {
		for i, tag := range tags {
			tags[i] = softTag(tag)
		}
	}
	return tags, nil
}

// maxTag bounds a tag, in bytes.
const maxTag = 128

func wellFormedTag(tag string) bool {
	return tag != "" && len(tag) <= maxTag && !strings.ContainsFunc(tag, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == ',' || r == '"' })
}

// tagsOfURL returns the tags of a URL, or of a path on all hosts that the policy lists.
func tagsOfURL(p *policy.Snapshot, text string) ([]string, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" && !strings.HasPrefix(text, "/") || u.Host != "" && u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("write http://HOST/PATH or https://HOST/PATH, or /PATH")
	}
	path, wrong := middleware.CanonicalPath(middleware.SentPath(u), p.Policy.Server.DecodesSlashes())
	if wrong != "" {
		return nil, errors.New(wrong)
	}
	served := p.Policy.Server.Hosts
	if u.Host == "" {
		if len(served) == 0 {
			return nil, errors.New("name its host too: the policy lists no server.hosts")
		}
		var tags []string
		for _, host := range served {
			tags = append(tags, uriTag(host, path))
		}
		return tags, nil
	}
	host := policy.NormalHost(u.Hostname())
	if len(served) > 0 && !slices.Contains(served, host) {
		return nil, fmt.Errorf("host %q is not served: server.hosts has %s", host, strings.Join(served, ", "))
	}
	return []string{uriTag(host, path)}, nil
}

// Fleet is the other gateways.
type Fleet interface {
	// Positions returns what the other live gateways know of the shared table now. ctx bounds it.
	Positions(ctx context.Context) ([]Position, error)
}

// Purges carries out the operator's purges and knows which of them all gateways have. It remembers
// the last maxPurges, until the process ends.
type Purges struct {
	Tags  *Tags
	Fleet Fleet
	Now   func() time.Time

	mu   sync.Mutex
	last []*purge // oldest first; guarded by mu
}

// maxPurges bounds the purges whose status is remembered.
const maxPurges = 1000

type purge struct {
	id   string
	what Selection
	at   time.Time
	tags []string

	mu      sync.Mutex // guards what follows
	known   Position   // at which the shared table has it; zero: not yet
	applied bool
	reached int // gateways, once it is applied
}

// PurgeStatus is how far a purge has got. Times are in UTC.
type PurgeStatus struct {
	ID string    `json:"id"`
	At time.Time `json:"at"`
	Selection
	Applied  bool   `json:"applied"`            // in force on every live gateway; else on this one
	Gateways int    `json:"gateways,omitempty"` // live ones, with this one; 0: unknown
	Reached  int    `json:"reached,omitempty"`  // those on which it is in force
	Waits    string `json:"waits,omitempty"`    // for what, if it is not applied
}

// Start purges what a Selection names, under a policy. The purge is in force on this gateway when
// Start returns. An error that wraps ErrSelection says what is wrong with the Selection; any other
// says that the purge may be forgotten in a restart, and comes with its status.
func (p *Purges) Start(ctx context.Context, s *policy.Snapshot, what Selection) (PurgeStatus, error) {
	tags, err := what.tags(s)
	if err != nil {
		return PurgeStatus{}, err
	}
	made := &purge{id: strings.ToLower(rand.Text()[:16]), what: what, at: p.Now().UTC(), tags: tags}
	err = p.Tags.Purge(ctx, tags...)
	p.mu.Lock()
	if len(p.last) == maxPurges {
		p.last = p.last[1:]
	}
	p.last = append(p.last, made)
	p.mu.Unlock()
	return p.status(ctx, made), err
}

// Status returns the status of the purge with an ID; false: it is not remembered.
func (p *Purges) Status(ctx context.Context, id string) (PurgeStatus, bool) {
	p.mu.Lock()
	i := slices.IndexFunc(p.last, func(made *purge) bool { return made.id == id })
	if i < 0 {
		p.mu.Unlock()
		return PurgeStatus{}, false
	}
	made := p.last[i]
	p.mu.Unlock()
	return p.status(ctx, made), true
}

// List returns the remembered purges, newest first, with what is known of them without asking.
func (p *Purges) List() []PurgeStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := []PurgeStatus{}
	for _, made := range slices.Backward(p.last) {
		made.mu.Lock()
		all = append(all, PurgeStatus{ID: made.id, At: made.at, Selection: made.what, Applied: made.applied})
		made.mu.Unlock()
	}
	return all
}

// status finds out how far a purge has got.
func (p *Purges) status(ctx context.Context, made *purge) PurgeStatus {
	made.mu.Lock()
	defer made.mu.Unlock()
	s := PurgeStatus{ID: made.id, At: made.at, Selection: made.what, Applied: made.applied}
	if made.applied {
		s.Gateways, s.Reached = made.reached, made.reached
		return s
	}
	now, settled := p.Tags.settled(made.tags)
	if !settled {
		s.Waits = "redis is unavailable; the purge is repeated there before it is used again"
		return s
	}
	if made.known.Base != now.Base { // the first time, or the table was lost and is complete again
		made.known = now
	}
	others, err := p.Fleet.Positions(ctx)
	if err != nil {
		s.Waits = "the other gateways are still to be heard of by redis"
		return s
	}
	s.Gateways, s.Reached = 1+len(others), 1
	for _, other := range others {
		if other.Base == made.known.Base && other.Seq >= made.known.Seq {
			s.Reached++
		}
	}
	if made.applied, made.reached = s.Reached == s.Gateways, s.Reached; !made.applied {
		s.Waits = "some gateways have not heard of it yet"
	}
	s.Applied = made.applied
	return s
}

// settled reports whether the shared store knows all purges of tags that were made here, and how far
// its table has got. Without a shared store there is nothing to know.
func (t *Tags) settled(tags []string) (Position, bool) {
	if t.cfg.Counters == nil {
		return Position{}, true
	}
	pending := func(tag string) bool { return t.unsent.has(slotOf(tag)) }
	if !t.cfg.Switch.Up() || t.unread.Load() || t.repair.Load() || slices.ContainsFunc(tags, pending) {
		return Position{}, false
	}
	t.known.mu.Lock()
	defer t.known.mu.Unlock()
	return t.known.latest, true
}
