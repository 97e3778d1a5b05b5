package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jewgo/gateway/test/env"
)

// limitsPolicy is one of several gateways; its data folder, the Redis, the
// upstream and the limit of that name are filled in.
const limitsPolicy = `
version: 1
server: {data_dir: ./%[1]s}
redis: {url: %[2]q, budget: 500ms}
upstreams:
  app: {targets: [%[3]q]}
limits:
  few: %[4]s
routes:
  - {name: few, match: {path: /few}, upstream: app, limits: [few]}
`

// limitedFleet runs gateways on one Redis.
type limitedFleet struct {
	t         *testing.T
	here      string
	redis     string
	upstream  string
	processes []*gatewayProcess
}

func startLimited(t *testing.T, redisURL, limit string, n int) *limitedFleet {
	t.Helper()
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }))
	t.Cleanup(upstream.Close)
	here, there := policyFolder(t)
	f := &limitedFleet{t: t, here: here, redis: redisURL, upstream: upstream.URL}
	for i := range n {
		f.write(i, limit)
	}
	own(t, here)
	for i := range n {
		g := start(t, nil, "run", "--config", filepath.Join(there, f.name(i)+".yaml"))
		g.stderr.await(t, "redis is in use")
		f.processes = append(f.processes, g)
	}
	return f
}

func (f *limitedFleet) name(i int) string { return string(rune('a' + i)) }

func (f *limitedFleet) write(i int, limit string) {
	f.t.Helper()
	writePolicy(f.t, filepath.Join(f.here, f.name(i)+".yaml"), fmt.Sprintf(limitsPolicy, f.name(i), f.redis, f.upstream, limit))
}

// admitted sends n requests of a client and counts those that pass.
func (g *gatewayProcess) admitted(n int, client string) (passed int) {
	g.t.Helper()
	for range n {
		switch res := g.get("/few", "X-Client", client); res.StatusCode {
		case http.StatusOK:
			passed++
		case http.StatusTooManyRequests:
		default:
			g.t.Fatalf("status %s", res.Status)
		}
	}
	return passed
}

func (g *gatewayProcess) token(f *limitedFleet, i int) string {
	g.t.Helper()
	token, err := os.ReadFile(filepath.Join(f.here, f.name(i), "admin.token"))
	if err != nil {
		g.t.Fatal(err)
	}
	return "Bearer " + strings.TrimSpace(string(token))
}

// hottest lists the buckets that were charged most, each as the operator sees it
// who asks about it by the key of the list.
func (g *gatewayProcess) hottest() (buckets []shownBucket) {
	g.t.Helper()
	var list struct {
		Hottest []struct{ Limit, Key string }
	}
	if res := g.get(g.admin + "/v1/limits"); json.Unmarshal([]byte(res.body), &list) != nil {
		g.t.Fatalf("%s\n%s", res.Status, res.body)
	}
	for _, h := range list.Hottest {
		var b shownBucket
		res := g.get(g.admin + "/v1/limits/" + h.Limit + "?key=" + url.QueryEscape(h.Key))
		if err := json.Unmarshal([]byte(res.body), &b); err != nil || res.StatusCode != http.StatusOK || b.Bucket != h.Key {
			g.t.Errorf("%+v in the list: %s\n%s", h, res.Status, res.body)
		}
		buckets = append(buckets, b)
	}
	return buckets
}

type shownBucket struct {
	Bucket string
	Redis  struct{ Remaining int }
}

func TestLimitsAreOneForAllGateways(t *testing.T) {
	t.Parallel()
	server := env.Redis(t)
	f := startLimited(t, server.URL, `{key: "header:X-Client", rate: 20/h}`, 2)
	a, b := f.processes[0], f.processes[1]
	if got := a.admitted(15, "x") + b.admitted(15, "x"); got != 20 {
		t.Errorf("%d of 30 passed, want 20", got)
	}
	var state struct {
		Redis struct{ Remaining int }
		Here  struct{ Refused, Seen float64 }
	}
	res := b.get(b.admin + "/v1/limits/few?key=x")
	if err := json.Unmarshal([]byte(res.body), &state); err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %v\n%s", res.Status, err, res.body)
	}
	if state.Redis.Remaining != 0 || state.Here.Refused <= 0 || state.Here.Seen <= 3000 {
		t.Errorf("the bucket of a client that was refused: %s", res.body)
	}

	// A reset at the one reaches the other, which had refused.
	if res := a.do("POST", a.admin+"/v1/limits/few/reset?key=x", ""); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("a reset without the token: %s", res.Status)
	}
	if res := a.do("POST", a.admin+"/v1/limits/few/reset?key=x", "", "Authorization", a.token(f, 0)); res.StatusCode != http.StatusOK {
		t.Fatalf("reset: %s\n%s", res.Status, res.body)
	}
	if got := a.admitted(1, "x"); got != 1 {
		t.Error("refused after the reset, where it was asked for")
	}
	env.Eventually(t, 10*time.Second, func() error {
		if b.admitted(1, "x") == 0 {
			return fmt.Errorf("the other gateway refuses after the reset: %s", b.get(b.admin+"/v1/limits/few?key=x").body)
		}
		return nil
	})

	var list struct {
		Limits  []struct{ Name string }
		Hottest []struct {
			Limit, Key    string
			Total, Denied int
		}
	}
	res = a.get(a.admin + "/v1/limits")
	if err := json.Unmarshal([]byte(res.body), &list); err != nil || len(list.Limits) != 1 || len(list.Hottest) != 1 || list.Hottest[0].Total != 16 {
		t.Errorf("/v1/limits: %v\n%s", err, res.body)
	}
	if shown := a.hottest(); len(shown) != 1 || shown[0].Redis.Remaining != 18 {
		t.Errorf("the hottest buckets: %+v", shown)
	}
	for path, want := range map[string]int{
		"/v1/limits/none?key=x": http.StatusNotFound, "/v1/limits/few": http.StatusBadRequest, "/v1/limits/few?key=a&key=b": http.StatusBadRequest,
	} {
		if res := a.get(a.admin + path); res.StatusCode != want || !strings.Contains(res.body, "limit") {
			t.Errorf("%s: %s\n%s", path, res.Status, res.body)
		}
	}
}

// Gateways prepay tokens of a busy key without being told to. A client that uses them in turns gets its whole burst
// but for a twentieth, and is never refused while it stays below its rate, even with an empty bucket.
func TestLeasesOfSeveralGateways(t *testing.T) {
	t.Parallel()
	const burst, rate = 300, 100
	f := startLimited(t, env.Redis(t).URL, fmt.Sprintf(`{key: "header:X-Client", rate: %d/s, burst: %d}`, rate, burst), 3)
	inTurns := func(client string, n int, pause time.Duration) (passed int) {
		for i := range n {
			passed += f.processes[i%3].admitted(1, client)
			time.Sleep(pause)
		}
		return passed
	}
	if passed := inTurns("greedy", burst*19/20, 0); passed != burst*19/20 {
		t.Errorf("%d of the first %d passed", passed, burst*19/20)
	}
	inTurns("greedy", burst, 0) // empties the bucket, as far as the machine is fast enough
	const steady = 150
	time.Sleep(time.Second / rate)
	if passed := inTurns("greedy", steady, time.Second/rate); passed != steady { // a token comes back after each response
		t.Errorf("%d of %d passed below the rate", passed, steady)
	}
	for _, g := range f.processes {
		if body := g.get(g.admin + "/metrics").body; !strings.Contains(body, `gateway_limit_requests_total{by="lease",limit="few",outcome="allowed"}`) {
			t.Error("a gateway has spent no leased token")
		}
	}
}

// Each tier of a key has its bucket: the operator sees them, by their own quotas,
// and makes them full together.
func TestTheOperatorSeesTheBucketsOfTiers(t *testing.T) {
	t.Parallel()
	f := startLimited(t, env.Redis(t).URL, `{key: "header:X-Client", rate: 1/h, tiers: {anonymous: {rate: 5/h}}}`, 1)
	a := f.processes[0]
	if got := a.admitted(8, "x"); got != 5 {
		t.Errorf("%d of 8 passed, want 5", got)
	}
	// The list has the tier's bucket alone, of which it shows but a hash.
	if shown := a.hottest(); len(shown) != 1 || shown[0].Redis.Remaining != 0 {
		t.Errorf("the hottest buckets: %+v", shown)
	}
	for range 2 { // looking changes nothing
		var state struct {
			Redis struct{ Remaining int }
			Tiers []struct {
				Tier  string
				Redis struct {
					Remaining int
					Whole     float64 `json:"whole_in"`
				}
			}
		}
		res := a.get(a.admin + "/v1/limits/few?key=x")
		if err := json.Unmarshal([]byte(res.body), &state); err != nil || len(state.Tiers) != 1 {
			t.Fatalf("%v\n%s", err, res.body)
		}
		if tier := state.Tiers[0]; state.Redis.Remaining != 1 || tier.Tier != "anonymous" || tier.Redis.Remaining != 0 || tier.Redis.Whole < 3000 {
			t.Errorf("%s", res.body)
		}
	}
	if res := a.do("POST", a.admin+"/v1/limits/few/reset?key=x", "", "Authorization", a.token(f, 0)); res.StatusCode != http.StatusOK {
		t.Fatalf("reset: %s\n%s", res.Status, res.body)
	}
	if got := a.admitted(8, "x"); got != 5 {
		t.Errorf("after the reset %d of 8 passed, want 5", got)
	}
}

// A limit that shrinks lets go of what was prepaid for it.
func TestAReloadSettlesLeases(t *testing.T) {
	t.Parallel()
	server := env.Redis(t)
	f := startLimited(t, server.URL, `{key: "header:X-Client", rate: 40/h, lease: 10}`, 1)
	a := f.processes[0]
	a.admitted(3, "x")
	leased := func() (n int, left int) {
		var state struct {
			Redis struct{ Remaining int }
			Here  struct{ Leased int }
		}
		res := a.get(a.admin + "/v1/limits/few?key=x")
		if err := json.Unmarshal([]byte(res.body), &state); err != nil {
			t.Fatalf("%v\n%s", err, res.body)
		}
		return state.Here.Leased, state.Redis.Remaining
	}
	if n, left := leased(); n == 0 || n+left != 37 {
		t.Fatalf("%d leased, %d left after 3 of 40", n, left)
	}
	f.write(0, `{key: "header:X-Client", rate: 40/h}`)
	a.signal(syscall.SIGHUP)
	env.Eventually(t, 10*time.Second, func() error {
		if n, left := leased(); n != 0 || left != 37 {
			return fmt.Errorf("after the reload %d leased, %d left", n, left)
		}
		return nil
	})
}

func (g *gatewayProcess) awaitReplicas(want int) {
	g.t.Helper()
	env.Eventually(g.t, 15*time.Second, func() error {
		var list struct{ Replicas int }
		if res := g.get(g.admin + "/v1/limits"); json.Unmarshal([]byte(res.body), &list) != nil || list.Replicas != want {
			return fmt.Errorf("%d gateways are believed in, want %d", list.Replicas, want)
		}
		return nil
	})
}

// Gateways that never spoke with each other share a limit while Redis is unavailable,
// one that was started meanwhile too.
func TestTheFleetIsKnownWithoutRedis(t *testing.T) {
	t.Parallel()
	server := env.Redis(t)
	f := startLimited(t, server.URL, `{key: "header:X-Client", rate: 30/h}`, 3)
	for _, g := range f.processes {
		g.awaitReplicas(3)
	}
	server.Kill()
	f.processes[0].signal(syscall.SIGKILL)
	f.processes[0].wait(20 * time.Second)
	f.processes[0] = f.processes[0].again()
	f.processes[0].awaitReplicas(3)
	for i, g := range f.processes {
		if got := g.admitted(15, "x"); got != 10 {
			t.Errorf("gateway %d admitted %d of a limit of 30 that three share", i, got)
		}
	}
	server.Restart(true)
	a := f.processes[0]
	env.Eventually(t, 20*time.Second, func() error {
		var state struct{ Redis *struct{ Remaining int } }
		res := a.get(a.admin + "/v1/limits/few?key=x")
		if err := json.Unmarshal([]byte(res.body), &state); err != nil {
			return err
		}
		if state.Redis == nil || state.Redis.Remaining != 0 {
			return fmt.Errorf("Redis was not told of the 30 that were admitted without it:\n%s", res.body)
		}
		return nil
	})
}
