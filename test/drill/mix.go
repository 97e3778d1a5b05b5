package drill

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"

	vegeta "github.com/tsenart/vegeta/v12/lib"
)

// Mix is traffic as the front end of JewGo makes it: mostly lists of 232 KB, a
// few of them over and over, from many clients. It needs a policy that believes
// X-Forwarded-For of this machine, or all of it is one client.
type Mix struct {
	base    string
	cookies string // of a user who is logged in; "": nobody is

	mu     sync.Mutex // the attacker's workers share it
	random *rand.Rand // guarded by mu
	filled int        // requests of Fill; guarded by mu
}

// NewMix returns traffic for the gateway at base; equal seeds make equal
// traffic. cookies, a Cookie field, are sent where a user is asked for.
func NewMix(base, cookies string, seed uint64) *Mix {
	return &Mix{base: base, cookies: cookies, random: rand.New(rand.NewPCG(seed, 0))}
}

// Target makes the next request; it is a vegeta.Targeter.
func (m *Mix) Target(t *vegeta.Target) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	request, user := m.choose()
	client := fmt.Sprintf("198.51.%d.%d", m.random.IntN(100), 1+m.random.IntN(250))
	method, path, _ := strings.Cut(request, " ")
	// Redis is what breaks here: compressing, and undoing it here, would take the
	// time of a machine that runs both sides.
	*t = vegeta.Target{Method: method, URL: m.base + path, Header: http.Header{"X-Forwarded-For": {client}, "Accept-Encoding": {"identity"}}}
	if user && m.cookies != "" {
		t.Header.Set("Cookie", m.cookies)
	}
	if path == "/api/v5/auth/login" {
		t.Body = []byte(`{"email":"demo@example.org","password":"demo"}`)
		t.Header.Set("Content-Type", "application/json")
	}
	return nil
}

// Fill makes the next request for a list of which nobody has asked before, each
// from another client; it is a vegeta.Targeter too. What it has made cannot be
// asked for again before maxFills more.
func (m *Mix) Fill(t *vegeta.Target) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.filled % maxFills
	m.filled++
	const list = "/api/v5/restaurants?limit=50&include_filter_options=true&radius=30&sort=distance_asc"
	*t = vegeta.Target{
		Method: http.MethodGet,
		URL:    fmt.Sprintf("%s%s&latitude=%.3f&longitude=%.3f", m.base, list, 25.7+float64(n/100)/1000, -80.3+float64(n%100)/1000),
		Header: http.Header{"X-Forwarded-For": {fmt.Sprintf("203.0.113.%d", 1+n%250)}, "Accept-Encoding": {"identity"}},
	}
	return nil
}

// maxFills bounds the places of Fill to a tenth of a degree either way.
const maxFills = 100 * 100

// choose draws a request, and whether a user makes it, by weights in per cent.
func (m *Mix) choose() (request string, user bool) {
	const list = "GET /api/v5/restaurants?limit=50&include_filter_options=true"
	roll := m.random.IntN(100)
	for _, c := range []struct {
		weight int
		make   func() (string, bool)
	}{
		{20, func() (string, bool) { return list + "&page=1", false }},
		{10, func() (string, bool) { return fmt.Sprint(list, "&page=", 2+m.random.IntN(4)), false }},
		{12, func() (string, bool) {
			return fmt.Sprintf("%s&latitude=%.5f&longitude=-80.2&radius=10&sort=distance_asc", list, 25.77+m.random.Float64()/100), false
		}},
		{8, func() (string, bool) { return list + "&kosher_category=dairy&hoursFilter=openNow", false }},
		{18, func() (string, bool) { return "GET /api/v5/restaurants/" + m.restaurant(), false }},
		{7, func() (string, bool) { return "POST /api/v5/restaurants/" + m.restaurant() + "/view", false }},
		{6, func() (string, bool) {
			return "GET /api/v5/reviews?entity_type=restaurant&limit=10&entity_id=" + m.restaurant(), false
		}},
		{5, func() (string, bool) { return "GET /api/v5/search/suggest?q=piz", false }},
		{4, func() (string, bool) { return "GET /api/v5/synagogues", false }},
		{5, func() (string, bool) { return "GET /api/v5/auth/profile", m.random.IntN(2) == 0 }},
		{2, func() (string, bool) { return "GET /api/v5/auth/csrf", false }},
		{1, func() (string, bool) { return "POST /api/v5/auth/login", false }},
		{1, func() (string, bool) { return "GET /api/v5/specials", false }},
	} {
		if roll -= c.weight; roll < 0 {
			return c.make()
		}
	}
	return "GET /healthz", false
}

// The backend's restaurants: how many there are, and between which numbers they
// are spread evenly.
const (
	restaurants     = 207
	firstID, lastID = 1464, 1900
)

// restaurant draws a number, few of them often (Zipf, 0.9).
func (m *Mix) restaurant() string {
	x := m.random.Float64() * zipfSum
	for i := range restaurants {
		if x -= math.Pow(float64(i+1), -0.9); x <= 0 {
			return fmt.Sprint(firstID + i*(lastID-firstID)/(restaurants-1))
		}
	}
	return fmt.Sprint(lastID)
}

var zipfSum = func() (sum float64) {
	for i := range restaurants {
		sum += math.Pow(float64(i+1), -0.9)
	}
	return sum
}()
