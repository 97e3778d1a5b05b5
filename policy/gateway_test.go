package policy

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jewgo/gateway/internal/gcra"
)

// TestGatewayPolicy holds configs/gateway.yaml to what JewGo's API needs.
func TestGatewayPolicy(t *testing.T) {
	s, err := Load(gatewayFile, empty)
	if err != nil {
		t.Fatal(err)
	}
	for request, want := range map[string]string{ // route: limits; cache; tags; purges
		"GET /api/v5/restaurants":                  "restaurant-list: anonymous standard hourly; 5m0s; restaurants;",
		"GET /api/v5/synagogues":                   "synagogue-list: anonymous standard hourly; 5m0s; synagogues;",
		"GET /api/v5/mikvahs":                      "mikvah-list: anonymous standard hourly; 5m0s; mikvahs;",
		"GET /api/v5/stores":                       "store-list: anonymous standard hourly; 5m0s; stores;",
		"GET /api/v5/restaurants/1464":             "restaurant-detail: detail; 1m0s; restaurant:1464 restaurant-details;",
		"GET /api/v5/stores/7":                     "store-detail: detail; 1m0s; store:7;",
		"POST /api/v5/restaurants":                 "restaurant-create: create; -; ; restaurants search",
		"PUT /api/v5/restaurants/1464":             "restaurant-update: update; -; ; restaurants restaurant:1464 search",
		"DELETE /api/v5/synagogues/3":              "synagogue-delete: delete; -; ; synagogues synagogue:3 search",
		"POST /api/v5/restaurants/1464/view":       "restaurant-view: view; -; ;",
		"POST /api/v5/restaurants/1464/share":      "restaurant-share: share; -; ;",
		"POST /api/v5/restaurants/1464/favorite":   "restaurant-favorite: favorite; -; ;",
		"POST /api/v5/restaurants/1464/unfavorite": "restaurant-unfavorite: unfavorite; -; ;",
		"GET /api/v5/synagogues/filter-options":    "synagogue-filters: filter-options; 1h0m0s; synagogues;",
		"GET /api/v5/mikvahs/filter-options":       "mikvah-filters: filter-options; 1h0m0s; mikvahs;",
		"GET /api/v5/search/":                      "search: anonymous standard hourly; 5m0s; search;",
		"GET /api/v5/search/suggest":               "search: anonymous standard hourly; 5m0s; search;",
		"GET /api/v5/reviews":                      "review-list: reviews; 1m0s; reviews;",
		"GET /api/v5/reviews/restaurant/5/stats":   "review-read: reviews; 1m0s; reviews;",
		"POST /api/v5/reviews":                     "review-create: review-write; -; ; reviews restaurants restaurant-details search",
		"DELETE /api/v5/reviews/9":                 "review-change: review-write; -; ; reviews restaurants restaurant-details search",
		"GET /api/v5/specials/4":                   "special-read: anonymous standard hourly; 30s; specials;",
		"POST /api/v5/specials/4/claim":            "special-change: anonymous standard hourly; -; ; specials",
		"PATCH /api/v5/specials/4":                 "special-change: anonymous standard hourly; -; ; specials",
		"POST /api/v5/auth/login":                  "login: login; -; ;",
		"GET /api/v5/auth/csrf":                    "csrf: csrf; -; ;",
		"GET /api/v5/auth/me":                      "me: profile; -; ;",
		"GET /api/v5/auth/.well-known/jwks.json":   "jwks: anonymous; strict; jwks;",
		"DELETE /api/v5/admin/users/1":             "admin: anonymous standard hourly; -; ;",
		"POST /webhook/payments":                   "webhook: ; -; ;",
		"GET /healthz":                             "healthz: ; -; ;",
		"GET /socket.io/":                          "socket-io: realtime; -; ;",
		"GET /api/v5/debug/config":                 "debug: 404",
		"GET /api/v5/debug":                        "debug-root: 404",
		"GET /anything":                            "rest: anonymous standard hourly; -; ;",
	} {
		method, path, _ := strings.Cut(request, " ")
		r, params := s.Match(&View{Method: method, Host: "api.jewgo.app", Path: path, Header: http.Header{}})
		if got := summary(r, params); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", request, got, want)
		}
	}
}

func summary(r *Route, params Params) string {
	if r.Deny != 0 {
		return fmt.Sprintf("%s: %d", r.Name, r.Deny)
	}
	var limits []string
	for _, l := range r.Limits {
		limits = append(limits, l.Name)
	}
	expand := func(templates []Template) string {
		var list []string
		for _, t := range templates {
			list = append(list, t.Expand(params))
		}
		return strings.Join(list, " ")
	}
	cached, tags := "-", ""
	if c := r.Cache; c != nil {
		cached, tags = c.TTL.String(), expand(c.Tags)
		if c.Strict {
			cached = "strict"
		}
	}
	return strings.TrimSpace(fmt.Sprintf("%s: %s; %s; %s; %s", r.Name, strings.Join(limits, " "), cached, tags, expand(r.Invalidates)))
}

func TestGatewayPolicyInDetail(t *testing.T) {
	s, err := Load(gatewayFile, environment(map[string]string{
		"GATEWAY_COOKIE_NAME": "gw", "GATEWAY_COOKIE_SECURE": "false", "UPSTREAM_URL": "http://127.0.0.1:1234", "REDIS_HOST": "redis",
	}))
	if err != nil {
		t.Fatal(err)
	}
	p := s.Policy
	if c := p.Session.Cookie; c.Name != "gw" || c.Secure || p.Upstreams["flask"].Targets[0] != "http://127.0.0.1:1234" || p.Redis.URL != "redis://redis" {
		t.Errorf("the environment is not obeyed: %+v %+v %+v", c, p.Upstreams, p.Redis)
	}

	anonymous := s.Limits["anonymous"]
	if want := (gcra.Quota{Rate: 120, Period: time.Minute, Burst: 200}); anonymous.Quota != want || anonymous.When != Anonymous || anonymous.Key[0].Kind != SourceClientIP {
		t.Errorf("anonymous: %+v", anonymous)
	}
	if l := s.Limits["standard"]; l.Missing != MissingClientIP || l.When != WithSession || l.Key[0].Kind != SourceSessionUser {
		t.Errorf("a guest's session must count by address: %+v", l)
	}
	for _, c := range []struct { // JewGo's tiers, a minute and an hour
		tier         string
		who          Caller
		minute, hour int
	}{
		{"anonymous", Caller{}, 120, 2000},
		{"guest", Caller{Session: true}, 100, 2000},
		{"standard", Caller{Session: true, User: "1"}, 200, 5000},
		{"premium", Caller{Session: true, User: "1", Roles: []string{"premium"}}, 500, 15_000},
		{"moderator", Caller{Session: true, User: "1", Roles: []string{"moderator"}}, 1000, 30_000},
		{"admin", Caller{Session: true, User: "1", Roles: []string{"moderator", "admin"}}, 2000, 60_000},
	} {
		minute := s.Limits["standard"]
		if !c.who.Session {
			minute = anonymous
		}
		if m, h := quotaOf(minute, c.who), quotaOf(s.Limits["hourly"], c.who); m.Rate != c.minute || m.Period != time.Minute || h.Rate != c.hour || h.Period != time.Hour {
			t.Errorf("%s: %+v and %+v", c.tier, m, h)
		}
	}

	list, _ := s.Match(&View{Method: "GET", Path: "/api/v5/restaurants"})
	got := list.Cache.Query.Apply("page=1&dietary=x&latitude=25.76171&longitude=-80.19182&offset=0")
	if want := "latitude=25.762&longitude=-80.192&page=1"; got != want {
		t.Errorf("query %q, want %q", got, want)
	}
	for _, query := range []string{"openNow=true", "hoursFilter=openNow&page=2"} {
		ttl, _ := list.Cache.Lifetime(http.StatusOK, query)
		if age := ttl + list.Cache.StaleWhileRevalidate; age > time.Minute {
			t.Errorf("a list with %s may be %v old", query, age)
		}
	}
	if !slices.Contains(list.Cache.Bypass, Source{SourceCookie, "access_token"}) || list.Session != SessionOptional {
		t.Errorf("list: %+v", list)
	}

	for _, r := range s.Routes {
		if signs := strings.HasPrefix(r.Pattern, "/api/v5/auth/") && slices.Contains(r.Methods, "POST"); signs != r.SessionSignal {
			t.Errorf("%s: session_signal %v", r.Name, r.SessionSignal)
		}
		if r.WebSocket != (r.Name == "socket-io") {
			t.Errorf("%s: upgrade %v", r.Name, r.WebSocket)
		}
		if r.Cache != nil && !r.Cache.Strict && !slices.Contains(r.Cache.Bypass, Source{SourceCookie, "access_token"}) {
			t.Errorf("%s is cached for requests with access_token", r.Name)
		}
	}
}
