package drill

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync"

	vegeta "github.com/tsenart/vegeta/v12/lib"
)

// Mix is traffic like that of the JewGo front end, through all gateways in turn: mostly lists of
// 232 KB, a few of them very often, from many clients. The policy must trust X-Forwarded-For of this machine,
// or all traffic counts as one client. Equal seeds make equal traffic.
type Mix struct {
	bases   []string // URLs of the gateways
	cookies string   // a Cookie field of a user; "": logins are not possible

	mu     sync.Mutex // the attacker's workers share the Mix
	random *rand.Rand // guarded by mu
	made   int        // requests of Target; guarded by mu
	filled int        // requests of fill; guarded by mu
}

// NewMix returns traffic through the gateways at these URLs. cookies is a Cookie field that is sent
// with some of the requests that need a user.
func NewMix(bases []string, cookies string, seed uint64) *Mix {
	return &Mix{bases: bases, cookies: cookies, random: rand.New(rand.NewPCG(seed, 0))}
}

// sharedHost is the Host of all requests, so that gateways on different ports share cache entries.
const sharedHost = "127.0.0.1"

func (m *Mix) next(method, path, client string, turn int) vegeta.Target {
	// identity: compression would only cost CPU time on a machine that runs both sides.
	return vegeta.Target{Method: method, URL: m.bases[turn%len(m.bases)] + path, Header: http.Header{
		"Host": {sharedHost}, "X-Forwarded-For": {client}, "Accept-Encoding": {"identity"},
	}}
}

// Target makes the next request; it is a vegeta.Targeter.
func (m *Mix) Target(t *vegeta.Target) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	method, path, _ := strings.Cut(m.choose(), " ")
	client := fmt.Sprintf("198.51.%d.%d", m.random.IntN(100), 1+m.random.IntN(250))
	m.made++
	*t = m.next(method, path, client, m.made)
	switch {
	case path == "/api/v5/auth/profile" && m.random.IntN(2) == 0 && m.cookies != "":
		t.Header.Set("Cookie", m.cookies)
	case path == "/api/v5/auth/login":
		t.Body = []byte(credentials)
		t.Header.Set("Content-Type", "application/json")
	}
	return nil
}

// fill makes the next request for a new list, each from another client; it is a vegeta.Targeter too.
// Lists only repeat after maxFills requests.
func (m *Mix) fill(t *vegeta.Target) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.filled % maxFills
	m.filled++
	place := fmt.Sprintf("&latitude=%.3f&longitude=%.3f", 25.7+float64(n/100)/1000, -80.3+float64(n%100)/1000)
	path := strings.TrimPrefix(list, "GET ") + "&radius=30&sort=distance_asc" + place
	*t = m.next(http.MethodGet, path, fmt.Sprintf("203.0.113.%d", 1+n%250), n)
	return nil
}

// maxFills bounds the places of fill to a tenth of a degree in both directions.
const maxFills = 100 * 100

const list = "GET /api/v5/restaurants?limit=50&include_filter_options=true"

// requests is what choose draws from, with weights in percent.
var requests = []struct {
	weight  int
	request string
}{
	{20, list + "&page=1"},
	{10, list + "&page=$page"},
	{12, list + "&latitude=$latitude&longitude=-80.2&radius=10&sort=distance_asc"},
	{8, list + "&kosher_category=dairy&hoursFilter=openNow"},
	{18, "GET /api/v5/restaurants/$restaurant"},
	{7, "POST /api/v5/restaurants/$restaurant/view"},
	{6, "GET /api/v5/reviews?entity_type=restaurant&limit=10&entity_id=$restaurant"},
	{5, "GET /api/v5/search/suggest?q=piz"},
	{4, "GET /api/v5/synagogues"},
	{5, "GET /api/v5/auth/profile"},
	{2, "GET /api/v5/auth/csrf"},
	{1, "POST /api/v5/auth/login"},
	{1, "GET /api/v5/specials"},
	{1, "GET /healthz"},
}

// choose draws a request, and values for its $ placeholders.
func (m *Mix) choose() string {
	i, roll := 0, m.random.IntN(100)
	for roll >= requests[i].weight {
		roll -= requests[i].weight
		i++
	}
	return os.Expand(requests[i].request, func(what string) string {
		switch what {
		case "page":
			return fmt.Sprint(2 + m.random.IntN(4))
		case "latitude":
			return fmt.Sprintf("%.5f", 25.77+m.random.Float64()/100)
		}
		return m.restaurant()
	})
}

// The backend's restaurants: how many there are, and the range over which their IDs are spread evenly.
const (
	restaurants     = 207
	firstID, lastID = 1464, 1900
)

// restaurant draws an ID, a few of them often (Zipf, 0.9, as a power of a uniform draw).
func (m *Mix) restaurant() string {
	rank := math.Pow(1+m.random.Float64()*(math.Pow(restaurants, 0.1)-1), 10)
	return fmt.Sprint(firstID + (int(rank)-1)*(lastID-firstID)/(restaurants-1))
}

// login returns the Cookie field of the demo's user, or "" if the login fails.
func login(g *gateway) string {
	res, err := client.Post(g.url+"/api/v5/auth/login", "application/json", strings.NewReader(credentials))
	if err != nil {
		return ""
	}
	_ = res.Body.Close() // only the header matters
	var cookies []string
	for _, c := range res.Cookies() {
		cookies = append(cookies, c.Name+"="+c.Value)
	}
	return strings.Join(cookies, "; ")
}

const credentials = `{"email":"demo@example.org","password":"demo"}`
