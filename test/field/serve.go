package field

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Names of the counters that our own servers show at their second port, the first as the gateway does.
const (
	mallocs  = "go_memstats_mallocs_total"
	requests = "requests_total"
)

// Options say what a child of the benchmark serves.
type Options struct {
	Answer    string // file of an answer, for ServeStatic
	Cert, Key string // of HTTPS; "": HTTP
	To        string // the upstream's URL, for ServeProxy
	Redis     string // address; "": no limit
}

// answer is a response that was recorded.
type answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// ServeUpstream serves as many bytes as the last part of the path says. Those of /cached/ may be stored.
func ServeUpstream(ctx context.Context, stdout io.Writer) error {
	var asked atomic.Int64
	bodies := map[string][]byte{}
	for _, n := range []int{1 << 10, 10 << 10, 100 << 10} {
		bodies[strconv.Itoa(n)] = []byte(strings.Repeat("0123456789abcdef", n/16))
	}
	handler := func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		body, ok := bodies[path.Base(r.URL.Path)]
		if !ok {
			http.NotFound(w, r)
			return
		}
		h := w.Header()
		h.Set("Content-Type", "application/octet-stream")
		h.Set("Content-Length", strconv.Itoa(len(body)))
		h.Set("Last-Modified", "Tue, 14 Nov 2023 22:13:20 GMT")
		h.Set("X-Content-Type-Options", "nosniff")
		if strings.HasPrefix(r.URL.Path, "/cached/") {
			h.Set("Cache-Control", "max-age=3600")
		}
		_, _ = w.Write(body) // a client that is gone is no concern
	}
	return serve(ctx, stdout, Options{}, http.HandlerFunc(handler), &asked)
}

// ServeStatic serves one recorded answer: the least that a server in Go can do.
func ServeStatic(ctx context.Context, stdout io.Writer, o Options) error {
	b, err := os.ReadFile(o.Answer)
	if err != nil {
		return err
	}
	var a answer
	if err := json.Unmarshal(b, &a); err != nil {
		return err
	}
	type field struct{ name, value string }
	var fields []field
	for name, values := range a.Header {
		if name != "Date" { // net/http sets its own
			fields = append(fields, field{name, strings.Join(values, ", ")})
		}
	}
	handler := func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		for _, f := range fields {
			h.Set(f.name, f.value)
		}
		w.WriteHeader(a.Status)
		_, _ = w.Write(a.Body) // a client that is gone is no concern
	}
	return serve(ctx, stdout, o, http.HandlerFunc(handler), nil)
}

// serve serves a handler, and counters at a second port, until ctx ends. It announces both as the
// gateway does.
func serve(ctx context.Context, stdout io.Writer, o Options, handler http.Handler, asked *atomic.Int64) error {
	data, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	admin, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}
	counters := &http.Server{Handler: counterPage(asked), ReadHeaderTimeout: 5 * time.Second}
	ended := make(chan error, 2)
	scheme := "http"
	if o.Cert != "" {
		scheme = "https"
		go func() { ended <- server.ServeTLS(data, o.Cert, o.Key) }()
	} else {
		go func() { ended <- server.Serve(data) }()
	}
	go func() { ended <- counters.Serve(admin) }()
	line := map[string]string{"msg": "serving", "url": scheme + "://" + data.Addr().String(), "admin": "http://" + admin.Addr().String()}
	if err := json.NewEncoder(stdout).Encode(line); err != nil {
		return err
	}
	select {
	case err = <-ended:
	case <-ctx.Done():
	}
	return errors.Join(err, server.Close(), counters.Close())
}

// counterPage shows how many allocations this process made, and how many requests it got.
func counterPage(asked *atomic.Int64) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		fmt.Fprintf(w, "%s %d\n", mallocs, m.Mallocs)
		if asked != nil {
			fmt.Fprintf(w, "%s %d\n", requests, asked.Load())
		}
	}
}

// counter reads a counter of a page as Prometheus has it.
func counter(base, name string) (float64, error) {
	res, err := http.Get(base + "/metrics")
	if err != nil {
		return 0, err
	}
	defer func() { _ = res.Body.Close() }() // was only read
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strconv.ParseFloat(strings.TrimSpace(value), 64)
		}
	}
	return 0, fmt.Errorf("no %s at %s: %s", name, base, res.Status)
}
