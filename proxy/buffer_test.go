package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/jewgo/gateway/policy"
)

// What comes out is what came in, however much of it is held, and nothing is counted for ever.
func TestHeldBodies(t *testing.T) {
	text := bytes.Repeat([]byte("0123456789"), 1000)
	for _, most := range []int64{0, 1, 512, 9999, 10000, 10001, 1 << 20} {
		for name, body := range map[string]io.Reader{"whole": bytes.NewReader(text), "in bytes": iotest.OneByteReader(bytes.NewReader(text)), "with its end": iotest.DataErrReader(bytes.NewReader(text))} {
			var b buffers
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://a", io.NopCloser(body))
			if err != nil {
				t.Fatal(err)
			}
			release, err := b.hold(r, &policy.Route{Buffer: most})
			if err != nil {
				t.Fatal(err)
			}
			if held := b.held.Load(); held < min(most, 10000) || held > 2*most+1024 {
				t.Errorf("%s, at most %d: %d bytes are held", name, most, held)
			}
			if got, err := io.ReadAll(r.Body); err != nil || !bytes.Equal(got, text) {
				t.Errorf("%s, at most %d: %d bytes come out, %v", name, most, len(got), err)
			}
			release()
			if held := b.held.Load(); held != 0 {
				t.Errorf("%s, at most %d: %d bytes stay", name, most, held)
			}
		}
	}
}

func TestBodiesThatFailWhileTheyAreHeld(t *testing.T) {
	var b buffers
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://a", io.MultiReader(strings.NewReader("abc"), iotest.ErrReader(io.ErrUnexpectedEOF)))
	if err != nil {
		t.Fatal(err)
	}
	release, err := b.hold(r, &policy.Route{Buffer: 100})
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
	release()
	if held := b.held.Load(); held != 0 {
		t.Errorf("%d bytes stay", held)
	}
	b.held.Store(buffersInAll)
	r.Body = io.NopCloser(strings.NewReader("abc"))
	if _, err := b.hold(r, &policy.Route{Buffer: 100}); err != nil || b.held.Load() != buffersInAll {
		t.Errorf("with no room: %v, %d bytes are held", err, b.held.Load())
	}
}

// Only what may be a stream of gRPC goes on at once.
func TestStreams(t *testing.T) {
	for _, c := range []struct {
		upstream bool
		proto    int
		kind     string
		want     bool
	}{
		{true, 2, "application/grpc", true},
		{true, 2, "application/grpc+proto", true},
		{true, 2, "text/plain", false},
		{true, 1, "application/grpc", false},
		{false, 2, "application/grpc", false},
	} {
		r := &http.Request{ProtoMajor: c.proto, Header: http.Header{"Content-Type": {c.kind}}}
		if got := streams(r, &policy.Route{HTTP2: c.upstream}); got != c.want {
			t.Errorf("%+v", c)
		}
	}
}

// The upstream is asked when the body is there.
func TestAnUpstreamIsNotAskedBeforeTheBodyIsThere(t *testing.T) {
	asked := make(chan string, 1)
	e := newEdge(t, setup{
		app: one(backend(t, func(w http.ResponseWriter, r *http.Request) {
			asked <- r.Header.Get("Content-Type")
			body, err := io.ReadAll(r.Body)
			_, _ = fmt.Fprint(w, string(body), err) // a miss shows below
		})),
		route: policy.Route{Buffer: 100},
	})
	for _, kind := range []string{"text/plain", "application/grpc+proto"} { // the name of another type is no way around
		conn, r := e.rawClient(t, "POST / HTTP/1.1\nHost: a\nContent-Type: "+kind+"\nContent-Length: 6\n\nabc")
		select {
		case got := <-asked:
			t.Errorf("%s: the upstream is asked early", got)
		case <-time.After(50 * time.Millisecond):
		}
		if _, err := io.WriteString(conn, "def"); err != nil {
			t.Fatal(err)
		}
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(res.Body); string(body) != "abcdef<nil>" || err != nil {
			t.Errorf("%s: %q, %v", kind, body, err)
		}
		for len(asked) > 0 {
			<-asked
		}
	}
}
