package redis_test

import (
	"bufio"
	"context"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jewgo/gateway/internal/store/redis"
)

// Each connection of an untouched client begins with CLIENT NO-TOUCH; a server that refuses it is used all the same.
func TestUntouched(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var commands []string
	serve := func(c net.Conn) {
		defer func() { _ = c.Close() }()
		var words []string
		for lines := bufio.NewScanner(c); lines.Scan(); {
			line := strings.ToLower(lines.Text())
			if strings.HasPrefix(line, "*") {
				words = nil
			}
			if line != "" && !strings.ContainsAny(line[:1], "*$") {
				words = append(words, line)
			}
			said := strings.Join(words, " ")
			answer, whole := map[string]string{
				"hello 3": "-ERR unknown command\r\n", "client no-touch on": "-ERR unknown subcommand\r\n", "get a": "$1\r\nb\r\n",
			}[said]
			if whole {
				mu.Lock()
				commands = append(commands, said)
				mu.Unlock()
				_, _ = c.Write([]byte(answer))
			}
		}
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { serve(c) })
		}
	})
	client, err := redis.Open(redis.Config{URL: "redis://" + l.Addr().String(), Untouched: true})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if got, err := client.Get(ctx, "a").Result(); got != "b" || err != nil {
		t.Errorf("%q %v", got, err)
	}
	_, _ = client.Close(), l.Close()
	serving.Wait()
	if i := slices.Index(commands, "client no-touch on"); i < 0 || i > slices.Index(commands, "get a") {
		t.Errorf("commands: %q", commands)
	}
}
