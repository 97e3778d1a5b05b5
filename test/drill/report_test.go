package drill

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
)

// three is a drill with one row of each verdict.
var three = []Row{
	{
		Scenario: Scenario{Name: "cut", Description: "the server is dead"},
		Broken:   Figures{Requests: 600, HitRatio: 0.5, Latency: Latency{300 * time.Microsecond, 2500 * time.Microsecond}},
		Healthy:  Figures{Requests: 500, HitRatio: 0.25, Latency: Latency{time.Millisecond, 2 * time.Millisecond}},
		Trips:    1, Trip: 1800 * time.Microsecond, Return: 575800 * time.Microsecond, Apart: 20 * time.Millisecond,
	},
	{
		Scenario: Scenario{Name: "slow", Description: "replies take <20 ms more"},
		Broken:   Figures{Requests: 1, Failed: []string{"GET /: 502"}},
		Problems: []string{"1 requests failed, the first: GET /: 502", "Redis was not used again"},
	},
	{Scenario: Scenario{Name: "emptied", Description: "all keys vanish", Skip: "Redis is somebody's"}},
}

// Whoever reads the document relies on every name in it.
func TestReport(t *testing.T) {
	const (
		nothing = `{"requests":0,"failed":0,"p50_ms":0,"p99_ms":0,"hit_ratio":0}`
		never   = `"trips":0,"to_trip_ms":null,"to_return_ms":null,"apart_ms":null`
		want    = `{"seed":7,"rate":200,"each_ms":3000,"passed":false,"rows":[` +
			`{"fault":"cut","description":"the server is dead","verdict":"pass","problems":[],` +
			`"broken":{"requests":600,"failed":0,"p50_ms":0.3,"p99_ms":2.5,"hit_ratio":0.5},` +
			`"healthy":{"requests":500,"failed":0,"p50_ms":1,"p99_ms":2,"hit_ratio":0.25},` +
			`"trips":1,"to_trip_ms":1.8,"to_return_ms":575.8,"apart_ms":20},` +
			`{"fault":"slow","description":"replies take <20 ms more","verdict":"fail",` +
			`"problems":["1 requests failed, the first: GET /: 502","Redis was not used again"],` +
			`"broken":{"requests":1,"failed":1,"p50_ms":0,"p99_ms":0,"hit_ratio":0},"healthy":` + nothing + `,` + never + `},` +
			`{"fault":"emptied","description":"all keys vanish","verdict":"skipped","problems":[],` +
			`"skipped":"Redis is somebody's","broken":` + nothing + `,"healthy":` + nothing + `,` + never + `}]}`
	)
	write := func(r Report) string {
		t.Helper()
		var document, compact bytes.Buffer
		if err := errors.Join(r.Write(&document), json.Compact(&compact, document.Bytes())); err != nil {
			t.Fatal(err)
		}
		return compact.String()
	}
	if got := write(NewReport(Config{Rate: 200, Each: 3 * time.Second}, 7, three)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := write(NewReport(Config{}, 0, nil)); !strings.Contains(got, `"rows":[]`) {
		t.Errorf("without rows: %s", got)
	}
}

func TestTable(t *testing.T) {
	const want = `
    fault  requests  5xx    p50  healthy    p99  healthy  hits  healthy  trips  to trip  to return   apart  verdict
      cut       600    0  0.3ms    1.0ms  2.5ms    2.0ms  0.50     0.25      1    1.8ms    575.8ms  20.0ms     pass
     slow         1    1      -        -      -        -  0.00     0.00      0        -          -       -     FAIL
  emptied         -    -      -        -      -        -     -        -      -        -          -       -  skipped
slow (replies take <20 ms more): 1 requests failed, the first: GET /: 502; Redis was not used again
emptied: skipped: Redis is somebody's
`
	var got bytes.Buffer
	if err := Table(&got, three); err != nil || "\n"+got.String() != want {
		t.Errorf("%v\n%s", err, got.String())
	}
}
