package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jewgo/gateway/test/env"
)

// others are clients that behave, while something goes on. Some keep their connection, some do not.
type others struct {
	mu    sync.Mutex // guards what follows
	took  []time.Duration
	wrong map[string]int
	end   chan struct{}
	ended sync.WaitGroup
}

// startOthers has them ask for a cached path and for one that is forwarded, about 100 times a second.
func startOthers(t *testing.T, base string, newConns bool) *others {
	o := &others{wrong: map[string]int{}, end: make(chan struct{})}
	for i := range 4 {
		transport := &http.Transport{DisableKeepAlives: newConns && i%2 == 1}
		client := &http.Client{Transport: transport, Timeout: 10 * time.Second}
		path := []string{"/cached/small", "/forwarded"}[i/2]
		o.ended.Go(func() {
			defer transport.CloseIdleConnections()
			for {
				select {
				case <-o.end:
					return
				case <-time.After(40 * time.Millisecond):
					o.ask(client, base+path)
				}
			}
		})
	}
	t.Cleanup(func() { o.stop() })
	return o
}

func (o *others) ask(client *http.Client, url string) {
	began := time.Now()
	res, err := client.Get(url)
	result := ""
	if err != nil {
		result = err.Error()
	} else {
		_, err = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close() // it is read
		if res.StatusCode != http.StatusOK || err != nil {
			result = fmt.Sprint(res.Status, " ", err)
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.took = append(o.took, time.Since(began))
	if result != "" {
		o.wrong[result]++
	}
}

// stop ends them, and returns what went wrong, and how long 99 of 100 requests took at most.
func (o *others) stop() (asked int, wrong map[string]int, p99 time.Duration) {
	select {
	case <-o.end:
	default:
		close(o.end)
	}
	o.ended.Wait()
	slices.Sort(o.took)
	return len(o.took), o.wrong, o.took[len(o.took)*99/100]
}

// check reports what went wrong, and asks for so many requests.
func (o *others) check(t *testing.T, least int) (p99 time.Duration) {
	t.Helper()
	asked, wrong, p99 := o.stop()
	if len(wrong) > 0 || asked < least {
		t.Errorf("of %d requests of others failed: %v", asked, wrong)
	}
	return p99
}

const hostilePolicy = `
version: 1
server: {data_dir: ./data}
session: {cookie: {name: gw, secure: false}}
cache: {memory: 16MiB}
upstreams: {app: {targets: [%q]}}
routes:
  - {name: cached, match: {path: "/cached/{size}"}, upstream: app, cache: {ttl: 1h}}
  - {name: all, match: {path: "/{rest...}"}, upstream: app}
`

// hostileBackend reads what it is sent, and has one large answer.
var hostileBackend = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body) // a client that is gone is no concern
	size := 1000
	if r.URL.Path == "/cached/large" {
		size = 200000
	}
	w.Header().Set("Content-Type", "application/octet-stream") // which nobody compresses
	_, _ = io.WriteString(w, strings.Repeat("x", size))        // as above
})

// slowhttptest sends heads and bodies a few bytes at a time, or reads answers so. Other clients do not notice.
// GATEWAY_SLOW, which make slow sets, is the length of each attack.
func TestSlowHTTPTest(t *testing.T) {
	t.Parallel()
	if os.Getenv("GATEWAY_SLOW") == "" {
		t.Skip("GATEWAY_SLOW is not set; make slow does that")
	}
	length, err := time.ParseDuration(os.Getenv("GATEWAY_SLOW"))
	if err != nil {
		t.Fatal(err)
	}
	tool, err := exec.LookPath("slowhttptest")
	if err != nil {
		t.Fatal("apt-get install slowhttptest")
	}
	for _, mode := range []struct{ name, args string }{
		{"slow heads", "-H -i 1 -x 24"},
		{"slow bodies", "-B -i 1 -x 24 -s 8192"},
		{"slow reads", "-X -w 10 -y 20 -n 5 -z 32 -k 3"},
	} {
		t.Run(mode.name, func(t *testing.T) {
			g, _ := startSmall(t, hostileBackend, hostilePolicy)
			alone := startOthers(t, g.base, true)
			time.Sleep(length / 4)
			before := alone.check(t, 10)
			o := startOthers(t, g.base, true)
			args := append(strings.Fields(mode.args), "-c", "1000", "-r", "200", "-p", "5", "-l", fmt.Sprint(int(length.Seconds())), "-u", g.base+"/cached/large")
			attack := exec.CommandContext(t.Context(), tool, args...)
			attack.WaitDelay = time.Second
			out, err := attack.CombinedOutput()
			if err != nil || !strings.Contains(string(out), "service available:") || strings.Contains(string(out), "NO\x1b") {
				t.Errorf("%v\n%s", err, out[max(0, len(out)-1500):])
			}
			p99 := o.check(t, 10)
			t.Logf("p99 of others: %v, before the attack %v", p99, before)
			if p99 > 50*time.Millisecond {
				t.Errorf("p99 of others is %v", p99)
			}
		})
	}
}

// begin opens connections that send the beginning of a head, until there are so many or no more come.
func begin(t *testing.T, g *gatewayProcess, n int, text string) (all []net.Conn) {
	t.Helper()
	addr := strings.TrimPrefix(g.base, "http://")
	for range n {
		conn, err := net.DialTimeout("tcp", addr, time.Second)
		if err != nil {
			break
		}
		t.Cleanup(func() { _ = conn.Close() })
		_ = conn.SetWriteDeadline(time.Now().Add(time.Second)) // as below
		_, _ = io.WriteString(conn, text)                      // the gateway may take nothing
		all = append(all, conn)
	}
	return all
}

// With few file descriptors, connections that are open and their requests go on, also those that are
// forwarded. New ones wait, and are served without a restart.
func TestDescriptorsRunOut(t *testing.T) {
	t.Parallel()
	upstream := serveBackend(t, hostileBackend)
	file := t.TempDir() + "/gateway.yaml"
	writePolicy(t, file, fmt.Sprintf(hostilePolicy, upstream))
	g := startAs(t, func(cmd *exec.Cmd) {
		cmd.Args = append([]string{"sh", "-c", `ulimit -n 200 && exec "$0" "$@"`, cmd.Path}, cmd.Args[1:]...)
		cmd.Path = "/bin/sh"
	}, "run", "--config", file)
	o := startOthers(t, g.base, false)
	time.Sleep(300 * time.Millisecond) // they have their connections
	all := begin(t, g, 400, "GET /forwarded HTTP/1.1\r\n")
	if open := g.metric(t, "gateway_connections"); open < 50 || open > 100 || len(all) < 200 {
		t.Errorf("of %d connections %v are open", len(all), open)
	}
	time.Sleep(2 * time.Second)
	for _, conn := range all {
		_ = conn.Close()
	}
	env.Eventually(t, 20*time.Second, func() error {
		fresh := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Second}
		res, err := fresh.Get(g.base + "/forwarded")
		if err != nil {
			return err
		}
		return res.Body.Close()
	})
	o.check(t, 10)
}

// With little memory, requests go on as well, and the gateway does not die.
func TestMemoryRunsOut(t *testing.T) {
	t.Parallel()
	if os.Getenv("GATEWAY_SLOW") == "" {
		t.Skip("GATEWAY_SLOW is not set; make slow does that")
	}
	upstream := serveBackend(t, hostileBackend)
	file := t.TempDir() + "/gateway.yaml"
	writePolicy(t, file, fmt.Sprintf(strings.Replace(hostilePolicy, "data_dir: ./data", "data_dir: ./data, timeouts: {read_header: 15s}", 1), upstream))
	g := start(t, []string{"GOMEMLIMIT=40MiB"}, "run", "--config", file)
	o := startOthers(t, g.base, false)
	time.Sleep(300 * time.Millisecond) // they have their connections
	head := "GET / HTTP/1.1\r\n" + strings.Repeat("A: "+strings.Repeat("b", 7000)+"\r\n", 4)
	var attack []net.Conn
	env.Eventually(t, 60*time.Second, func() error { // the gateway ends them after 15 seconds
		attack = append(attack, begin(t, g, 500, head)...)
		if !strings.Contains(g.stderr.String(), "memory is scarce") {
			return fmt.Errorf("memory is not scarce")
		}
		return nil
	})
	for _, conn := range attack {
		_ = conn.Close() // the attack is over
	}
	env.Eventually(t, 30*time.Second, func() error {
		if n := g.metric(t, "gateway_memory_scarce"); n != 0 {
			return fmt.Errorf("memory is scarce")
		}
		return nil
	})
	if a := getBy(t, http.DefaultClient, g.base+"/forwarded"); a.StatusCode != http.StatusOK {
		t.Errorf("afterwards: %s", a.Status)
	}
	o.check(t, 10)
}

// serveBackend serves a backend.
func serveBackend(t *testing.T, h http.Handler) string {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

// Clients that send a body slowly do not occupy the workers of gunicorn: it is asked when the body is there,
// whatever they call it.
func TestSlowBodiesHoldNoWorkers(t *testing.T) {
	t.Parallel()
	upstream := env.FlaskIn(t, "testdata/raw", "SEEN="+t.TempDir()+"/seen", "THREADS=2")
	file := t.TempDir() + "/gateway.yaml"
	writePolicy(t, file, fmt.Sprintf(hostilePolicy, upstream))
	g := start(t, nil, "run", "--config", file)
	slow := begin(t, g, 20, "POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n01234")
	begin(t, g, 20, "POST /slow HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc\r\nContent-Length: 10\r\n\r\n01234")
	for range 5 {
		if a := getBy(t, &http.Client{Timeout: 5 * time.Second}, g.base+"/other"); a.StatusCode != http.StatusOK {
			t.Fatal(a.Status)
		}
	}
	_ = slow[0].SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(slow[0], "56789"); err != nil {
		t.Fatal(err)
	}
	if status, err := rawAnswer(bufio.NewReader(slow[0]), http.MethodPost); status != http.StatusOK {
		t.Errorf("a slow one gets %d: %v", status, err)
	}
}

// An upstream with more requests than it can serve answers as many as before. The others get 503 with
// Retry-After, while hits, stale responses and health checks go on; and it recovers by itself.
func TestOverload(t *testing.T) {
	t.Parallel()
	workers := make(chan struct{}, 2)
	g, _ := startSmall(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/healthz" || r.URL.Path == "/cached/small" {
			_, _ = io.WriteString(w, "ok") // a client that is gone is no concern
			return
		}
		workers <- struct{}{}
		defer func() { <-workers }()
		time.Sleep(50 * time.Millisecond)
		w.Header().Set("Cache-Control", "max-age=1, stale-if-error=600")
		_, _ = io.WriteString(w, "ok") // as above
	}), strings.Replace(hostilePolicy, "targets: [%q]", "targets: [%q], concurrency: {min: 4, max: 16, wait: 200ms}, health: {path: /healthz}", 1)+
		"  - {name: stale, match: {path: /stale}, upstream: app, cache: {ttl: 1s, stale_if_error: 10m}}\n")
	for _, path := range []string{"/cached/small", "/stale"} {
		if a := getBy(t, http.DefaultClient, g.base+path); a.StatusCode != http.StatusOK {
			t.Fatal(a.Status)
		}
	}
	time.Sleep(1100 * time.Millisecond) // until that is stale
	end := make(chan struct{})
	var flood sync.WaitGroup
	var mu sync.Mutex
	statuses := map[string]int{}
	for range 60 {
		flood.Go(func() {
			client := &http.Client{Transport: &http.Transport{}, Timeout: 10 * time.Second}
			defer client.CloseIdleConnections()
			for {
				select {
				case <-end:
					return
				default:
				}
				res, err := client.Get(g.base + "/forwarded")
				if err != nil {
					continue
				}
				_ = res.Body.Close() // it is short
				mu.Lock()
				statuses[res.Status+" "+res.Header.Get("Retry-After")]++
				mu.Unlock()
				time.Sleep(20 * time.Millisecond)
			}
		})
	}
	time.Sleep(500 * time.Millisecond)
	for range 30 {
		for _, path := range []string{"/cached/small", "/stale", "/healthz"} {
			if a := getBy(t, http.DefaultClient, g.base+path); a.StatusCode != http.StatusOK {
				t.Errorf("%s: %s", path, a.Status)
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	close(end)
	flood.Wait()
	if statuses["200 OK "] < 30 || statuses["503 Service Unavailable 1"] < 30 || len(statuses) != 2 {
		t.Errorf("the flood got %v", statuses)
	}
	if a := getBy(t, http.DefaultClient, g.base+"/forwarded"); a.StatusCode != http.StatusOK {
		t.Errorf("afterwards: %s", a.Status)
	}
}
