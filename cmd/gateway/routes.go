package main

import (
	"time"

	"github.com/jewgo/gateway/internal/metrics"
	"github.com/jewgo/gateway/policy"
)

// routesView is /v1/routes.
type routesView struct {
	Seconds float64      `json:"seconds"` // how far back the counts reach
	Routes  []routeState `json:"routes"`  // in the policy's order; the last one is for requests without a route
}

type routeState struct {
	Name     string   `json:"name"`
	At       string   `json:"at,omitempty"` // file:line:column
	Match    string   `json:"match,omitempty"`
	Upstream string   `json:"upstream,omitempty"`
	Deny     int      `json:"deny,omitempty"` // the status that it answers with
	Cache    bool     `json:"cache"`
	Session  string   `json:"session,omitempty"`
	Limits   []string `json:"limits,omitempty"`
	metrics.Done
}

// routes lists the routes of the policy in force, with what they did in the last minute.
func (g *gateway) routes(numbers *metrics.Metrics) routesView {
	s, recent := g.live.Load(), numbers.Recent(time.Now())
	v := routesView{Seconds: recent.Seconds}
	for _, r := range s.Routes {
		one := routeState{
			Name: r.Name, At: r.Position.String(), Match: matchText(r), Upstream: r.Upstream, Deny: r.Deny, Cache: r.Cache != nil,
			Session: map[policy.SessionMode]string{policy.SessionOptional: "optional", policy.SessionRequired: "required"}[r.Session],
			Done:    recent.Routes[r.Name],
		}
		for _, l := range r.Limits {
			one.Limits = append(one.Limits, l.Name)
		}
		v.Routes = append(v.Routes, one)
	}
	v.Routes = append(v.Routes, routeState{Done: recent.Routes[""]})
	return v
}
