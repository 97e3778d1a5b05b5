package redis

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// sampleKeys and sampleTime bound what is looked at of each server's keys,
	// scanStep what Redis looks at in one go, during which others wait.
	sampleKeys = 10_000
	sampleTime = 100 * time.Millisecond
	scanStep   = 500

	// tryPrefix begins the key that is set, read and deleted, and tryTTL ends one
	// that was not.
	tryPrefix = "gw:{try:"
	tryTTL    = 10 * time.Second

	// maxErrorText bounds an error for people.
	maxErrorText = 300
)

// Inspect asks Redis how it is, for people: some round trips, of which ctx
// bounds the whole. It counts the keys by looking at 10,000 of each server, or
// for 100 ms. The error is that of a Redis that tells nothing at all; one of a
// cluster's primaries that does so has its error among the Servers. A command
// that is not allowed is no error.
func Inspect(ctx context.Context, client Client) (Info, error) { return inspect(ctx, client, true) }

// InspectServers is Inspect without the probe and the keys by kind: two
// commands a server, and no write. It is enough for Warnings.
func InspectServers(ctx context.Context, client Client) (Info, error) {
	return inspect(ctx, client, false)
}

// InspectMemory asks each server for its Memory and nothing else: one short command,
// enough for a Guard.
func InspectMemory(ctx context.Context, client Client) (Info, error) {
	return inspect(ctx, client, false, "memory")
}

func inspect(ctx context.Context, client Client, whole bool, sections ...string) (Info, error) {
	in := inspection{whole: whole, sections: sections, denied: map[string]bool{}}
	info := Info{Mode: "standalone"}
	switch c := client.(type) {
	case *redis.ClusterClient:
		info.Mode = "cluster"
		err := c.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error {
			in.visit(ctx, node, node.Options().Addr)
			return nil
		})
		if err != nil && in.first == nil {
			in.first = err
		}
	case *redis.Client:
		addr := c.Options().Addr
		if addr == "FailoverClient" { // go-redis's name for whichever server the Sentinels name
			info.Mode, addr = "sentinel", ""
		}
		in.visit(ctx, c, addr)
	}
	if in.known == 0 {
		return Info{}, fmt.Errorf("inspect redis: %w", cmp.Or(in.first, errNoServer))
	}
	if whole {
		info.Probe = in.try(ctx, client)
		info.ByKind = in.counts
	}
	slices.SortFunc(in.servers, func(a, b Server) int { return strings.Compare(a.Address, b.Address) })
	info.Servers, info.Sum = in.servers, sum(in.servers)
	for command := range in.denied {
		info.Denied = append(info.Denied, command)
	}
	slices.Sort(info.Denied)
	return info, nil
}

var errNoServer = errors.New("no server to ask")

// inspection gathers what several servers say at once.
type inspection struct {
	whole    bool
	sections []string // of INFO; none: the usual ones

	mu      sync.Mutex
	servers []Server        // guarded by mu
	known   int             // servers that answered; guarded by mu
	counts  *KeyCounts      // nil: no server was scanned; guarded by mu
	denied  map[string]bool // guarded by mu
	first   error           // of a server that told nothing; guarded by mu
}

// visit asks one server.
func (in *inspection) visit(ctx context.Context, node *redis.Client, addr string) {
	s := Server{Address: addr}
	err := in.ask(ctx, node, &s)
	var keys *KeyCounts
	if err == nil && in.whole {
		keys, err = in.scan(ctx, node)
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if err != nil {
		s.Error = ErrorText(err)
		in.first = cmp.Or(in.first, err)
	} else {
		in.known++
	}
	in.servers = append(in.servers, s)
	if keys != nil {
		in.counts = in.counts.plus(keys)
	}
}

// ask reads what the server says of itself, and whether it saves, which only
// its configuration tells.
func (in *inspection) ask(ctx context.Context, node *redis.Client, s *Server) error {
	text, err := node.Info(ctx, in.sections...).Result()
	if err != nil {
		return in.unlessDenied("INFO", err)
	}
	parseInfo(text).server(s)
	if s.Persistence == nil {
		return nil
	}
	save, err := node.ConfigGet(ctx, "save").Result()
	if err != nil {
		return in.unlessDenied("CONFIG GET", err)
	}
	if value, ok := save["save"]; ok {
		enabled := value != ""
		s.Persistence.RDB = &enabled
	}
	return nil
}

// scan counts keys until all are seen, or enough.
func (in *inspection) scan(ctx context.Context, node *redis.Client) (*KeyCounts, error) {
	var k KeyCounts
	var cursor uint64
	for start := time.Now(); ; {
		keys, next, err := node.Scan(ctx, cursor, "", scanStep).Result()
		if err != nil {
			return nil, in.unlessDenied("SCAN", err)
		}
		k.add(keys)
		if cursor = next; cursor == 0 {
			k.Complete = true
			return &k, nil
		}
		if k.Looked >= sampleKeys || time.Since(start) > sampleTime {
			return &k, nil
		}
	}
}

// unlessDenied keeps in mind that a command is not allowed, or not known, as
// where a provider took it away; other errors it gives back.
func (in *inspection) unlessDenied(command string, err error) error {
	var reply redis.Error
	if !errors.As(err, &reply) || !redis.IsPermissionError(err) && !strings.HasPrefix(reply.Error(), "ERR unknown command") {
		return err
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	in.denied[command] = true
	return nil
}

// plus adds what another server holds; k may be nil.
func (k *KeyCounts) plus(other *KeyCounts) *KeyCounts {
	if k == nil {
		return other
	}
	return &KeyCounts{
		Looked: k.Looked + other.Looked, Complete: k.Complete && other.Complete,
		Limits: k.Limits + other.Limits, Sessions: k.Sessions + other.Sessions, Revocations: k.Revocations + other.Revocations,
		Cache: k.Cache + other.Cache, Gateway: k.Gateway + other.Gateway, Others: k.Others + other.Others,
	}
}

// try sets, reads and deletes a key that is nobody else's.
func (in *inspection) try(ctx context.Context, client Client) *Try {
	value := rand.Text()
	key := tryPrefix + value + "}"
	var got *redis.StringCmd
	start := time.Now()
	_, err := client.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.Set(ctx, key, value, tryTTL)
		got = p.Get(ctx, key)
		p.Del(ctx, key)
		return nil
	})
	t := &Try{RoundTripSeconds: time.Since(start).Seconds()}
	switch {
	case err != nil:
		t.Error = ErrorText(err)
	case got.Val() != value:
		t.Error = "what was read is not what was written"
	default:
		t.OK = true
	}
	return t
}

// ErrorText is an error of this package for people: bounded, and in one line.
// None of them holds a password.
func ErrorText(err error) string {
	text := strings.Join(strings.Fields(err.Error()), " ")
	if len(text) > maxErrorText {
		text = strings.ToValidUTF8(text[:maxErrorText], "") + "…"
	}
	return text
}
