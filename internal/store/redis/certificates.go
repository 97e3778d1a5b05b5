package redis

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
)

// certificatesPrefix is that of the keys by which gateways share certificates.
const certificatesPrefix = "gw:{tls}:"

// holdScript sets a lock (KEYS[1]) to a token (ARGV[1]) for ARGV[2] milliseconds, unless another one has it.
var holdScript = redis.NewScript(`
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1`)

// freeScript deletes a lock (KEYS[1]) that a token (ARGV[1]) has.
var freeScript = redis.NewScript(`
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1`)

// Certificates is where gateways share what they get from an ACME server, and who of them orders. Values
// are sealed by the caller.
type Certificates struct{ client redis.UniversalClient }

// NewCertificates returns them on the client, which the caller closes.
func NewCertificates(client redis.UniversalClient) *Certificates { return &Certificates{client} }

// Get returns a value; nil if there is none.
func (c *Certificates) Get(ctx context.Context, key string) ([]byte, error) {
	value, err := c.client.Get(ctx, certificatesPrefix+key).Bytes()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	return value, err
}

// Put sets a value, for ttl; 0: without end.
func (c *Certificates) Put(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	return c.client.Set(ctx, certificatesPrefix+key, value, ttl).Err()
}

// Delete deletes a value.
func (c *Certificates) Delete(ctx context.Context, key string) error {
	return c.client.Del(ctx, certificatesPrefix+key).Err()
}

// Holder returns the token that holds a lock; "" if none does.
func (c *Certificates) Holder(ctx context.Context, name string) (string, error) {
	token, err := c.client.Get(ctx, certificatesPrefix+"lock:"+name).Result()
	if errors.Is(err, redis.Nil) {
		return "", nil
	}
	return token, err
}

// Hold makes token the holder of a lock for ttl, unless another one is.
func (c *Certificates) Hold(ctx context.Context, name, token string, ttl time.Duration) (held bool, err error) {
	return holdScript.Run(ctx, c.client, []string{certificatesPrefix + "lock:" + name}, token, ttl.Milliseconds()).Bool()
}

// Free ends a lock, if token holds it.
func (c *Certificates) Free(ctx context.Context, name, token string) error {
	return freeScript.Run(ctx, c.client, []string{certificatesPrefix + "lock:" + name}, token).Err()
}
