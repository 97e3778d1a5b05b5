package policy_test

import (
	"fmt"

	"github.com/jewgo/gateway/policy"
)

const file = `
version: 1
upstreams:
  api: {targets: ["${API_URL:-http://127.0.0.1:5000}"]}
limits:
  reader: {key: client_ip, rate: 120/min, burst: 200}
routes:
  - name: item
    match: {methods: [GET], path: "/items/{id}"}
    upstream: api
    limits: [reader]
    cache: {ttl: 60s, query: {allow: [page, lat], round: {lat: 3}}, tags: ["item:{id}"]}
`

func ExampleParse() {
	s, err := policy.Parse("gateway.yaml", []byte(file), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	r, params := s.Match(&policy.View{Method: "GET", Host: "localhost", Path: "/items/17"})
	fmt.Println(r.Name, params.Get("id"), r.Limits[0].Quota.Burst, r.Cache.Tags[0].Expand(params))
	fmt.Println(s.Policy.Upstreams["api"].Targets[0])
	// Output:
	// item 17 200 item:17
	// http://127.0.0.1:5000
}

func ExampleParse_errors() {
	_, err := policy.Parse("gateway.yaml", []byte(`
version: 1
limits:
  reader: {rate: 120/minute, burts: 200}
routes:
  - {name: item, match: {path: "/items/{id}"}, upstream: api}
`), nil)
	fmt.Println(err)
	// Output:
	// gateway.yaml:4:18: bad rate "120/minute" (write 5/s, 120/min, 1000/h, 10/day or 10/15min)
	// gateway.yaml:4:30: unknown key "burts" (did you mean "burst"?)
	// gateway.yaml:6:58: unknown upstream "api"
}

func ExampleQueryRule_Apply() {
	rule := policy.QueryRule{
		Allow: map[string]bool{"page": true, "lat": true},
		Round: map[string]int{"lat": 3},
	}
	fmt.Println(rule.Apply("utm_source=mail&page=2&lat=25.761681"))
	// Output: lat=25.762&page=2
}
