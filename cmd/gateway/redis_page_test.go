package main

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jewgo/gateway/test/env"
)

// The commands of docs/redis.md: one block while Redis is up, one that stops it, and one after it came back empty.
func TestRedisPage(t *testing.T) {
	t.Parallel()
	page := document(t, "redis.md")
	server := env.Redis(t)
	_, port, err := net.SplitHostPort(server.Addr)
	if err != nil {
		t.Fatal(err)
	}
	g, _ := startDemoWith(t, server.URL)
	// inUse waits until Redis has come into use this many times.
	inUse := func(times int) {
		env.Eventually(t, 20*time.Second, func() error {
			if strings.Count(g.stderr.String(), `"redis is in use"`) < times {
				return errors.New(g.stderr.String())
			}
			return nil
		})
	}
	here := strings.NewReplacer("http://localhost:8080", g.base, "http://127.0.0.1:9901", g.admin, "redis-cli -p 6380", "redis-cli -p "+port)
	dir := t.TempDir()
	blocks := consoles(page)
	if len(blocks) != 3 {
		t.Fatalf("%d blocks of commands", len(blocks))
	}
	commands := 0
	for i, block := range blocks {
		switch i {
		case 0:
			inUse(1)
		case 2:
			server.Restart(true)
			inUse(2)
		}
		commands += typed(t, block, func(line string) string { return shell(t, dir, here.Replace(line)) })
	}
	if commands != 11 {
		t.Errorf("%d commands were tried", commands)
	}
}
