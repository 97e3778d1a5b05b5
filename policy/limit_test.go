package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/jewgo/gateway/internal/gcra"
)

// decideAll asks a limit everything that a request may ask, and what must hold
// for all of its answers.
func decideAll(t *testing.T, l *Limit) {
	client := netip.MustParseAddr("203.0.113.7")
	q := quotaOf(l, Caller{Client: client, Session: true, User: "42", Roles: []string{"admin"}}, make([]string, len(l.Key))...)
	if sound := q.Rate > 0 && q.Burst > 0 && q.Interval() > 0; sound != (l.InFlight == 0) {
		t.Errorf("limit %q: quota %+v, in flight %d", l.Name, q, l.InFlight)
	}
	l.Verdict(client)
	l.CountsStatus(401)
	if n := l.Cost("POST"); n < 1 || l.InFlight == 0 && l.Quota.Burst < n {
		t.Errorf("limit %q: cost %d with quota %+v", l.Name, n, l.Quota)
	}
	if (l.Most(time.Minute) == 0) != (l.InFlight > 0) {
		t.Errorf("limit %q admits %d in a minute", l.Name, l.Most(time.Minute))
	}
}

// goodLimits are those of testdata/good_limits.yaml.
func goodLimits(t testing.TB) map[string]*Limit {
	t.Helper()
	s, err := Load("testdata/good_limits.yaml", environment(map[string]string{"RATE": "7/h"}))
	if err != nil {
		t.Fatal(err)
	}
	return s.Limits
}

func TestQuotaOf(t *testing.T) {
	limits := goodLimits(t)
	client := func(address string) Caller { return Caller{Client: netip.MustParseAddr(address)} }
	user := func(roles ...string) Caller {
		return Caller{Client: netip.MustParseAddr("203.0.113.7"), Session: true, User: "7", Roles: roles}
	}
	guest := Caller{Client: netip.MustParseAddr("198.51.100.1"), Session: true}
	for _, c := range []struct {
		sentence string
		limit    string
		who      Caller
		values   []string
		rate     int // a minute
		burst    int
	}{
		{"a user without a tier has the limit's own", "members", user(), []string{"7"}, 200, 200},
		{"so has one whose role is no tier", "members", user("editor"), []string{"7"}, 200, 200},
		{"nobody", "members", client("198.51.100.1"), nil, 120, 120},
		{"roles without a session", "members", Caller{Client: guest.Client, Roles: []string{"admin"}}, nil, 120, 120},
		{"a guest", "members", guest, nil, 100, 100},
		{"a role that is called as what a session is", "members", user("guest", "anonymous"), []string{"7"}, 200, 200},
		{"a role", "members", user("editor", "premium"), []string{"7"}, 500, 800},
		{"the most generous of two roles", "members", user("premium", "admin"), []string{"7"}, 2000, 2000},
		{"an override by user beats the tier", "members", user("admin"), []string{"42"}, 9, 18},
		{"an address is no override for who has the key", "members", user(), []string{"203.0.113.0/24"}, 200, 200},
		{"it is for who is counted by it", "members", client("203.0.113.8"), nil, 1000, 1000},
		{"an empty value is a missing one", "members", client("203.0.113.8"), []string{""}, 1000, 1000},
		{"an IPv4 address in IPv6", "members", client("::ffff:203.0.113.8"), nil, 1000, 1000},
		{"the most specific block wins", "members", client("203.0.113.7"), nil, 1, 10},
		{"no address at all", "members", Caller{}, nil, 120, 120},
		{"both parts", "partners", client("203.0.113.8"), []string{"203.0.113.8", "gold"}, 20, 20},
		{"the most specific block of a combined key", "partners", client("203.0.113.7"), []string{"203.0.113.7", "gold"}, 30, 30},
		{"a zone is not looked at", "partners", client("2001:db8::1%eth0"), []string{"2001:db8::/64", "gold"}, 40, 40},
		{"one part of two", "partners", client("203.0.113.7"), []string{"203.0.113.7", "tin"}, 10, 10},
		{"the other of two", "partners", client("198.51.100.1"), []string{"198.51.100.1", "gold"}, 10, 10},
		{"a combined key without its header", "partners", client("203.0.113.7"), []string{"203.0.113.7", ""}, 50, 50},
		{"empty variables are no values", "empty", user(), []string{"203.0.113.7"}, 5 * 60, 5},
	} {
		got := quotaOf(limits[c.limit], c.who, c.values...)
		want := gcra.Quota{Rate: c.rate, Period: time.Minute, Burst: c.burst}
		if got.Period == time.Second {
			got.Rate, got.Period = got.Rate*60, time.Minute
		}
		if got != want {
			t.Errorf("%s: %+v, want %+v", c.sentence, got, want)
		}
	}
}

func TestHostOverride(t *testing.T) {
	l := mustParse(t, "version: 1\nlimits: {a: {key: host, rate: 1/s, overrides: [{key: API.Example., rate: 2/s}, {key: 10.0.0.1, rate: 3/s}]}}", nil).Limits["a"]
	for host, want := range map[string]int{"api.example": 2, "10.0.0.1": 3, "b.example": 1} {
		if got := quotaOf(l, Caller{Client: netip.MustParseAddr("10.0.0.1")}, host).Rate; got != want {
			t.Errorf("%s: %d/s, want %d/s", host, got, want)
		}
	}
}

func TestBurstsAreFilled(t *testing.T) {
	def := mustParse(t, "version: 1\nlimits: {a: {rate: 5/s, tiers: {guest: {rate: 6/s}}, overrides: [{key: 10.0.0.1, rate: 7/s}]}}", nil).Policy.Limits["a"]
	if a, b, c := def.Burst, def.Tiers["guest"].Burst, def.Overrides[0].Burst; a != 5 || b != 6 || c != 7 {
		t.Errorf("bursts %d, %d and %d, want the rates' numbers", a, b, c)
	}
}

// TestTiersByGenerosity: the rate decides, however it is written, then the
// burst, then the name.
func TestTiersByGenerosity(t *testing.T) {
	l := mustParse(t, `
version: 1
limits: {a: {rate: 1/s, tiers: {e: {rate: 50/min}, d: {rate: 3600/h, burst: 1}, c: {rate: 60/min, burst: 9}, a: {rate: 1/s, burst: 9}, b: {rate: 61/min, burst: 2}}}}
`, nil).Limits["a"]
	var got []string
	for _, tier := range l.Tiers {
		got = append(got, tier.Name)
	}
	if want := []string{"b", "a", "c", "d", "e"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestVerdict(t *testing.T) {
	l := goodLimits(t)["members"]
	for address, want := range map[string]Verdict{
		"10.1.2.3": Exempt, "10.6.0.1": Denied, "192.0.2.7": Exempt, "192.0.2.8": Denied, "::ffff:192.0.2.8": Denied,
		"2001:db8::1%eth0": Denied, "2001:db9::1": Counted, "198.51.100.1": Counted,
	} {
		if got := l.Verdict(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s: verdict %d, want %d", address, got, want)
		}
	}
	if got := l.Verdict(netip.Addr{}); got != Counted {
		t.Errorf("no address: verdict %d", got)
	}
}

// TestVerdictIsTheMostSpecificBlocks compares the table with a look at every
// block.
func TestVerdictIsTheMostSpecificBlocks(t *testing.T) {
	address := rapid.Custom(func(t *rapid.T) netip.Addr { // few bits differ, so that blocks nest and hit
		low := byte(rapid.IntRange(0, 7).Draw(t, "low"))
		if rapid.Bool().Draw(t, "six") {
			return netip.AddrFrom16([16]byte{0: low, 15: low})
		}
		return netip.AddrFrom4([4]byte{low, 0, 0, low})
	})
	rapid.Check(t, func(t *rapid.T) {
		values := map[netip.Prefix]int{}
		for i := range rapid.IntRange(0, 30).Draw(t, "blocks") {
			a := address.Draw(t, "block")
			p, err := a.Prefix(rapid.IntRange(0, a.BitLen()).Draw(t, "bits"))
			if err != nil {
				t.Fatal(err)
			}
			values[p] = i
		}
		table := newPrefixTable(values)
		a := address.Draw(t, "address")
		best, want := -1, 0
		for p, v := range values {
			if p.Contains(a) && p.Bits() > best {
				best, want = p.Bits(), v
			}
		}
		if got, ok := table.find(a); got != want || ok != (best >= 0) {
			t.Fatalf("%v in %v: %d, %v; want %d", a, values, got, ok, want)
		}
	})
}

func TestCost(t *testing.T) {
	limits := goodLimits(t)
	for request, want := range map[string]int{
		"members GET": 1, "members HEAD": 1, "members POST": 5, "members PUT": 1, "heavy GET": 10, "heavy PURGE": 10,
		"uploads POST": 1, "empty GET": 1, "from-environment POST": 3, "from-environment PUT": 1,
	} {
		name, method, _ := strings.Cut(request, " ")
		if got := limits[name].Cost(method); got != want {
			t.Errorf("%s costs %d, want %d", request, got, want)
		}
	}
	head := mustParse(t, "version: 1\nlimits: {get: {rate: 9/s, cost: {GET: 3}}, both: {rate: 9/s, cost: {GET: 3, HEAD: 2}}}", nil).Limits
	if a, b := head["get"].Cost("HEAD"), head["both"].Cost("HEAD"); a != 3 || b != 2 {
		t.Errorf("HEAD costs %d where GET is named, %d where it is itself; want 3 and 2", a, b)
	}
	if got := (&Limit{}).Cost("GET"); got != 1 {
		t.Errorf("nothing said: %d", got)
	}
}

func TestStatuses(t *testing.T) {
	limits := goodLimits(t)
	l := limits["failures"]
	for status := range 1000 {
		if got, want := l.CountsStatus(status), status == 401 || status == 403 || status/100 == 5; got != want {
			t.Errorf("%d counts: %v", status, got)
		}
	}
	if !l.ByStatus() || l.CountsStatus(-1) || limits["members"].ByStatus() || !limits["members"].CountsStatus(200) {
		t.Error("what is counted by status is not told from what is not")
	}
}

// A lease is automatic unless the limit says otherwise, or counts by status, after the response.
func TestLeases(t *testing.T) {
	l := goodLimits(t)
	for name, want := range map[string]Lease{"heavy": NoLease, "members": 10, "partners": AutoLease, "empty": AutoLease, "failures": NoLease} {
		if got := l[name].Lease; got != want {
			t.Errorf("%s: lease %d, want %d", name, got, want)
		}
	}
	for _, c := range []struct {
		lease          Lease
		burst, n, want int
	}{
		{AutoLease, 400, 1, 20},
		{AutoLease, 400, 3, 6},
		{AutoLease, 59, 3, 0},
		{AutoLease, 60, 3, 1},
		{AutoLease, 19, 1, 0},
		{NoLease, 400, 1, 0},
		{10, 400, 3, 10},
	} {
		if got := c.lease.Of(c.burst, c.n); got != c.want {
			t.Errorf("lease %d of %d for %d gateways: %d, want %d", c.lease, c.burst, c.n, got, c.want)
		}
	}
}

func TestMost(t *testing.T) {
	limits := goodLimits(t)
	for _, c := range []struct {
		limit  string
		window time.Duration
		want   int
	}{
		{"members", 0, 2000},
		{"members", time.Minute, 4000},
		{"heavy", time.Minute, 20},
		{"failures", 15 * time.Minute, 20},
		{"partners", time.Minute, 100},
		{"uploads", time.Minute, 0},
		{"from-environment", time.Hour, 14},
	} {
		if got := limits[c.limit].Most(c.window); got != c.want {
			t.Errorf("%s in %v: %d, want %d", c.limit, c.window, got, c.want)
		}
	}
}

// TestMostIsTheBound takes from a bucket as fast as it gives: no window holds
// more than Most, and the first holds just that.
func TestMostIsTheBound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := gcra.Quota{Rate: rapid.IntRange(1, 50).Draw(t, "rate"), Period: time.Minute, Burst: rapid.IntRange(1, 20).Draw(t, "burst")}
		cost := rapid.IntRange(1, q.Burst).Draw(t, "cost")
		l, window := &Limit{Quota: q, cost: cost}, time.Duration(rapid.IntRange(0, 90).Draw(t, "window"))*time.Second
		const start = int64(1_700_000_000_000_000_000)
		tat, admitted := int64(0), 0
		for now := start; now <= start+int64(window); {
			next, r := q.Take(tat, now, cost)
			if !r.Allowed {
				now += int64(r.RetryAfter)
				continue
			}
			tat, admitted = next, admitted+1
		}
		if admitted != l.Most(window) {
			t.Fatalf("%+v, cost %d: %d in %v, want %d", q, cost, admitted, window, l.Most(window))
		}
	})
}

// Decisions are made for each request.
func TestDecisionsDoNotAllocate(t *testing.T) {
	limits := goodLimits(t)
	who := Caller{Client: netip.MustParseAddr("203.0.113.7"), Session: true, User: "42", Roles: []string{"editor", "premium"}}
	user, parts := strings.Clone("42"), []string{"203.0.113.7", "gold"}
	var sum int
	if n := testing.AllocsPerRun(100, func() {
		for _, l := range limits {
			sum += quotaOf(l, who, parts...).Burst + quotaOf(l, who, user).Burst + quotaOf(l, who).Burst
			sum += int(l.Verdict(who.Client)) + l.Cost("POST") + l.Most(time.Minute)
			if l.CountsStatus(401) || l.ByStatus() || l.HasOverrides() {
				sum++
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	_ = sum
}

func BenchmarkVerdict(b *testing.B) {
	values := map[netip.Prefix]Verdict{}
	for i := range 500 {
		values[netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i / 256), byte(i), 0}), 24+i%9).Masked()] = Denied
	}
	l := &Limit{lists: newPrefixTable(values)}
	client := netip.MustParseAddr("203.0.113.7")
	b.ReportAllocs()
	for b.Loop() {
		l.Verdict(client)
	}
}

func ExampleLimit_TierOf() {
	s, err := Parse("gateway.yaml", []byte(`
version: 1
limits:
  members: {key: session.user, missing: client_ip, rate: 200/min, tiers: {guest: {rate: 100/min}, premium: {rate: 500/min}}}
`), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	l := s.Limits["members"]
	for _, who := range []Caller{
		{Session: true, User: "42"},
		{Session: true, User: "42", Roles: []string{"premium"}},
		{Session: true},
	} {
		tier, quota := l.TierOf(who, who.User)
		fmt.Printf("%q %d\n", tier, quota.Rate)
	}
	// Output:
	// "" 200
	// "premium" 500
	// "guest" 100
}

func quotaOf(l *Limit, who Caller, values ...string) gcra.Quota {
	_, q := l.TierOf(who, values...)
	return q
}
