package wire

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"

	"github.com/jewgo/gateway/policy"
)

// addressServer answers each request with its client's address, and reads PROXY headers from sources.
func addressServer(t *testing.T, timeout time.Duration, sources ...string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var listed []policy.Prefix
	for _, s := range sources {
		listed = append(listed, policy.Prefix{Prefix: netip.MustParsePrefix(s)})
	}
	server := &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.RemoteAddr)
	})}
	go func() { _ = server.Serve(ProxyProtocol(Listener{Listener: l}, listed, timeout)) }() // ends with the test
	t.Cleanup(func() { _ = server.Close() })
	return l.Addr().String()
}

// addressSeen is the answer to a request after a preface; the error's text if there is none.
func addressSeen(t *testing.T, address string, preface []byte) string {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	_, _ = conn.Write(append(preface, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"...)) // the answer tells
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return "closed"
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return err.Error()
	}
	if res.StatusCode != http.StatusOK {
		return res.Status
	}
	return string(body)
}

func header(t *testing.T, version byte, source net.Addr) []byte {
	t.Helper()
	h := proxyproto.HeaderProxyFromAddrs(version, source, &net.TCPAddr{IP: net.ParseIP("192.0.2.1"), Port: 443})
	if u, ok := source.(*net.UnixAddr); ok {
		h = proxyproto.HeaderProxyFromAddrs(version, u, &net.UnixAddr{Name: "/b", Net: "unix"})
	}
	text, err := h.Format()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestProxyProtocol(t *testing.T) {
	client := &net.TCPAddr{IP: net.ParseIP("198.51.100.7"), Port: 4711}
	local, err := proxyproto.HeaderProxyFromAddrs(2, nil, nil).Format()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		why     string
		source  string
		preface []byte
		want    string
	}{
		{"version 1", "127.0.0.0/8", header(t, 1, client), "198.51.100.7:4711"},
		{"version 2", "127.0.0.0/8", header(t, 2, client), "198.51.100.7:4711"},
		{"version 1, UNKNOWN", "127.0.0.0/8", []byte("PROXY UNKNOWN\r\n"), "127.0.0.1:"},
		{"version 2, LOCAL, as health checks have it", "127.0.0.0/8", local, "127.0.0.1:"},
		{"a listed source without a header", "127.0.0.0/8", nil, "closed"},
		{"a client on a unix socket of the source has no address", "127.0.0.0/8", header(t, 2, &net.UnixAddr{Name: "/a", Net: "unix"}), "closed"},
		{"torn", "127.0.0.0/8", []byte("PROXY TCP4 1.1.1.1\r\n"), "closed"},
		{"one who is not listed speaks plain", "10.0.0.0/8", nil, "127.0.0.1:"},
		{"and is not believed, version 1", "10.0.0.0/8", header(t, 1, client), "400 Bad Request"},
		{"and is not believed, version 2", "10.0.0.0/8", header(t, 2, client), "400 Bad Request"},
	} {
		t.Run(c.why, func(t *testing.T) {
			if got := addressSeen(t, addressServer(t, time.Second, c.source), c.preface); !strings.HasPrefix(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestASilentSourceHoldsUpNobody(t *testing.T) {
	silence := func(address string) net.Conn {
		silent, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = silent.Close() })
		return silent
	}
	patient := addressServer(t, time.Minute, "127.0.0.0/8")
	for range 20 {
		silence(patient)
		if got := addressSeen(t, patient, []byte("PROXY TCP4 198.51.100.7 192.0.2.1 4711 443\r\n")); got != "198.51.100.7:4711" {
			t.Fatalf("got %q", got)
		}
	}
	silent := silence(addressServer(t, 100*time.Millisecond, "127.0.0.0/8"))
	_ = silent.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := silent.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the silent one was not closed: %v", err)
	}
}
