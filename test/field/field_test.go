package field

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

const wrkOutput = `Running 3s test @ http://127.0.0.1:8080/cached/1024
  2 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   661.59us    1.12ms  25.05ms   92.38%
    Req/Sec    15.61k     2.85k   22.32k    68.33%
  93325 requests in 3.01s, 116.21MB read
Requests/sec:  31036.86
Transfer/sec:     38.65MB
`

func TestParseWrk(t *testing.T) {
	l, err := parseWrk(wrkOutput)
	if err != nil || l.requests != 93325 || l.failed != 0 || l.seconds != 3.01 {
		t.Errorf("%+v, %v", l, err)
	}
	l, err = parseWrk(strings.Replace(wrkOutput, "Requests/sec", "  Non-2xx or 3xx responses: 93324\nRequests/sec", 1))
	if err != nil || l.failed != 93324 {
		t.Errorf("%+v, %v", l, err)
	}
	for _, c := range []struct{ why, out string }{
		{"no output of wrk", "unable to connect to 127.0.0.1:8080 Connection refused\n"},
		{"errors of sockets", wrkOutput + "  Socket errors: connect 0, read 3, write 0, timeout 0\n"},
		{"no answers", strings.Replace(wrkOutput, "93325", "0", 1)},
	} {
		if l, err := parseWrk(c.out); err == nil {
			t.Errorf("%s: %+v", c.why, l)
		}
	}
}

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		failed, status int
		ok             bool
	}{{0, 200, true}, {1, 200, false}, {1000, 429, true}, {999, 429, true}, {0, 429, false}} {
		if err := (load{requests: 1000, failed: c.failed}).check(c.status); (err == nil) != c.ok {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 1, 2, 100}, 3}} {
		if got := median(c.values); got != c.want {
			t.Errorf("median of %v: %v, want %v", c.values, got, c.want)
		}
	}
}

func TestScripts(t *testing.T) {
	stats := "# Commandstats\r\ncmdstat_hset:calls=7,usec=1\r\ncmdstat_evalsha:calls=40,usec=1\r\ncmdstat_fcall:calls=2,usec=1\r\n"
	if got := scripts(stats); got != 42 {
		t.Errorf("%v scripts, want 42", got)
	}
}

func TestChoose(t *testing.T) {
	if got := len(choose("")); got != len(Cases()) {
		t.Errorf("%d cases without a choice", got)
	}
	if got := choose("exact"); len(got) != 1 || len(got[0].Servers) != 2 {
		t.Errorf("exact: %+v", got)
	}
	for _, c := range choose("varnish") {
		if strings.Join(c.Servers, " ") != c.Baseline+" varnish" {
			t.Errorf("varnish: %+v", c)
		}
	}
	if got := choose("nobody"); got != nil {
		t.Errorf("nobody: %+v", got)
	}
}

func result() Report {
	field := []*measured{
		{server: &server{name: gatewayBin}, throughput: []float64{10, 12, 11}, cpu: []float64{30, 20, 44}, allocs: []float64{35, 35, 36}, memory: 30 << 20, p50: []float64{200}, p99: []float64{900}},
		{server: &server{name: static}, throughput: []float64{20, 21, 22}, cpu: []float64{20, 20, 20}, memory: 20 << 20, p50: []float64{100}, p99: []float64{800}},
		{server: &server{name: "caddy"}, throughput: []float64{1}, cpu: []float64{50, 40, 60}, p50: []float64{1}, p99: []float64{2}},
	}
	s := &site{c: Cases()[0]}
	return Report{Command: "gateway-bench", Rounds: 3, Round: "3s", Tables: []Table{
		{Case: s.c.Name, About: "<1 KiB> & more", Baseline: static, Rate: 500, Rows: s.rows(field)},
	}, Machine: machine()}
}

func TestTable(t *testing.T) {
	var b strings.Builder
	if err := result().Tables[0].Text(&b); err != nil {
		t.Fatal(err)
	}
	want := `hit-1k: <1 KiB> & more. Ratios to net/http, latencies at 500 requests/s.
    server  req/s  CPU µs/req  ratio  p50 µs  p99 µs  RSS MiB  allocs/req
   gateway     11        30.0   1.50     200     900     30.0        35.0
  net/http     21        20.0   1.00     100     800     20.0           -
     caddy      1        50.0   2.50       1       2        -           -  has no cache: asks the upstream

`
	if got := b.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestMarkdown(t *testing.T) {
	page := result().Markdown("plot.svg")
	for _, want := range []string{"| gateway | 11 | 30.0 | 1.50 |", "caddy (has no cache", "](plot.svg)", "| Kernel | "} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q in\n%s", want, page)
		}
	}
}

func TestSVG(t *testing.T) {
	picture, bars := result().SVG(), 0
	d := xml.NewDecoder(strings.NewReader(picture))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, picture)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "rect" {
			bars++
		}
	}
	if bars != 3 {
		t.Errorf("%d bars, want 3", bars)
	}
}

// A process's own child counts too.
func TestTree(t *testing.T) {
	child := exec.Command("sleep", "60")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = child.Wait() }()
	defer func() { _ = child.Process.Kill() }()
	before, err := cpuTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(100 * time.Millisecond); time.Now().Before(end); {
		_ = math.Sqrt(float64(end.Unix()))
	}
	after, err := cpuTime(os.Getpid())
	if err != nil || after <= before {
		t.Errorf("CPU time %v after %v, %v", after, before, err)
	}
	own, err1 := peakMemory(child.Process.Pid)
	all, err2 := peakMemory(os.Getpid())
	if err := errors.Join(err1, err2); err != nil || all <= own || own <= 0 {
		t.Errorf("memory %d of the child in %d, %v", own, all, err)
	}
}
