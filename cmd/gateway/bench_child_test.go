package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// benchConns is how many connections the client keeps busy.
const benchConns = 8

// benchAsk is what the client is asked for, a line of JSON each.
type benchAsk struct {
	URL      string
	Requests int
}

// benchAnswer is what it met.
type benchAnswer struct {
	Status int         // of the first response of each connection
	Header http.Header // of the same
	Body   []byte      // of the same
	Others int         // responses with another status, or a body of another size
	Error  string
}

// benchProcess is this test binary once more, in another part.
type benchProcess struct {
	stdin  io.Writer
	stdout *bufio.Reader
}

// benchChild starts one. It ends with its standard input.
func benchChild(t *testing.T, part string) *benchProcess {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run", "^TestBenchChild$")
	cmd.Env = append(os.Environ(), "GATEWAY_BENCH_PART="+part)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close() // it ends for that
		_ = cmd.Wait()    // and has nothing more to say
	})
	return &benchProcess{stdin, bufio.NewReader(stdout)}
}

func (p *benchProcess) line(t *testing.T) string {
	t.Helper()
	line, err := p.stdout.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line)
}

// ask has a client send requests.
func (p *benchProcess) ask(t *testing.T, to string, requests int) (a benchAnswer) {
	t.Helper()
	if err := json.NewEncoder(p.stdin).Encode(benchAsk{to, requests}); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(p.line(t)), &a); err != nil || a.Error != "" {
		t.Fatal(err, a.Error)
	}
	return a
}

// TestBenchChild is no test: it is what benchChild starts.
func TestBenchChild(t *testing.T) {
	t.Parallel()
	switch os.Getenv("GATEWAY_BENCH_PART") {
	case "upstream":
		base := benchServe(t, func(w http.ResponseWriter, r *http.Request) {
			size, err := strconv.Atoi(path.Base(r.URL.Path))
			if err != nil {
				size = 1 << 10
			}
			w.Header().Set("Content-Length", strconv.Itoa(size))
			w.Header().Set("Content-Type", "application/octet-stream") // which nobody compresses
			_, _ = io.WriteString(w, strings.Repeat("x", size))        // a gateway that is gone cannot be told
		})
		fmt.Println(base)
		_, _ = io.Copy(io.Discard, os.Stdin) // until it is closed
	case "client":
		client := benchClient{conns: map[string][]*benchConn{}}
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			var ask benchAsk
			if err := json.Unmarshal(lines.Bytes(), &ask); err != nil {
				t.Fatal(err)
			}
			if err := json.NewEncoder(os.Stdout).Encode(client.send(ask)); err != nil {
				t.Fatal(err)
			}
		}
	default:
		t.Skip("a part of TestBench")
	}
}

// benchClient keeps connections to each host.
type benchClient struct {
	conns map[string][]*benchConn
}

// benchConn is a connection of HTTP/1.1, or a client of HTTP/2, whose requests share connections.
type benchConn struct {
	net.Conn
	r     *bufio.Reader
	http2 *http.Client // nil: HTTP/1.1
}

// benchHTTP2 trusts everyone.
var benchHTTP2 = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}}

// benchDial connects to http, https or h2.
func benchDial(u *url.URL) (*benchConn, error) {
	if u.Scheme == "h2" {
		return &benchConn{http2: benchHTTP2}, nil
	}
	conn, err := net.Dial("tcp", u.Host)
	if err == nil && u.Scheme == "https" {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	}
	return &benchConn{Conn: conn, r: bufio.NewReader(conn)}, err
}

// ask sends one request.
func (c *benchConn) ask(u *url.URL, head []byte) (*http.Response, error) {
	if c.http2 != nil {
		return c.http2.Get("https://" + u.Host + u.Path)
	}
	if _, err := c.Write(head); err != nil {
		return nil, err
	}
	return http.ReadResponse(c.r, nil)
}

// send shares the requests out among connections.
func (c *benchClient) send(ask benchAsk) (all benchAnswer) {
	u, err := url.Parse(ask.URL)
	if err != nil {
		return benchAnswer{Error: err.Error()}
	}
	for len(c.conns[u.Scheme+u.Host]) < benchConns {
		conn, err := benchDial(u)
		if err != nil {
			return benchAnswer{Error: err.Error()}
		}
		c.conns[u.Scheme+u.Host] = append(c.conns[u.Scheme+u.Host], conn)
	}
	head := []byte("GET " + u.Path + " HTTP/1.1\r\nHost: " + u.Host + "\r\nUser-Agent: bench\r\nAccept: */*\r\nAccept-Encoding: gzip\r\n\r\n")
	var mu sync.Mutex
	var ended sync.WaitGroup
	for i, conn := range c.conns[u.Scheme+u.Host] {
		share := ask.Requests / benchConns
		if i < ask.Requests%benchConns {
			share++
		}
		ended.Go(func() {
			a, err := conn.repeat(u, head, share)
			mu.Lock()
			defer mu.Unlock()
			if share > 0 {
				all.Status, all.Header, all.Body = a.Status, a.Header, a.Body
			}
			all.Others += a.Others
			if err != nil {
				all.Error = err.Error()
			}
		})
	}
	ended.Wait()
	return all
}

// repeat sends a request so many times, one after the other.
func (c *benchConn) repeat(u *url.URL, head []byte, times int) (a benchAnswer, err error) {
	for range times {
		res, err := c.ask(u, head)
		if err != nil {
			return a, err
		}
		var body bytes.Buffer
		to := io.Discard
		if a.Status == 0 {
			to = &body
		}
		n, err := io.Copy(to, res.Body)
		if err = errors.Join(err, res.Body.Close()); err != nil {
			return a, err
		}
		if a.Status == 0 {
			a.Status, a.Header, a.Body = res.StatusCode, res.Header, body.Bytes()
		}
		if res.StatusCode != a.Status || int(n) != len(a.Body) {
			a.Others++
		}
	}
	return a, nil
}
