package acme

import (
	"context"
	"fmt"
	"log"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/letsencrypt/challtestsrv"

	"github.com/jewgo/gateway/test/env"
)

// resolver starts a DNS server that knows every name as 127.0.0.1, waits until it answers, and returns
// its address.
func resolver(tb testing.TB, logger *log.Logger) string {
	tb.Helper()
	var err error
	for range 5 { // another process may take the port before the server does
		addr := net.JoinHostPort("127.0.0.1", env.FreePort(tb))
		server, failed := challtestsrv.New(challtestsrv.Config{Log: logger, DNSAddrs: []string{addr}})
		if failed != nil {
			tb.Fatal(failed)
		}
		server.SetDefaultDNSIPv6("") // pebble would prefer ::1
		server.Run()
		tb.Cleanup(server.Shutdown)
		if err = answers(addr); err == nil {
			return addr
		}
	}
	tb.Fatalf("start a DNS server: %v", err)
	return ""
}

// answers waits until a DNS server answers by UDP and TCP: only then can it be shut down. pebble uses
// TCP alone.
func answers(addr string) error {
	for _, network := range []string{"udp", "tcp"} {
		client := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, addr)
		}}
		err := fmt.Errorf("no answer from %s by %s", addr, network)
		for start := time.Now(); err != nil; time.Sleep(5 * time.Millisecond) {
			if time.Since(start) > 5*time.Second {
				return err
			}
			err = knows(client, "ready.test.")
		}
	}
	return nil
}

// knows checks that a name is 127.0.0.1.
func knows(client *net.Resolver, name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	ips, err := client.LookupHost(ctx, name)
	if err == nil && !slices.Equal(ips, []string{"127.0.0.1"}) {
		err = fmt.Errorf("%s is %v", name, ips)
	}
	return err
}
