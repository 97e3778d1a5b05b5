package drill

import (
	"errors"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"
)

const (
	// maxCopies is how many copies a world replays: the last ones, so that memory is bounded.
	maxCopies = 2000
	// sweepCopies is how many of them are sent to every gateway at the end.
	sweepCopies = 400
)

// copied is a copy of a session's cookie that somebody made before the logout.
type copied struct {
	cookie string
	at     time.Time // of the logout's answer

	// Which gateways know of the logout, since they handled it, or have refused the copy; guarded by sessionsWorld.mu.
	knows []bool
	// A gateway that uses Redis knows, since all have used it since the logout; guarded by sessionsWorld.mu.
	told bool
}

// ended keeps copies of the cookies of a session that gateway g has ended.
func (w *sessionsWorld) ended(g int, cookies ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, cookie := range cookies {
		if cookie != "" {
			c := &copied{cookie: cookie, at: time.Now(), knows: make([]bool, len(w.fleet))}
			c.knows[g] = true
			w.copies = append(w.copies, c)
		}
	}
	if n := len(w.copies); n > maxCopies {
		w.copies = slices.Delete(w.copies, 0, n-maxCopies)
	}
}

// told notes that all gateways have used Redis since then: logouts that they handled before came there first.
func (w *sessionsWorld) told(before time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.copies {
		c.told = c.told || c.at.Before(before)
	}
}

// replay sends one copy, mostly one of the last, to any gateway.
func (w *sessionsWorld) replay(random *rand.Rand) {
	w.mu.Lock()
	n := len(w.copies)
	if n == 0 {
		w.mu.Unlock()
		return
	}
	c := w.copies[n-1-int(float64(n)*random.Float64()*random.Float64())]
	w.mu.Unlock()
	w.copyTo(c, w.any(random))
}

// copyTo sends a copy to a gateway, and judges its answer.
func (w *sessionsWorld) copyTo(c *copied, g int) {
	w.mu.Lock()
	knew, told := c.knows[g], c.told
	w.mu.Unlock()
	began, calm := time.Now(), w.broken.Load()
	a, ok := w.send(g, http.MethodGet, "/app/read", c.cookie)
	if !ok {
		return
	}
	w.count(&w.row.Replays)
	switch {
	case a.status == http.StatusUnauthorized:
		w.mu.Lock()
		defer w.mu.Unlock()
		c.knows[g] = true
	case a.status != http.StatusOK:
	case knew:
		w.find("revived", &w.row.Revived, "gateway %d, which knew of the logout of %s %v before", g, a.seen.User, began.Sub(c.at).Round(time.Millisecond))
	case told && calm%2 == 0 && calm == w.broken.Load() && w.steady(began):
		w.find("revived", &w.row.Revived, "gateway %d, though Redis had been told of the logout of %s", g, a.seen.User)
	default:
		w.count(&w.row.Unheard)
	}
}

// sweep waits until all gateways use Redis, and asks each of them for every session: those that live, and the last that ended.
func (w *sessionsWorld) sweep() error {
	if err := w.fleet.awaitUp(nil); err != nil {
		return errors.Join(err, errNotBack)
	}
	time.Sleep(2 * settleTime)
	w.told(time.Now())
	for g := range w.fleet {
		for _, u := range w.users {
			for i := range u.browsers {
				if b := &u.browsers[i]; b.cookie != "" {
					u.ask(b, g, http.MethodGet, "/app/read")
				}
			}
		}
		var asked sync.WaitGroup
		for part := range slices.Chunk(w.copies[max(0, len(w.copies)-sweepCopies):], sweepCopies/8) {
			asked.Go(func() {
				for _, c := range part {
					w.copyTo(c, g)
				}
			})
		}
		asked.Wait()
	}
	return nil
}

// judge completes the row of this world.
func (w *sessionsWorld) judge() SessionsRow {
	r := w.row
	r.Users = len(w.users)
	r.Problems = problems(
		when(r.Denied > 0, "%d requests of live sessions were denied, the first: %s", r.Denied, w.wrong["denied"]),
		when(r.Revived > 0, "%d copies of ended sessions were accepted, the first by %s", r.Revived, w.wrong["revived"]),
		when(r.Lost > 0, "%d writes were lost, the first: %s", r.Lost, w.wrong["lost writes"]),
		when(r.Strangers > 0, "%d requests got a session that is not theirs, the first: %s", r.Strangers, w.wrong["strangers"]),
		when(r.Failed > 0, "%d requests failed, the first: %s", r.Failed, w.wrong["5xx"]),
		when(r.Outages == 0 || r.Logouts == 0 || r.Replays == 0, "too little happened: %d outages, %d logouts, %d replays", r.Outages, r.Logouts, r.Replays),
	)
	return r
}
