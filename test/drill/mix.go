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

// Mix is traffic as the front end of JewGo makes it, through all gateways in turn:
// mostly lists of 232 KB, a few of them over and over, from many clients. It needs
// a policy that believes X-Forwarded-For of this machine, or all of it is one
// client. Equal seeds make equal traffic.
type Mix struct {
	bases   []string // URLs of the gateways
	cookies string   // a Cookie field of a user; "": nobody can log in

	mu     sync.Mutex // the attacker's workers share it
	random *rand.Rand // guarded by mu
	made   int        // requests of Target; guarded by mu
	filled int        // requests of fill; guarded by mu
}

// NewMix returns traffic through the gateways at these URLs. cookies, a Cookie field,
// are sent where a user is asked for.
func NewMix(bases []string, cookies string, seed uint64) *Mix {
	return &Mix{bases: bases, cookies: cookies, random: rand.New(rand.NewPCG(seed, 0))}
}

// sharedHost is the Host of all requests, so that gateways on different ports
// share what they store.
const sharedHost = "127.0.0.1"

func (m *Mix) next(method, path, client string, turn int) vegeta.Target {
	// Redis is what breaks here: compressing, and undoing it here, would take the
	// time of a machine that runs both sides.
	return vegeta.Target{Method: method, URL: m.bases[turn%len(m.bases)] + path, Header: http.Header{
		"Host": {sharedHost}, "X-Forwarded-For": {client}, "Accept-Encoding": {"identity"},
	}}
}

// Target makes the next request; it is a vegeta.Targeter.
func (m *Mix) Target(t *vegeta.Target) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	request, user := m.choose()
	client := fmt.Sprintf("198.51.%d.%d", m.random.IntN(100), 1+m.random.IntN(250))
	method, path, _ := strings.Cut(request, " ")
	m.made++
	*t = m.next(method, path, client, m.made)
	if user && m.cookies != "" {
		t.Header.Set("Cookie", m.cookies)
	}
	if path == "/api/v5/auth/login" {
		t.Body = []byte(credentials)
		t.Header.Set("Content-Type", "application/json")
	}
	return nil
}

// fill makes the next request for a list of which nobody has asked before, each
// from another client; it is a vegeta.Targeter too. What it has made cannot be
// asked for again before maxFills more.
func (m *Mix) fill(t *vegeta.Target) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.filled % maxFills
	m.filled++
	const list = "/api/v5/restaurants?limit=50&include_filter_options=true&radius=30&sort=distance_asc"
	path := fmt.Sprintf("%s&latitude=%.3f&longitude=%.3f", list, 25.7+float64(n/100)/1000, -80.3+float64(n%100)/1000)
	*t = m.next(http.MethodGet, path, fmt.Sprintf("203.0.113.%d", 1+n%250), n)
	return nil
}

// maxFills bounds the places of fill to a tenth of a degree either way.
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

// login returns the Cookie field of the demo's user, or "" where he is unknown.
func login(g *gateway) string {
	res, err := client.Post(g.url+"/api/v5/auth/login", "application/json", strings.NewReader(credentials))
	if err != nil {
		return ""
	}
	_ = res.Body.Close() // the head is all that matters
	var cookies []string
	for _, c := range res.Cookies() {
		cookies = append(cookies, c.Name+"="+c.Value)
	}
	return strings.Join(cookies, "; ")
}

const credentials = `{"email":"demo@example.org","password":"demo"}`
