package redis

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/sessions"
	"github.com/rbcervilla/redisstore/v9"
	"github.com/redis/go-redis/v9"

	"github.com/jewgo/gateway/middleware/session"
)

const (
	// sessionPrefix precedes a session's key. recordClient adds the closing brace, so that a record
	// and its revocation share a slot in a cluster.
	sessionPrefix = "gw:{s:"
	// sessionName is the name of redisstore's cookie; browsers never see it.
	sessionName = "gw"
	// recordValue is the key of the only value in redisstore's sessions.
	recordValue = "record"
)

//go:embed sessions_save.lua
var saveSource string

//go:embed sessions_revoke.lua
var revokeSource string

var saveScript = redis.NewScript(saveSource)

// Sessions keeps session records and revocations in Redis. Records are kept through redisstore, at
// gw:{s:KEY}. A revocation is at gw:{SUBJECT}:revoked; its value is the latest time of issue that
// it covers, in Unix milliseconds. KEY and SUBJECT are hashes. Everything expires.
//
// redisstore accepts any ID and overwrites unconditionally. So it never gets a browser's request,
// but one made for it with a key that no client chose, and a client that refuses to write a revoked
// or older record.
type Sessions struct {
	client redis.UniversalClient
	store  *redisstore.RedisStore
	now    func() time.Time // used to compute times to live
}

var _ session.Store = (*Sessions)(nil)

// NewSessions returns the sessions kept by client's server. It does not connect and never closes
// client.
func NewSessions(client redis.UniversalClient, now func() time.Time) *Sessions {
	// The error is that of Ping, which never fails in recordClient.
	store, _ := redisstore.NewRedisStore(context.Background(), recordClient{client})
	store.KeyPrefix(sessionPrefix)
	store.Serializer(recordSerializer{})
	store.KeyGen(func() (string, error) { return "", errors.New("session IDs are not made here") })
	return &Sessions{client: client, store: store, now: now}
}

// Load implements session.Store in one round trip.
func (s *Sessions) Load(ctx context.Context, ref session.Ref) (session.Record, error) {
	loaded, err := s.store.New(storeRequest(context.WithValue(ctx, refKey{}, ref), ref.Key), sessionName)
	if err != nil {
		return session.Record{}, fmt.Errorf("load session: %w", err)
	}
	record, ok := loaded.Values[recordValue].(session.Record)
	if !ok {
		return session.Record{}, session.ErrUnknown
	}
	return record, nil
}

// listStep is how many keys of a server are looked at in one step.
const listStep = 1000

// List implements session.Lister. It goes through all keys of every primary, for an operator and
// not for requests.
func (s *Sessions) List(ctx context.Context, found func(key string, r session.Record) bool) error {
	found = inTurn(found)
	return scan(ctx, s.client, sessionPrefix+"*}", func(node *redis.Client, keys []string) (bool, error) {
		records, err := pipelined(ctx, node, keys, func(p redis.Pipeliner, key string) *redis.StringCmd { return p.Get(ctx, key) })
		if err != nil {
			return false, err
		}
		for i, key := range keys {
			text, _ := records[i].Bytes() // nil: it has ended
			record, err := session.DecodeRecord(text)
			if err == nil && !found(strings.TrimSuffix(strings.TrimPrefix(key, sessionPrefix), "}"), record) {
				return false, nil
			}
		}
		return true, nil
	})
}

// inTurn lets several goroutines call found: one at a time, and no more after it returned false.
func inTurn[V any](found func(key string, v V) bool) func(key string, v V) bool {
	var mu sync.Mutex
	more := true // guarded by mu
	return func(key string, v V) bool {
		mu.Lock()
		defer mu.Unlock()
		more = more && found(key, v)
		return more
	}
}

// scan calls f for the keys of each primary that match a pattern, some at a time and perhaps more
// than once, until f returns false. It looks at every key.
func scan(ctx context.Context, client redis.UniversalClient, pattern string, f func(node *redis.Client, keys []string) (more bool, err error)) error {
	return onPrimaries(ctx, client, func(ctx context.Context, node *redis.Client) error {
		for cursor, first := uint64(0), true; first || cursor != 0; first = false {
			keys, next, err := node.Scan(ctx, cursor, pattern, listStep).Result()
			if err != nil {
				return err
			}
			cursor = next
			if more, err := f(node, keys); !more || err != nil {
				return err
			}
		}
		return nil
	})
}

// pipelined reads each key in one round trip. A key that has gone is no error.
func pipelined[T redis.Cmder](ctx context.Context, node *redis.Client, keys []string, read func(p redis.Pipeliner, key string) T) ([]T, error) {
	replies := make([]T, len(keys))
	_, err := node.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, key := range keys {
			replies[i] = read(p, key)
		}
		return nil
	})
	if errors.Is(err, redis.Nil) {
		err = nil
	}
	return replies, err
}

// onPrimaries calls f for every primary, at the same time.
func onPrimaries(ctx context.Context, client redis.UniversalClient, f func(context.Context, *redis.Client) error) error {
	switch c := client.(type) {
	case *redis.ClusterClient:
		return c.ForEachMaster(ctx, f)
	case *redis.Client:
		return f(ctx, c)
	}
	return errNoServer
}

// Save implements session.Store in one round trip. It does not check the revocation of the user,
// which is in another slot of a cluster; Load does.
func (s *Sessions) Save(ctx context.Context, key string, rec session.Record) error {
	left := rec.Idle.Sub(s.now())
	if left <= 0 {
		return nil // expired already; redisstore would delete the stored record
	}
	saved := sessions.NewSession(s.store, sessionName)
	saved.ID = key
	saved.Values[recordValue] = rec
	saved.Options.MaxAge = int((left + time.Second - 1) / time.Second)
	if err := s.store.Save(storeRequest(ctx, key), discard{}, saved); err != nil {
		return fmt.Errorf("save session: %w", err)
	}
	return nil
}

// Revoke implements session.Store in one round trip.
func (s *Sessions) Revoke(ctx context.Context, revocations []session.Revocation) error {
	now := s.now()
	_, err := s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, r := range revocations {
			if ttl := r.Until.Sub(now).Milliseconds(); ttl > 0 {
				// EVAL: a pipeline cannot react to NOSCRIPT.
				p.Eval(ctx, revokeSource, []string{revokedAt(r.Subject), "gw:{" + r.Subject + "}"}, r.Issued.UnixMilli(), ttl)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("revoke sessions: %w", err)
	}
	return nil
}

func revokedAt(subject string) string { return "gw:{" + subject + "}:revoked" }

// storeRequest returns a request from which redisstore reads a session's key.
func storeRequest(ctx context.Context, key string) *http.Request {
	r := &http.Request{Header: http.Header{"Cookie": {sessionName + "=" + key}}}
	return r.WithContext(ctx)
}

// discard drops the cookie that redisstore wants to set.
type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(b []byte) (int, error) { return len(b), nil }
func (discard) WriteHeader(int)             {}

// recordSerializer stores records in their own encoding instead of gob.
type recordSerializer struct{}

func (recordSerializer) Serialize(s *sessions.Session) ([]byte, error) {
	return s.Values[recordValue].(session.Record).Encode()
}

func (recordSerializer) Deserialize(b []byte, s *sessions.Session) error {
	record, err := session.DecodeRecord(b)
	if err == nil {
		s.Values[recordValue] = record
	}
	return err
}

// refKey is the context key of a Load's session.Ref, for recordClient.
type refKey struct{}

// recordClient is the client given to redisstore. Calls that it does not override go to the server
// unchanged.
type recordClient struct{ redis.UniversalClient }

// Ping does nothing: a store must also be made while its server is unavailable.
func (recordClient) Ping(ctx context.Context) *redis.StatusCmd { return redis.NewStatusCmd(ctx) }

// Get reads a record together with the revocations that concern it.
func (c recordClient) Get(ctx context.Context, key string) *redis.StringCmd {
	cmd := redis.NewStringCmd(ctx, "get", key)
	ref := ctx.Value(refKey{}).(session.Ref)
	var own *redis.SliceCmd
	var others []*redis.StringCmd
	_, err := c.Pipelined(ctx, func(p redis.Pipeliner) error {
		subjects := ref.Subjects()
		own = p.MGet(ctx, key+"}", revokedAt(subjects[0]))
		for _, subject := range subjects[1:] {
			others = append(others, p.Get(ctx, revokedAt(subject)))
		}
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		cmd.SetErr(err)
		return cmd
	}
	values := own.Val()
	revocations := values[1:]
	for _, other := range others {
		if v, err := other.Result(); err == nil {
			revocations = append(revocations, v)
		}
	}
	for _, v := range revocations {
		if reaches(v, ref.Issued) {
			cmd.SetErr(session.ErrRevoked)
			return cmd
		}
	}
	if record, ok := values[0].(string); ok {
		cmd.SetVal(record)
	} else {
		cmd.SetErr(redis.Nil)
	}
	return cmd
}

// reaches reports whether a stored revocation covers a session issued at that time.
func reaches(stored any, issued time.Time) bool {
	text, ok := stored.(string)
	if !ok {
		return false
	}
	until, err := strconv.ParseInt(text, 10, 64)
	return err != nil || until >= issued.UnixMilli()
}

// Set writes a record, unless it is revoked or older than the stored one.
func (c recordClient) Set(ctx context.Context, key string, value any, ttl time.Duration) *redis.StatusCmd {
	cmd := redis.NewStatusCmd(ctx, "set", key)
	revoked := key + "}:revoked"
	switch n, err := saveScript.Run(ctx, c.UniversalClient, []string{key + "}", revoked}, value, ttl.Milliseconds()).Int(); {
	case err != nil:
		cmd.SetErr(err)
	case n == 0:
		cmd.SetErr(session.ErrStale)
	case n < 0:
		cmd.SetErr(session.ErrRevoked)
	}
	return cmd
}
