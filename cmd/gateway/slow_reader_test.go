package main

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A client that reads a hit steadily, and more slowly than what is written at
// once allows for, is not cut off.
func TestASlowReaderOfAHitIsNotCutOff(t *testing.T) {
	t.Parallel()
	body := bytes.Repeat([]byte("0123456789abcdef"), 8<<20/16)
	backend := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) })
	g, _ := startSmall(t, backend, strings.Replace(smallPolicy, "drain: 10s", "progress: 1s", 1)+"  - {name: cached, match: {path: /cached}, upstream: app, cache: {ttl: 1h}}\n")
	g.get("/cached")
	conn, err := net.Dial("tcp", strings.TrimPrefix(g.base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "GET /cached HTTP/1.1\r\nHost: "+strings.TrimPrefix(g.base, "http://")+"\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(conn), nil) // whose Close would read it all
	if err != nil {
		t.Fatal(err)
	}
	if status := res.Header.Get("Cache-Status"); !strings.Contains(status, "hit") {
		t.Fatalf("no hit: %s", status)
	}
	piece := make([]byte, 20<<10)
	for range 50 { // 200 KB/s for 5 s, while the kernel takes more when it is rid of some 1.3 MB
		if _, err := io.ReadFull(res.Body, piece); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
	}
	if line := g.stdout.String(); strings.Count(line, `"msg":"request"`) != 1 {
		t.Errorf("the request has ended: %s", line)
	}
}
