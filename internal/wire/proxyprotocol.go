package wire

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/pires/go-proxyproto"

	"github.com/jewgo/gateway/policy"
)

var errNoAddress = errors.New("the PROXY header names no IP address")

// ProxyProtocol reads the PROXY header, version 1 or 2 (the HAProxy specification), of each connection from
// a listed source, which must send one within timeout. Its address becomes the connection's. Connections of
// others stay as they are: a header that they send is not HTTP. So do those of unix sockets.
func ProxyProtocol(l net.Listener, sources []policy.Prefix, timeout time.Duration) net.Listener {
	if len(sources) == 0 || l.Addr().Network() == "unix" {
		return l
	}
	return proxied{&proxyproto.Listener{
		Listener:          l,
		ReadHeaderTimeout: timeout,
		ValidateHeader:    namesAddress,
		ConnPolicy: func(o proxyproto.ConnPolicyOptions) (proxyproto.Policy, error) {
			peer, err := netip.ParseAddrPort(o.Upstream.String())
			listed := func(p policy.Prefix) bool { return p.Contains(peer.Addr().Unmap().WithZone("")) }
			if err == nil && slices.ContainsFunc(sources, listed) {
				return proxyproto.REQUIRE, nil
			}
			return proxyproto.SKIP, nil
		},
	}}
}

// namesAddress refuses a client without an IP address, which would look like one of a unix socket. LOCAL,
// and UNKNOWN in version 1, stand for the source itself.
func namesAddress(h *proxyproto.Header) error {
	if _, ok := h.SourceAddr.(*net.TCPAddr); !ok && !h.Command.IsLocal() {
		return errNoAddress
	}
	return nil
}

// proxied is a proxyproto.Listener whose connections can close one direction.
type proxied struct{ *proxyproto.Listener }

func (p proxied) Accept() (net.Conn, error) {
	c, err := p.Listener.Accept()
	if from, ok := c.(*proxyproto.Conn); ok {
		return proxiedConn{from}, nil
	}
	return c, err
}

type proxiedConn struct{ *proxyproto.Conn }

// CloseWrite is used by net/http, which closes one direction first.
func (c proxiedConn) CloseWrite() error {
	if half, ok := c.Raw().(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return http.ErrNotSupported
}
