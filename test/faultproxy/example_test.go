package faultproxy_test

import (
	"fmt"
	"log"

	"github.com/jewgo/gateway/test/faultproxy"
)

// A gateway that is given the proxy's URL meets what the proxy is told to do.
func ExampleListen() {
	p, err := faultproxy.Listen("127.0.0.1:6379")
	if err != nil {
		log.Fatal(err)
	}
	defer p.Close()
	fmt.Println("run the gateway with", p.URL())

	p.SetAside("gw:{probe}")
	p.ResetStats()
	// One request.
	fmt.Println(p.Stats().RoundTrips, "round trips")

	if err := p.Set(faultproxy.Fault{Link: faultproxy.Cut}); err != nil {
		log.Fatal(err)
	}
	// Requests, which must be answered all the same.
	if err := p.Heal(); err != nil {
		log.Fatal(err)
	}
}

func ExampleByName() {
	f, ok := faultproxy.ByName("readonly")
	fmt.Println(f.Description, ok)
	fmt.Println(f.Fault.Reply.Error)
	// Output:
	// a replica: writes are refused, PING and reads are answered true
	// READONLY You can't write against a read only replica.
}
