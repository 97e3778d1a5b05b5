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

// canary is a backend of the drill's own beside those of the policy. Each tag
// there has a version, which a PUT raises and thereby purges, and a GET tells: so
// a response that was purged can be told from one that was not.
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

// canaryPolicy is what a policy needs for it; the URL stands for %q.
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
	_, _ = fmt.Fprint(w, c.versions[tag]) // a gateway that is gone has nothing to be told
}

// version asks a gateway for an item, or purges its tag, and returns the version.
func (c *canary) version(method string, g *gateway, item string) (int, error) {
	a, err := get(method, g, "/gateway-drill/"+item, "")
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(a.body)
}

// stale asks a gateway for an item that was purged at a version.
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
	// heardWithin is how long another gateway may take to hear of a purge.
	heardWithin = 300 * time.Millisecond
)

// eviction plays the eviction of the key that holds the epoch and the generations
// of the cache's tags, by a Redis that keeps all else: responses that were purged
// before are still there, and nothing in Redis says so any more. Three gateways
// must not serve them: the one that purged them, another that holds them in memory,
// and a newcomer that knows no more than Redis does.
type eviction struct {
	*canary
	site    *site
	fleet   fleet
	redis   *env.RedisServer
	cookies string // of a user; "": nobody can log in

	items       int    // asked for so far
	once, often string // items with the tags before and since

	stop   func() // ends the purges
	purged int    // the version of tag since, and what the purges found; read after stop
	found  error
}

func (e *eviction) fault() Fault {
	return Fault{
		Name: "table-evicted", Description: "under purges, the key of the epoch and of the generations of tags vanishes alone",
		Before: e.before, Start: e.start, Check: e.check, Loss: true,
	}
}

// before has all gateways store what is purged later, and begins to purge. Tag
// before is purged once, before the eviction; tag since all the time.
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

// stored has an item with a tag stored in all gateways and in Redis, from which the
// last of them has it.
func (e *eviction) stored(tag string) (item string) {
	env.Until(e.t, "something of "+tag+" is stored in Redis", func() bool {
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

// start purges a list that is then left alone, and evicts what says so.
func (e *eviction) start() {
	if _, err := e.version(http.MethodPut, e.fleet[0], e.once); err != nil {
		e.t.Fatal(err)
	}
	e.redis.Do("1", "DEL", "gw:{epoch}")
}

// check asks all three gateways. The newcomer starts now, as by a deployment.
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

// knows asks with the cookies of a user: the session must not have ended.
func knows(g *gateway, cookies string) error {
	a, err := get(http.MethodGet, g, "/api/v5/auth/profile", cookies)
	if err == nil && cookies != "" && a.status == http.StatusUnauthorized {
		err = errors.New("a session was lost")
	}
	return err
}

// answer is what a gateway answers.
type answer struct {
	status            int
	cacheStatus, body string
}

// get asks a gateway as one of many clients, none of which meets a limit.
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
