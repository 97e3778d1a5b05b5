package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/jewgo/gateway/internal/failover"
	"github.com/jewgo/gateway/test/drill"
)

const (
	// purgeEvery is the time between two purges.
	purgeEvery = 100 * time.Millisecond
	// heardWithin is how long another gateway may take to hear of a purge.
	heardWithin = 300 * time.Millisecond
	// upWithin is how long a gateway may take to use a Redis that is whole.
	upWithin = 8 * time.Second
)

// Lists that the drill's other traffic does not ask for, so that nobody else
// stores them anew. The last word of a path is the tag of the list; of those that
// are purged all the time the other traffic asks for few.
const (
	purgedBefore = "/api/v5/synagogues?page=2" // before the eviction, and not after it
	purgedSince  = "/api/v5/specials?page=2"   // all the time
	purgedRead   = "/api/v5/specials?page=3"   // and read after each purge
	profilePath  = "/api/v5/auth/profile"
)

// drillEviction plays the eviction of the key that holds the epoch and the
// generations of the cache's tags, by a Redis that keeps all else: responses that
// were purged before are still there, and nothing in Redis says so any more. Three
// gateways must not serve them: the first, a peer that holds them in memory, and
// a newcomer that knows no more than Redis does.
type drillEviction struct {
	site  *drillSite
	redis *ownRedis

	peer    *drilled
	cookies string // of a user; "": nobody can log in
	stop    func() // ends the purges
	found   error  // by them; read after stop
}

func (e *drillEviction) scenario() drill.Scenario {
	return drill.Scenario{Prepare: e.prepare, Start: e.start, End: func() error { return nil }, Check: e.check}
}

// prepare has the lists stored by the first gateway and its peer, and begins to
// purge. A policy that stores no such lists has nothing that could be stale.
func (e *drillEviction) prepare() (_ []drill.Gateway, end func(), err error) {
	if e.peer, err = e.site.open(1); err != nil {
		return nil, nil, err
	}
	if err = e.peer.awaitUp(); err != nil {
		e.peer.close()
		return nil, nil, err
	}
	for _, path := range []string{purgedBefore, purgedSince} {
		for _, d := range []*drilled{e.site.first, e.peer} {
			if _, _, err = d.get(path, ""); err != nil {
				e.peer.close()
				return nil, nil, err
			}
		}
	}
	e.cookies = login(e.site.ctx, shownURL(e.site.first.servers.dataListener))
	e.found = nil
	e.purge()
	return nil, func() { e.stop(); e.peer.close() }, nil
}

// purge purges a tag through the first gateway again and again, until stop.
func (e *drillEviction) purge() {
	ctx, cancel := context.WithCancel(e.site.ctx)
	var purging sync.WaitGroup
	e.stop = func() { cancel(); purging.Wait() }
	purging.Go(func() {
		for ctx.Err() == nil {
			_ = e.site.first.g.stores.tags.Purge(ctx, "specials") // holds here; Redis may be away
			e.found = cmp.Or(e.found, e.site.first.stale("the gateway that purged it", purgedRead))
			select {
			case <-ctx.Done():
			case <-time.After(purgeEvery):
			}
		}
	})
}

// start purges a list that is then left alone, and evicts what says so.
func (e *drillEviction) start() error {
	if err := e.site.first.g.stores.tags.Purge(e.site.ctx, "synagogues"); err != nil {
		return err
	}
	return e.redis.evict()
}

// check asks all three gateways. The newcomer starts now, as by a deployment.
func (e *drillEviction) check() error {
	e.stop()
	newcomer, err := e.site.open(2)
	if err != nil {
		return err
	}
	defer newcomer.close()
	if err := cmp.Or(e.peer.awaitUp(), newcomer.awaitUp()); err != nil {
		return err
	}
	time.Sleep(heardWithin)
	return cmp.Or(
		e.found, newcomer.stale("a gateway that started since", purgedBefore), e.peer.stale("another gateway", purgedSince),
		e.site.first.knows(e.cookies), e.peer.knows(e.cookies), newcomer.knows(e.cookies),
	)
}

// stale asks for a list that was purged and not stored anew: a hit is stale.
func (d *drilled) stale(who, path string) error {
	_, status, err := d.get(path, "")
	if err == nil && strings.HasPrefix(status, "edge; hit") {
		err = fmt.Errorf("%s was purged, and %s served it", path, who)
	}
	return err
}

// knows asks with the cookies of a user: the session must not have ended.
func (d *drilled) knows(cookies string) error {
	code, _, err := d.get(profilePath, cookies)
	if err == nil && cookies != "" && code == http.StatusUnauthorized {
		err = errors.New("a session was lost")
	}
	return err
}

// get asks the gateway as one of many clients, none of which meets a limit, and
// returns the status code and what the cache says.
func (d *drilled) get(path, cookies string) (code int, cacheStatus string, err error) {
	req, err := http.NewRequestWithContext(d.site.ctx, http.MethodGet, shownURL(d.servers.dataListener)+path, nil)
	if err != nil {
		return 0, "", err
	}
	req.Host = "127.0.0.1" // without the port: gateways share what is stored for one host
	req.Header.Set("X-Forwarded-For", fmt.Sprintf("192.0.2.%d", 1+rand.IntN(250)))
	if cookies != "" {
		req.Header.Set("Cookie", cookies)
	}
	res, err := drillClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = res.Body.Close() }() // it has been read
	_, err = io.Copy(io.Discard, res.Body)  // what is not read whole is not stored
	return res.StatusCode, res.Header.Get("Cache-Status"), err
}

// awaitUp waits until the gateway uses Redis.
func (d *drilled) awaitUp() error {
	for deadline := time.Now().Add(upWithin); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if d.status().State == failover.Up {
			return nil
		}
	}
	return fmt.Errorf("another gateway does not use Redis after %s", upWithin)
}
