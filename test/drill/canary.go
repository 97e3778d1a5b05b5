package drill

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jewgo/gateway/test/env"
)

// canary is an extra backend beside those of the policy. Each tag has a version: a PUT increments it
// and purges the tag, a GET returns it. So an outdated response is recognized.
type canary struct {
	t   env.T
	url string

	mu       sync.Mutex
	versions map[string]int // by tag; guarded by mu
}

func newCanary(t env.T) *canary {
	c := &canary{t: t, versions: map[string]int{}}
	c.url = serve(t, c)
	return c
}

// canaryPolicy is added to the policy for it; %q is the URL.
const canaryPolicy = `
upstreams:
  gateway-drill: {targets: [%q]}
routes:
  - {name: gateway-drill-read, match: {methods: [GET], path: "/gateway-drill/{tag}/{item}"}, upstream: gateway-drill, cache: {ttl: 1h, tags: ["gateway-drill-{tag}"]}}
  - {name: gateway-drill-purge, match: {methods: [PUT], path: "/gateway-drill/{tag}/{item}"}, upstream: gateway-drill, invalidates: ["gateway-drill-{tag}"]}
`

func (c *canary) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	tag := strings.Split(r.URL.Path, "/")[2]
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.Method == http.MethodPut {
		c.versions[tag]++
	}
	_, _ = fmt.Fprint(w, c.versions[tag]) // fails only if the gateway is gone
}

// version gets an item from a gateway, or purges its tag, and returns the version.
func (c *canary) version(method string, g *gateway, item string) (int, error) {
	a, err := get(method, g, "/gateway-drill/"+item, "")
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(a.body)
}

// stale gets an item that was purged, and fails if its version is older than purged.
func (c *canary) stale(who string, g *gateway, item string, purged int) error {
	v, err := c.version(http.MethodGet, g, item)
	if err == nil && v < purged {
		err = fmt.Errorf("%s was purged, and %s served it", item, who)
	}
	return err
}

const (
	// purgeEvery is the time between two purges.
	purgeEvery = 100 * time.Millisecond
	// storedWithin is how long a gateway may take to write a response to Redis.
	storedWithin = 50 * time.Millisecond
	// heardWithin is how long another gateway may take to learn of a purge.
	heardWithin = 300 * time.Millisecond
)

// eviction plays a Redis that evicts only the key with the epoch and the generations of the cache's
// tags. Responses that were purged before are still there, but Redis no longer knows of the purge.
// Three gateways must not serve them: the one that purged them, another with them in memory, and a
// newcomer that only knows what Redis knows.
type eviction struct {
	*canary
	site    *site
	fleet   fleet
	redis   *env.RedisServer
	cookies string // of a user; "": logins are not possible

	items       int    // requested so far
	once, often string // items with the tags before and since

	stop   func() // ends the purges
	purged int    // last version of tag since; read after stop
	found  error  // first error of the purges; read after stop
}

func (e *eviction) fault() Fault {
	return Fault{
		Name: "table-evicted", Description: "during purges, only the key of the epoch and of the tags' generations vanishes",
		Before: e.before, Start: e.start, Check: e.check, Loss: true,
	}
}

// before makes all gateways store an item of each tag, and starts purging. Tag before is purged once,
// before the eviction; tag since is purged all the time.
func (e *eviction) before() {
	e.once, e.often = e.stored("before"), e.stored("since")
	e.found = nil
	e.stop = env.Run(e.t, func(ctx context.Context) {
		for more := true; more; more = sleep(ctx, purgeEvery) {
			v, err := e.version(http.MethodPut, e.fleet[0], "since/0")
			e.purged = max(e.purged, v)
			e.found = cmp.Or(e.found, err, e.stale("the gateway that purged it", e.fleet[0], "since/0", v))
		}
	})
}

// stored makes all gateways and Redis store an item with a tag; the last gateway gets it from Redis.
func (e *eviction) stored(tag string) (item string) {
	env.Until(e.t, "an item of "+tag+" is stored in Redis", func() bool {
		e.items++
		item = fmt.Sprint(tag, "/", e.items)
		for _, g := range e.fleet[:2] {
			if _, err := e.version(http.MethodGet, g, item); err != nil {
				e.t.Fatal(err)
			}
		}
		time.Sleep(storedWithin)
		a, err := get(http.MethodGet, e.fleet[2], "/gateway-drill/"+item, "")
		return err == nil && strings.HasPrefix(a.cacheStatus, "edge; hit")
	})
	return item
}

// start purges tag before for the only time, and evicts the key that records it.
func (e *eviction) start() {
	if _, err := e.version(http.MethodPut, e.fleet[0], e.once); err != nil {
		e.t.Fatal(err)
	}
	e.redis.Do("1", "DEL", "gw:{epoch}")
}

// check asks all three gateways. The newcomer starts now, as in a deployment.
func (e *eviction) check() error {
	e.stop()
	newcomer := e.site.open()
	defer newcomer.process.Kill()
	if err := (fleet{e.fleet[1], newcomer}).awaitUp(nil); err != nil {
		return err
	}
	time.Sleep(heardWithin)
	e.mu.Lock()
	before := e.versions["before"]
	e.mu.Unlock()
	return cmp.Or(
		e.found, e.stale("a gateway that started since", newcomer, e.once, before), e.stale("another gateway", e.fleet[1], e.often, e.purged),
		knows(e.fleet[0], e.cookies), knows(e.fleet[1], e.cookies), knows(newcomer, e.cookies),
	)
}

// knows fails if a gateway no longer knows the user's session.
func knows(g *gateway, cookies string) error {
	a, err := get(http.MethodGet, g, "/api/v5/auth/profile", cookies)
	if err == nil && cookies != "" && a.status == http.StatusUnauthorized {
		err = errors.New("a session was lost")
	}
	return err
}

// answer is a gateway's response.
type answer struct {
	status            int
	cacheStatus, body string
}

// get sends a request as one of many clients, so that none reaches a limit.
func get(method string, g *gateway, path, cookies string) (answer, error) {
	req, err := http.NewRequest(method, g.url+path, nil)
	if err != nil {
		return answer{}, err
	}
	req.Host = sharedHost
	req.Header.Set("X-Forwarded-For", fmt.Sprintf("192.0.2.%d", 1+rand.IntN(250)))
	if cookies != "" {
		req.Header.Set("Cookie", cookies)
	}
	res, err := client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = res.Body.Close() }() // it has been read
	text, err := io.ReadAll(res.Body)
	return answer{res.StatusCode, res.Header.Get("Cache-Status"), string(text)}, err
}
