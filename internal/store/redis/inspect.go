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
	// sampleKeys and sampleTime bound the scan of each server's keys; scanStep is how many keys
	// Redis scans in one step, during which other clients wait.
	sampleKeys = 10_000
	sampleTime = 100 * time.Millisecond
	scanStep   = 500

	// tryPrefix is the prefix of the key that is set, read and deleted; tryTTL expires it if the
	// deletion fails.
	tryPrefix = "gw:{try:"
	tryTTL    = 10 * time.Second

	// maxErrorText bounds a displayed error, in bytes.
	maxErrorText = 300
)

// Inspect queries the state of Redis for display, in several round trips that ctx bounds together.
// It counts keys by kind, from at most 10,000 keys or 100 ms per server. It returns an error if no
// server reports anything; if only some primaries of a cluster fail, their errors are in Servers. A
// command that the user may not run is not an error.
func Inspect(ctx context.Context, client Client) (Info, error) { return inspect(ctx, client, true) }

// InspectServers is Inspect without the test write and the keys by kind: two commands per server,
// no write. It is enough for Warnings.
func InspectServers(ctx context.Context, client Client) (Info, error) {
	return inspect(ctx, client, false)
}

// InspectMemory queries each server's Memory only: one short command, enough for a Guard.
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
		if addr == "FailoverClient" { // go-redis's placeholder for the server that the Sentinels name
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

var errNoServer = errors.New("no server to query")

// inspection collects the replies of several servers, concurrently.
type inspection struct {
	whole    bool
	sections []string // of INFO; empty: the default ones

	mu      sync.Mutex
	servers []Server        // guarded by mu
	known   int             // servers that answered; guarded by mu
	counts  *KeyCounts      // nil: no server was scanned; guarded by mu
	denied  map[string]bool // guarded by mu
	first   error           // of a server that reported nothing; guarded by mu
}

// visit queries one server.
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

// ask reads INFO and, from the configuration, whether snapshots are on.
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

// scan counts keys until all have been seen or a limit is reached.
func (in *inspection) scan(ctx context.Context, node *redis.Client) (*KeyCounts, error) {
	var k KeyCounts
	var cursor uint64
	for start := time.Now(); ; {
		keys, next, err := node.Scan(ctx, cursor, "", scanStep).Result()
		if err != nil {
			return nil, in.unlessDenied("SCAN", err)
		}
		k.add(keys)
		if err := k.weigh(ctx, node, keys); err != nil && in.unlessDenied("STRLEN", err) != nil {
			return nil, err
		}
		if cursor = next; cursor == 0 {
			k.Complete, k.Keys = true, k.Looked
			return &k, nil
		}
		if k.Looked >= sampleKeys || time.Since(start) > sampleTime {
			size, err := node.DBSize(ctx).Result()
			k.Keys = max(size, k.Looked)
			return &k, in.unlessDenied("DBSIZE", err)
		}
	}
}

// unlessDenied records a command that is forbidden or unknown, as when a provider removed it, and
// returns nil. It returns other errors unchanged.
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

// plus adds the counts of another server; k may be nil.
func (k *KeyCounts) plus(other *KeyCounts) *KeyCounts {
	if k == nil {
		return other
	}
	return &KeyCounts{
		Keys: k.Keys + other.Keys, Looked: k.Looked + other.Looked, Complete: k.Complete && other.Complete,
		Limits: k.Limits + other.Limits, Sessions: k.Sessions + other.Sessions, Revocations: k.Revocations + other.Revocations,
		Cache: k.Cache + other.Cache, Responses: k.Responses + other.Responses, ResponseBytes: k.ResponseBytes + other.ResponseBytes, Gateway: k.Gateway + other.Gateway, Others: k.Others + other.Others,
	}
}

// try sets, reads and deletes a key that nothing else uses.
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
		t.Error = "the value read differs from the value written"
	default:
		t.OK = true
	}
	return t
}

// ErrorText returns an error of this package for display: bounded and on one line. No such error
// contains a password.
func ErrorText(err error) string {
	text := strings.Join(strings.Fields(err.Error()), " ")
	if len(text) > maxErrorText {
		text = strings.ToValidUTF8(text[:maxErrorText], "") + "…"
	}
	return text
}
