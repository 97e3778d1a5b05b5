package demo

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/websocket"
)

// noon is a Wednesday, 13:00 in New York.
var noon = time.Date(2025, time.September, 10, 17, 0, 0, 0, time.UTC)

func atNoon() time.Time { return noon }

// backend is a demo with a client: the header goes out with every request.
type backend struct {
	t      *testing.T
	h      http.Handler
	header http.Header
}

func start(t *testing.T, cfg Config) *backend {
	t.Helper()
	if cfg.Now == nil {
		cfg.Now = atNoon
	}
	return &backend{t, New(cfg), http.Header{}}
}

var shared = sync.OnceValue(func() http.Handler { return New(Config{Now: atNoon}) })

// reader is a backend for tests that change nothing, since making one is what
// takes the time.
func reader(t *testing.T) *backend { return &backend{t, shared(), http.Header{}} }

func (b *backend) do(method, target, body string) *httptest.ResponseRecorder {
	b.t.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Header = b.header.Clone()
	w := httptest.NewRecorder()
	b.h.ServeHTTP(w, r)
	return w
}

func (b *backend) get(target string) *httptest.ResponseRecorder {
	b.t.Helper()
	return b.do("GET", target, "")
}

// as logs in, by a bearer token, and returns a backend for that user.
func (b *backend) as(email, password string) *backend {
	b.t.Helper()
	w := b.do("POST", "/api/v5/auth/login", fmt.Sprintf(`{"email":%q,"password":%q}`, email, password))
	var in struct {
		Data struct {
			Tokens struct {
				Access string `json:"access_token"`
			}
		}
	}
	decode(b.t, w, &in)
	return &backend{b.t, b.h, http.Header{"Authorization": {"Bearer " + in.Data.Tokens.Access}}}
}

func decode(t *testing.T, w *httptest.ResponseRecorder, into any) {
	t.Helper()
	if err := json.Unmarshal(w.Body.Bytes(), into); err != nil {
		t.Fatalf("%v in %d %.200q", err, w.Code, w.Body)
	}
}

func status(t *testing.T, w *httptest.ResponseRecorder, want int) {
	t.Helper()
	if w.Code != want {
		t.Fatalf("status %d, want %d: %.300s", w.Code, want, w.Body)
	}
}

type listing struct {
	Data       []map[string]any
	Pagination struct {
		Page, Limit int
		Total       int     `json:"total_count"`
		Next        *string `json:"next_cursor"`
	}
	FilterOptions map[string][]string
}

func (b *backend) list(target string) listing {
	b.t.Helper()
	w := b.get(target)
	status(b.t, w, 200)
	var l listing
	decode(b.t, w, &l)
	return l
}

func (l listing) ids() []int {
	var ids []int
	for _, row := range l.Data {
		ids = append(ids, int(row["id"].(float64)))
	}
	return ids
}

// all walks every page of a list.
func (b *backend) all(target string) []map[string]any {
	b.t.Helper()
	var rows []map[string]any
	l := b.list(target)
	for rows = l.Data; l.Pagination.Next != nil; rows = append(rows, l.Data...) {
		l = b.list(target + "&cursor=" + *l.Pagination.Next)
	}
	return rows
}

func within(t *testing.T, what string, got, want int) {
	t.Helper()
	if got < want*97/100 || got > want*103/100 {
		t.Errorf("%s: %d bytes, want %d within 3 %%", what, got, want)
	}
}

func TestSizes(t *testing.T) {
	for _, seed := range []uint64{0, 1, 99} {
		b := start(t, Config{Seed: seed})
		within(t, "a list of 20", b.get("/api/v5/restaurants").Body.Len(), 93_000)
		within(t, "a list of 50", b.get("/api/v5/restaurants?limit=50").Body.Len(), 232_000)
		within(t, "page 3 of 50", b.get("/api/v5/restaurants?limit=50&page=3").Body.Len(), 232_000)
		var details []int
		rows, sum := 0, 0
		for _, row := range b.all("/api/v5/restaurants?limit=50") {
			n := b.get(fmt.Sprintf("/api/v5/restaurants/%v", row["id"])).Body.Len()
			details = append(details, n)
			sum += n
			text, _ := json.Marshal(row)
			rows += len(text)
		}
		slices.Sort(details)
		within(t, "a detail, on average", sum/len(details), 5000)
		if p95 := details[len(details)*95/100]; p95 > 6900 {
			t.Errorf("the 95th percentile of details is %d bytes, want at most 6900", p95)
		}
		if rows < 900_000 || rows > 1_100_000 {
			t.Errorf("all restaurants are %d bytes, want about a million", rows)
		}
	}
}

func TestPopulation(t *testing.T) {
	b := reader(t)
	rows := b.all("/api/v5/restaurants?limit=50")
	categories, cities, ids := map[string]int{}, map[string]bool{}, map[int]bool{}
	for _, row := range rows {
		categories[row["kosher_category"].(string)]++
		cities[row["city"].(string)] = true
		ids[int(row["id"].(float64))] = true
	}
	if len(ids) != 207 || !ids[1464] || !ids[1900] {
		t.Errorf("%d ids, first %v, last %v; want 207 from 1464 to 1900", len(ids), ids[1464], ids[1900])
	}
	if categories["meat"] != 95 || categories["dairy"] != 82 || categories["pareve"] != 30 || len(cities) != 20 {
		t.Errorf("categories %v, %d cities", categories, len(cities))
	}
	for kind, want := range map[string]int{"synagogues": 149, "mikvahs": 40, "stores": 60} {
		if got := b.list("/api/v5/" + kind).Pagination.Total; got != want {
			t.Errorf("%d %s, want %d", got, kind, want)
		}
	}
}

func TestSeedDecides(t *testing.T) {
	const target = "/api/v5/restaurants?limit=50"
	first, again, other := start(t, Config{Seed: 5}), start(t, Config{Seed: 5}), start(t, Config{Seed: 6})
	body := first.get(target).Body.Bytes()
	if !bytes.Equal(body, again.get(target).Body.Bytes()) || !bytes.Equal(body, first.get(target).Body.Bytes()) {
		t.Error("the same seed gave different bodies")
	}
	if bytes.Equal(body, other.get(target).Body.Bytes()) {
		t.Error("another seed gave the same body")
	}
}

func TestOpenFollowsTheClock(t *testing.T) {
	now := noon
	b := start(t, Config{Now: func() time.Time { return now }})
	if open := len(b.all("/api/v5/restaurants?limit=50&openNow=true")); open != 207-closedAtNoon(b) || open < 150 {
		t.Errorf("%d restaurants are open on a Wednesday at noon", open)
	}
	now = time.Date(2025, time.September, 13, 17, 0, 0, 0, time.UTC)
	if open := b.list("/api/v5/restaurants?openNow=true").Pagination.Total; open != 0 {
		t.Errorf("%d restaurants are open on a Saturday", open)
	}
	for _, row := range b.list("/api/v5/restaurants").Data { // which the list before had as open
		if row["is_open"] != false {
			t.Fatalf("%v is open on a Saturday", row["name"])
		}
	}
}

func closedAtNoon(b *backend) int {
	n := 0
	for _, row := range b.all("/api/v5/restaurants?limit=50") {
		if row["is_open"] == false {
			n++
		}
	}
	return n
}

func TestFilters(t *testing.T) {
	b := reader(t)
	tests := []struct {
		name, query string
		ok          func(row map[string]any) bool
	}{
		{"a kosher category, whatever its case", "kosher_category=Meat", is("kosher_category", "meat")},
		{"an agency", "agency=OU", is("certifying_agency", "OU")},
		{"the same by its field's name", "certifying_agency=ou", is("certifying_agency", "OU")},
		{"a city", "city=Brooklyn", is("city", "Brooklyn")},
		{"a price range", "priceRange=%24%24", is("price_range", "$$")},
		{"kosher details", "kosherDetails=Cholov+Yisroel", is("kosher_details", "Cholov Yisroel")},
		{"two filters at once", "city=Brooklyn&kosher_category=dairy", func(row map[string]any) bool {
			return row["city"] == "Brooklyn" && row["kosher_category"] == "dairy"
		}},
		{"one of two values", "kosher_category=dairy,pareve", func(row map[string]any) bool { return row["kosher_category"] != "meat" }},
		{"a word in the name or elsewhere", "search=SUSHI", func(row map[string]any) bool {
			return strings.Contains(strings.ToLower(fmt.Sprint(row["name"], row["description"])), "sushi")
		}},
		{"a rating", "ratingMin=4.5", func(row map[string]any) bool { return row["rating"].(float64) >= 4.5 }},
		{"open late", "hoursFilter=lateNight", func(row map[string]any) bool {
			return row["hours_json"].(map[string]any)["monday"].(map[string]any)["close"].(string) >= "22:00"
		}},
		{"made after a time", "created_after=2025-07-01T00:00:00Z", func(row map[string]any) bool {
			return row["created_at"].(string) > "2025-07-01T00:00:00Z"
		}},
		{"within bounds", "bounds=25,-81,27,-80", func(row map[string]any) bool {
			lat, lng := row["latitude"].(float64), row["longitude"].(float64)
			return 25 <= lat && lat <= 27 && -81 <= lng && lng <= -80
		}},
		{"within a radius of Miami Beach", "latitude=25.79&longitude=-80.13&radius=20", func(row map[string]any) bool {
			return row["distance"].(float64) <= 20/kmPerMile+0.01
		}},
	}
	everything := b.all("/api/v5/restaurants?limit=50&latitude=25.79&longitude=-80.13")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			want := 0
			for _, row := range everything {
				if tt.ok(row) {
					want++
				}
			}
			got := b.all("/api/v5/restaurants?limit=50&" + tt.query)
			if len(got) != want || want == 0 || want == len(everything) {
				t.Errorf("%d rows, want %d of %d", len(got), want, len(everything))
			}
			for _, row := range got {
				if !tt.ok(row) {
					t.Errorf("%v does not belong here", row["id"])
				}
			}
		})
	}
}

func is(field, value string) func(map[string]any) bool {
	return func(row map[string]any) bool { return row[field] == value }
}

func TestUnknownAndBrokenParametersAreIgnored(t *testing.T) {
	b := reader(t)
	want := b.get("/api/v5/restaurants").Body.String()
	for _, query := range []string{"dietary=x&offset=3&price_min=2", "limit=x&page=-1", "ratingMin=NaN&latitude=here", "bounds=1,2,3", "sort=up"} {
		if got := b.get("/api/v5/restaurants?" + query).Body.String(); got != want {
			t.Errorf("%s changes the list", query)
		}
	}
	status(t, b.get("/api/v5/restaurants?cursor=!"), 400)
}

func TestSorting(t *testing.T) {
	b := reader(t)
	by := func(field string) func(a, b map[string]any) int {
		return func(a, b map[string]any) int {
			if x, ok := a[field].(float64); ok {
				return int(100 * (x - b[field].(float64)))
			}
			return strings.Compare(a[field].(string), b[field].(string))
		}
	}
	for _, tt := range []struct{ sort, field string }{
		{"distance_asc", "distance"}, {"name_asc", "name"}, {"rating_desc", "rating"}, {"", "created_at"}, {"created_at_asc", "created_at"},
	} {
		rows := b.all("/api/v5/restaurants?limit=50&latitude=40.7&longitude=-74&sort=" + tt.sort)
		if strings.HasSuffix(tt.sort, "desc") || tt.sort == "" {
			slices.Reverse(rows)
		}
		if !slices.IsSortedFunc(rows, by(tt.field)) {
			t.Errorf("sort=%s: not sorted by %s", tt.sort, tt.field)
		}
	}
}

func TestPages(t *testing.T) {
	b := reader(t)
	if l := b.list("/api/v5/restaurants?limit=500"); len(l.Data) != 50 || l.Pagination.Limit != 50 {
		t.Errorf("limit=500 gave %d rows", len(l.Data))
	}
	var byPage []int
	for page := 1; page <= 11; page++ {
		byPage = append(byPage, b.list(fmt.Sprintf("/api/v5/restaurants?page=%d", page)).ids()...)
	}
	byCursor := listing{Data: b.all("/api/v5/restaurants?x=")}.ids()
	if len(byPage) != 207 || !slices.Equal(byPage, byCursor) {
		t.Errorf("pages give %d rows, cursors %d, and they should be the same 207", len(byPage), len(byCursor))
	}
	if l := b.list("/api/v5/restaurants?page=12"); len(l.Data) != 0 || l.Pagination.Next != nil {
		t.Errorf("page 12 of 11 has %d rows", len(l.Data))
	}
}

func TestFilterOptions(t *testing.T) {
	b := reader(t)
	options := b.list("/api/v5/restaurants?include_filter_options=true").FilterOptions
	if !slices.Equal(options["kosherCategories"], []string{"dairy", "meat", "pareve"}) || len(options["cities"]) != 20 {
		t.Errorf("filter options %v", options)
	}
	if b.list("/api/v5/restaurants").FilterOptions != nil {
		t.Error("filter options that nobody asked for")
	}
	status(t, b.get("/api/v5/mikvahs/filter-options"), 200)
}

func TestETagIsAHashAndNever304(t *testing.T) {
	b := reader(t)
	for _, target := range []string{"/api/v5/restaurants", "/api/v5/restaurants/1464"} {
		w := b.get(target)
		sum := sha256.Sum256(bytes.TrimSuffix(w.Body.Bytes(), []byte("\n")))
		if got, want := w.Header().Get("ETag"), `"`+hex.EncodeToString(sum[:16])+`"`; got != want {
			t.Errorf("%s: ETag %s, want %s", target, got, want)
		}
		b.header.Set("If-None-Match", w.Header().Get("ETag"))
		status(t, b.get(target), 200)
	}
}

func TestWritesNeedARole(t *testing.T) {
	anonymous := start(t, Config{})
	user, editor, admin := anonymous.as("user@example.org", "user"), anonymous.as("demo@example.org", "demo"), anonymous.as("admin@example.org", "admin")
	const one, body = "/api/v5/restaurants/1464", `{"name":"New name"}`
	status(t, anonymous.do("PUT", one, body), 401)
	status(t, user.do("PUT", one, body), 403)
	status(t, editor.do("DELETE", one, ""), 403)
	status(t, editor.do("PUT", "/api/v5/restaurants/1", body), 404)
	status(t, editor.do("PUT", one, `{"name":5}`), 400)
	status(t, editor.do("PUT", one, `{"id":5}`), 400)
	status(t, editor.do("PUT", one, body), 200)
	status(t, admin.do("DELETE", one, ""), 200)
	status(t, admin.get(one), 404)
}

func TestWritesChangeTheLists(t *testing.T) {
	b := start(t, Config{}).as("admin@example.org", "admin")
	const target = "/api/v5/restaurants?sort=created_at_asc&limit=1"
	first := b.list(target).Data[0]

	status(t, b.do("PUT", "/api/v5/restaurants/1464", `{"name":"Renamed","kosher_category":"pareve"}`), 200)
	renamed := b.list(target).Data[0]
	if renamed["name"] != "Renamed" || renamed["updated_at"] != "2025-09-10T17:00:00Z" || renamed["view_count"] != first["view_count"] {
		t.Errorf("after the PUT: %v, %v, %v", renamed["name"], renamed["updated_at"], renamed["view_count"])
	}

	w := b.do("POST", "/api/v5/restaurants/1464/view", "")
	status(t, w, 200)
	views := first["view_count"].(float64) + 1
	if got := b.list(target).Data[0]["view_count"]; got != views {
		t.Errorf("view_count %v in the list, want %v", got, views)
	}
	var detail struct{ Data map[string]any }
	decode(t, b.get("/api/v5/restaurants/1464"), &detail)
	if detail.Data["view_count"] != views {
		t.Errorf("view_count %v in the detail, want %v", detail.Data["view_count"], views)
	}

	status(t, b.do("POST", "/api/v5/restaurants", `{"name":"Brand new","city":"Brooklyn"}`), 201)
	newest := b.list("/api/v5/restaurants")
	if newest.Data[0]["name"] != "Brand new" || newest.Pagination.Total != 208 {
		t.Errorf("the newest of %d is %v", newest.Pagination.Total, newest.Data[0]["name"])
	}
	status(t, b.do("DELETE", "/api/v5/restaurants/1901", ""), 200)
	if total := b.list("/api/v5/restaurants").Pagination.Total; total != 207 {
		t.Errorf("%d after the DELETE", total)
	}
	before := b.get("/api/v5/restaurants").Body.String()
	for _, action := range []string{"share", "favorite", "unfavorite"} {
		status(t, b.do("POST", "/api/v5/restaurants/1900/"+action, ""), 200)
	}
	if b.get("/api/v5/restaurants").Body.String() != before {
		t.Error("a favorite changed the list")
	}
}

func TestLogin(t *testing.T) {
	b := reader(t)
	status(t, b.do("POST", "/api/v5/auth/login", `{"email":"demo@example.org","password":"no"}`), 401)
	status(t, b.do("POST", "/api/v5/auth/login", `not JSON`), 401)
	status(t, b.get("/api/v5/auth/profile"), 401)

	w := b.do("POST", "/api/v5/auth/login", `{"email":"demo@example.org","password":"demo"}`)
	status(t, w, 200)
	if got := w.Header().Get("X-Gw-Session"); got != `login {"roles":["editor"],"user":"42"}` {
		t.Errorf("X-Gw-Session: %s", got)
	}
	life := map[string]int{"access_token": 900, "refresh_token": 2592000}
	cookies := w.Result().Cookies()
	for _, c := range cookies {
		if c.MaxAge != life[c.Name] || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" {
			t.Errorf("cookie %v", c)
		}
		b.header.Add("Cookie", c.Name+"="+c.Value)
	}
	if len(cookies) != 2 {
		t.Errorf("%d cookies", len(cookies))
	}
	w = b.get("/api/v5/auth/me")
	status(t, w, 200)
	if !strings.Contains(w.Body.String(), "demo@example.org") {
		t.Errorf("me: %s", w.Body)
	}
	w = b.do("POST", "/api/v5/auth/refresh", "")
	status(t, w, 200)
	if len(w.Result().Cookies()) != 2 || w.Header().Get("X-Gw-Session") != "" {
		t.Errorf("refresh: %v", w.Header())
	}
	w = b.do("POST", "/api/v5/auth/logout", "")
	for _, c := range w.Result().Cookies() {
		if c.MaxAge >= 0 || c.Value != "" {
			t.Errorf("logout leaves %v", c)
		}
	}
	if w.Header().Get("X-Gw-Session") != "logout" {
		t.Errorf("logout: %v", w.Header())
	}
}

func TestOtherLogins(t *testing.T) {
	b := start(t, Config{})
	const account = `{"email":"new@example.org","password":"secret","name":"Nora"}`
	status(t, b.do("POST", "/api/v5/auth/register", account), 201)
	status(t, b.do("POST", "/api/v5/auth/register", account), 409)
	status(t, b.do("POST", "/api/v5/auth/register", `{}`), 400)
	nora := b.as("new@example.org", "secret")
	status(t, nora.do("POST", "/api/v5/auth/change-password", `{"current_password":"x","new_password":"other"}`), 401)
	w := nora.do("POST", "/api/v5/auth/change-password", `{"current_password":"secret","new_password":"other"}`)
	status(t, w, 200)
	if w.Header().Get("X-Gw-Session") != "logout-all" {
		t.Errorf("change-password: %v", w.Header())
	}
	status(t, b.do("POST", "/api/v5/auth/login", account), 401)

	w = b.do("POST", "/api/v5/auth/guest", "")
	status(t, w, 200)
	b.header.Set("Cookie", w.Result().Cookies()[0].String())
	status(t, b.get("/api/v5/auth/profile"), 200)
	status(t, b.do("POST", "/api/v5/reviews", `{}`), 403)
}

func TestSilentRefresh(t *testing.T) {
	now := noon
	b := start(t, Config{Now: func() time.Time { return now }})
	w := b.do("POST", "/api/v5/auth/login", `{"email":"demo@example.org","password":"demo"}`)
	b.header.Set("Cookie", "access_token="+w.Result().Cookies()[0].Value)
	steps := []struct {
		name, method, target string
		after                time.Duration
		cookies              int
	}{
		{"a young token stays", "GET", "/api/v5/restaurants", 779 * time.Second, 0},
		{"an old one is renewed on a list", "GET", "/api/v5/restaurants", 780 * time.Second, 2},
		{"and on a detail", "GET", "/api/v5/synagogues/1", 899 * time.Second, 2},
		{"but not on a POST", "POST", "/api/v5/restaurants/1464/view", 899 * time.Second, 0},
		{"and a dead one is not", "GET", "/api/v5/restaurants", 900 * time.Second, 0},
	}
	for _, tt := range steps {
		now = noon.Add(tt.after)
		if got := len(b.do(tt.method, tt.target, "").Result().Cookies()); got != tt.cookies {
			t.Errorf("%s: %d cookies, want %d", tt.name, got, tt.cookies)
		}
	}

	b = start(t, Config{})
	w = b.do("POST", "/api/v5/auth/login", `{"email":"demo@example.org","password":"demo","expires_in":60}`)
	if c := w.Result().Cookies()[0]; c.MaxAge != 60 {
		t.Errorf("a token made with a short life: %v", c)
	} else {
		b.header.Set("Cookie", "access_token="+c.Value)
	}
	if got := len(b.get("/api/v5/restaurants").Result().Cookies()); got != 2 {
		t.Errorf("%d cookies with a short token, want 2", got)
	}
}

func TestForgedTokens(t *testing.T) {
	b := reader(t).as("demo@example.org", "demo")
	good := strings.TrimPrefix(b.header.Get("Authorization"), "Bearer ")
	parts := strings.Split(good, ".")
	admin := base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"1","roles":["admin"],"type":"access","exp":99999999999}`))
	other := start(t, Config{}).as("demo@example.org", "demo").header.Get("Authorization")
	for _, bad := range []string{"", "x", parts[0] + "." + admin + "." + parts[2], good[:len(good)-4], strings.TrimPrefix(other, "Bearer ")} {
		b.header.Set("Authorization", "Bearer "+bad)
		status(t, b.get("/api/v5/auth/profile"), 401)
	}
}

func TestIdentityHeader(t *testing.T) {
	key, newer := []byte("0123456789abcdef0123456789abcdef"), []byte("another key that is rather newer")
	file := filepath.Join(t.TempDir(), "keys")
	lines := "0000beef:" + base64.StdEncoding.EncodeToString(newer) + "\n00c0ffee:" + base64.StdEncoding.EncodeToString(key) + "\n"
	if err := os.WriteFile(file, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	signed := func(key []byte, kid, payload string) string {
		head := "v1." + kid + "." + base64.RawURLEncoding.EncodeToString([]byte(payload))
		return head + "." + base64.RawURLEncoding.EncodeToString(mac(key, head))
	}
	exp := noon.Add(time.Minute).Unix()
	good := fmt.Sprintf(`{"m":"GET","u":"42","r":["editor"],"s":"x","exp":%d}`, exp)
	tests := []struct {
		name, header string
		want         int
	}{
		{"signed by the gateway", signed(key, "00c0ffee", good), 200},
		{"signed with the newer key", signed(newer, "0000beef", good), 200},
		{"a user that only the gateway knows", signed(key, "00c0ffee", strings.Replace(good, `"42"`, `"900"`, 1)), 200},
		{"signed with another key", signed([]byte("other"), "00c0ffee", good), 401},
		{"an unknown key id", signed(key, "11111111", good), 401},
		{"another method", signed(key, "00c0ffee", strings.Replace(good, "GET", "PUT", 1)), 401},
		{"expired", signed(key, "00c0ffee", fmt.Sprintf(`{"m":"GET","u":"42","exp":%d}`, noon.Unix())), 401},
		{"nobody", signed(key, "00c0ffee", strings.Replace(good, `"42"`, `""`, 1)), 401},
		{"not base64", "v1.00c0ffee.!.!", 401},
		{"empty", "", 401},
	}
	b := start(t, Config{IdentityKeys: file})
	for _, tt := range tests {
		b.header.Set("X-Gw-Identity", tt.header)
		if w := b.get("/api/v5/auth/profile"); w.Code != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, w.Code, tt.want)
		}
	}
	without := start(t, Config{})
	without.header.Set("X-Gw-Identity", tests[0].header)
	status(t, without.get("/api/v5/auth/profile"), 401)
}

func TestPublicHeaders(t *testing.T) {
	b := reader(t)
	for target, want := range map[string]string{
		"/api/v5/search/?q=sushi": "public, max-age=300", "/api/v5/search/popular": "public, max-age=300",
		"/api/v5/auth/.well-known/jwks.json": "public, max-age=300", "/api/v5/auth/csrf": "no-store", "/api/v5/restaurants": "",
	} {
		w := b.get(target)
		status(t, w, 200)
		if got := w.Header().Get("Cache-Control"); got != want {
			t.Errorf("%s: Cache-Control %q, want %q", target, got, want)
		}
	}
	if c := b.get("/api/v5/auth/csrf").Result().Cookies(); len(c) != 1 || c[0].Name != "_csrf_token" {
		t.Errorf("csrf sets %v", c)
	}
}

func TestSearch(t *testing.T) {
	b := reader(t)
	var found struct {
		Data struct {
			Results     []map[string]any
			Suggestions []string
			Pagination  struct {
				Total int `json:"total_count"`
			}
		}
	}
	decode(t, b.get("/api/v5/search/?q=pizza&limit=100"), &found)
	if n := len(found.Data.Results); n == 0 || n != found.Data.Pagination.Total {
		t.Errorf("%d of %d results", n, found.Data.Pagination.Total)
	}
	decode(t, b.get("/api/v5/search?types=mikvahs&types=stores"), &found)
	if found.Data.Pagination.Total != 100 {
		t.Errorf("%d mikvahs and stores, want 100", found.Data.Pagination.Total)
	}
	decode(t, b.get("/api/v5/search/synagogues"), &found)
	if found.Data.Pagination.Total != 149 {
		t.Errorf("%d synagogues, want 149", found.Data.Pagination.Total)
	}
	decode(t, b.get("/api/v5/search/suggest?q=GRILL&limit=3"), &found)
	if len(found.Data.Suggestions) != 3 || !strings.Contains(found.Data.Suggestions[0], "Grill") {
		t.Errorf("suggestions %q", found.Data.Suggestions)
	}
	status(t, b.get("/api/v5/search/castles"), 400)
	status(t, b.get("/api/v5/search/filters"), 200)
}

func TestReviewsChangeTheirRestaurant(t *testing.T) {
	b := start(t, Config{})
	user := b.as("user@example.org", "user")
	place := func() (float64, float64) {
		var detail struct {
			Data struct {
				Rating float64
				Count  float64 `json:"review_count"`
			}
		}
		decode(t, b.get("/api/v5/stores/1"), &detail)
		return detail.Data.Rating, detail.Data.Count
	}
	rating, count := place()
	const body = `{"entity_type":"stores","entity_id":1,"rating":1,"content":"Closed when we came."}`
	status(t, b.do("POST", "/api/v5/reviews", body), 401)
	status(t, user.do("POST", "/api/v5/reviews", `{"entity_type":"stores","entity_id":1,"rating":9,"content":"x"}`), 400)
	status(t, user.do("POST", "/api/v5/reviews", `{"entity_type":"stores","entity_id":999,"rating":1,"content":"x"}`), 404)
	w := user.do("POST", "/api/v5/reviews", body)
	status(t, w, 201)
	var made struct{ Data struct{ ID int } }
	decode(t, w, &made)
	for range 20 {
		status(t, user.do("POST", "/api/v5/reviews/", body), 201)
	}
	if r, c := place(); r >= rating || c != count+21 {
		t.Errorf("after 21 bad reviews: rating %v of %v, was %v of %v", r, c, rating, count)
	}
	one := fmt.Sprintf("/api/v5/reviews/%d", made.Data.ID)
	status(t, b.as("demo@example.org", "demo").do("PUT", one, `{"rating":5}`), 403)
	status(t, user.do("PUT", one, `{"rating":5}`), 200)
	w = b.get("/api/v5/reviews/stores/1/stats")
	if !strings.Contains(w.Body.String(), `"distribution":{"1":20,"2":0,"3":0,"4":0,"5":1},"total":21`) {
		t.Errorf("stats: %s", w.Body)
	}
	status(t, user.do("DELETE", one, ""), 200)
	status(t, b.get(one), 404)
	if _, c := place(); c != count+20 {
		t.Errorf("review_count %v, want %v", c, count+20)
	}
	w = b.get("/api/v5/reviews?entity_type=stores&entity_id=1&limit=3")
	if n := strings.Count(w.Body.String(), "Closed when we came."); n != 3 {
		t.Errorf("%d reviews in a list of 3", n)
	}
}

func TestSpecials(t *testing.T) {
	b := start(t, Config{})
	editor := b.as("demo@example.org", "demo")
	status(t, b.do("POST", "/api/v5/specials/1/claim", ""), 401)
	status(t, editor.do("POST", "/api/v5/specials/1/claim", ""), 200)
	status(t, editor.do("POST", "/api/v5/specials/1/redeem", ""), 200)
	status(t, editor.do("POST", "/api/v5/specials", `{"restaurant_id":1464,"title":"Free tea"}`), 201)
	status(t, editor.do("PATCH", "/api/v5/specials/13", `{"active":false}`), 200)
	w := b.get("/api/v5/specials?restaurant_id=1464")
	if !strings.Contains(w.Body.String(), `"active":false`) || !strings.Contains(w.Body.String(), "Free tea") {
		t.Errorf("specials of 1464: %s", w.Body)
	}
	status(t, b.get("/api/v5/specials/14"), 404)
}

func TestProbes(t *testing.T) {
	b := reader(t)
	for target, want := range map[string]int{
		"/healthz": 200, "/readyz": 200, "/health": 200, "/api/v5/feature-flags": 200, "/api/v5/debug/config": 200,
		"/admin/users": 401, "/monitoring/x": 401, "/api/v5/admin/users": 401, "/nothing": 404, "/api/v5/restaurants/x": 404,
		"/socket.io/": 400,
	} {
		if w := b.get(target); w.Code != want {
			t.Errorf("%s: %d, want %d", target, w.Code, want)
		}
	}
	status(t, b.as("user@example.org", "user").get("/admin/users"), 403)
	status(t, b.as("admin@example.org", "admin").do("POST", "/admin/users", "{}"), 200)

	w := b.do("PUT", "/api/v5/restaurants", "")
	status(t, w, 405)
	if !strings.Contains(w.Header().Get("Allow"), "POST") || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("405 with %v", w.Header())
	}
	status(t, b.do("POST", "/api/v5/auth/login", strings.Repeat(" ", maxBody+1)), 413)

	body := "a\x00\xff\r\n"
	sum := sha256.Sum256([]byte(body))
	if w := b.do("POST", "/webhook/github", body); !strings.Contains(w.Body.String(), hex.EncodeToString(sum[:])) {
		t.Errorf("webhook: %s", w.Body)
	}
	b.header.Set("X-Thing", "1")
	b.header.Add("X-Thing", "2")
	w = b.do("PATCH", "/api/v5/echo?b=%2F&a;c", "hello")
	for _, want := range []string{`"method":"PATCH"`, `"query":"b=%2F&a;c"`, `"X-Thing":"1,2"`, `"length":5`} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("echo lacks %s: %s", want, w.Body)
		}
	}
}

func TestStats(t *testing.T) {
	b := start(t, Config{})
	b.get("/api/v5/restaurants?page=1")
	b.get("/api/v5/restaurants?page=2")
	b.do("POST", "/api/v5/restaurants/1464/view", "")
	b.get("/__stats")
	w := b.get("/__stats")
	want := `{"requests":{"GET /api/v5/restaurants":2,"POST /api/v5/restaurants/1464/view":1}}` + "\n"
	if w.Body.String() != want {
		t.Errorf("stats %s, want %s", w.Body, want)
	}
}

func TestStreamIsFlushed(t *testing.T) {
	s := httptest.NewServer(reader(t).h)
	defer s.Close()
	resp, err := http.Get(s.URL + "/api/v5/stream?n=1000&ms=1000")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	// The rest is a quarter of an hour away.
	if line, err := bufio.NewReader(resp.Body).ReadString('\n'); line != "data: 0\n" {
		t.Errorf("first line %q, %v", line, err)
	}
}

func TestSocketEchoes(t *testing.T) {
	s := httptest.NewServer(reader(t).h)
	defer s.Close()
	c, err := websocket.Dial("ws"+strings.TrimPrefix(s.URL, "http")+"/socket.io/?EIO=4", "", "http://jewgo.example")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, message := range []string{"40", strings.Repeat("x", 50_000)} {
		var got string
		if err := websocket.Message.Send(c, message); err != nil {
			t.Fatal(err)
		}
		if err := websocket.Message.Receive(c, &got); err != nil || got != message {
			t.Errorf("%d bytes came back as %d, %v", len(message), len(got), err)
		}
	}
}

func TestLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, Config{Latency: 200 * time.Millisecond})
		began := time.Now()
		status(t, b.get("/healthz"), 200)
		if took := time.Since(began); took != 0 {
			t.Errorf("health took %v", took)
		}
		status(t, b.get("/api/v5/restaurants"), 200)
		if took := time.Since(began); took != 200*time.Millisecond {
			t.Errorf("a list took %v", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		began = time.Now()
		w := httptest.NewRecorder()
		b.h.ServeHTTP(w, httptest.NewRequestWithContext(ctx, "GET", "/api/v5/restaurants", nil))
		if took := time.Since(began); took != 50*time.Millisecond || w.Body.Len() != 0 {
			t.Errorf("a client that left after 50 ms was served %d bytes after %v", w.Body.Len(), took)
		}
	})
}

func TestTogether(t *testing.T) {
	b := start(t, Config{}).as("admin@example.org", "admin")
	var all sync.WaitGroup
	for _, f := range []func(){
		func() { b.get("/api/v5/restaurants?limit=50") },
		func() { b.get("/api/v5/search/?q=pizza") },
		func() { b.get("/api/v5/reviews") },
		func() { b.do("PUT", "/api/v5/restaurants/1464", `{"name":"Renamed"}`) },
		func() { b.do("POST", "/api/v5/restaurants/1464/view", "") },
		func() {
			b.do("POST", "/api/v5/reviews", `{"entity_type":"stores","entity_id":1,"rating":1,"content":"x"}`)
		},
		func() { b.do("POST", "/api/v5/specials/1/claim", "") },
		func() { b.get("/__stats") },
	} {
		for range 4 {
			all.Go(func() {
				for range 5 {
					f()
				}
			})
		}
	}
	all.Wait()
	var stats struct{ Requests map[string]int }
	decode(t, b.get("/__stats"), &stats)
	if got := stats.Requests["POST /api/v5/restaurants/1464/view"]; got != 20 {
		t.Errorf("%d views counted, want 20", got)
	}
}
