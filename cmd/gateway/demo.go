package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/jewgo/gateway/internal/demo"
)

func newDemo() *cobra.Command {
	var s service
	var latency time.Duration
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Serve an embedded backend, to try the gateway out",
		Long: "Serve an embedded backend in the shape of JewGo's API, with generated data, to try the gateway out.\n" +
			"Redis is not needed; it is used if REDIS_URL is set.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s.stdout, s.stderr = cmd.OutOrStdout(), cmd.ErrOrStderr()
			return runDemo(cmd, &s, latency)
		},
	}
	cmd.Flags().DurationVar(&latency, "latency", 40*time.Millisecond, "delay of each response of the backend")
	addresses(cmd, &s)
	return cmd
}

func runDemo(cmd *cobra.Command, s *service, latency time.Duration) error {
	backend, end, err := startBackend(latency)
	if err != nil {
		return err
	}
	defer end()
	s.banner = banner
	vars := map[string]string{"UPSTREAM_URL": backend}
	if s.https {
		vars["COOKIE_NAME"], vars["COOKIE_SECURE"] = "__Host-gw", "true"
	}
	return runEmbedded(cmd, s, "demo.yaml", demo.Policy, vars)
}

// startBackend serves the embedded backend until end is called.
func startBackend(latency time.Duration) (base string, end func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, fmt.Errorf("demo backend: %w", err)
	}
	backend := &http.Server{Handler: demo.New(demo.Config{Latency: latency}), ReadHeaderTimeout: 5 * time.Second}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = backend.Serve(l) // ErrServerClosed; any other failure shows as 502 responses
	}()
	return "http://" + l.Addr().String(), func() {
		_ = backend.Close() // its listener is all that can fail to close
		<-ended
	}, nil
}

// worthTrying lists commands that each show a feature. GATEWAY and ADMIN stand for
// the addresses, TOKEN for the file of the admin token, CURL for curl that trusts the certificate.
const worthTrying = `
Worth trying: ADMIN/ in a browser, whose password is in TOKEN, and each line as it is:

A cached list of 232 KB: Cache-Status says fwd=uri-miss the first time, then hit.
  CURL -s -o /dev/null -D - 'GATEWAY/api/v5/restaurants?limit=50'

A login: the session cookie COOKIE, sealed by the gateway, comes beside the backend's own cookies.
  CURL -s -o /dev/null -D - --json '{"email":"demo@example.org","password":"demo"}' GATEWAY/api/v5/auth/login

A limit of 10 logins in 15 minutes: after nine more tries 429, with Retry-After.
  CURL -s -w '%{http_code}\n' -o /dev/null --json '{}' 'GATEWAY/api/v5/auth/login?try=[1-12]'

Hygiene: a path that two servers could read differently is refused here.
  CURL -s -i 'GATEWAY/api/v5/restaurants%2F1464'

Health, for people; with REDIS_URL set, stop that Redis and look again: degraded, and still ready.
  curl -s 'ADMIN/readyz?verbose'

The operator: how often the cache answers, and with what. Then a purge of all, which needs the token.
  curl -s ADMIN/v1/cache
  curl -s -H "Authorization: Bearer $(cat TOKEN)" --json '{"all":true}' ADMIN/v1/purges
`

func banner(w io.Writer, a announcement) {
	curl, cookie, trust := "curl", "gw", ""
	if a.caFile != "" {
		curl, cookie = "curl --cacert "+a.caFile, "__Host-gw"
		trust = "Its certificate is for localhost, and no client trusts it by itself: " + curl + " " + a.urls[0] + "/\n"
	}
	text := strings.NewReplacer("GATEWAY", a.urls[0], "ADMIN", a.admin, "TOKEN", a.tokenFile, "COOKIE", cookie, "CURL", curl).Replace(worthTrying)
	_, _ = fmt.Fprintf(w, "gateway demo: %s (admin: %s)\n%s%s\nStop it with Ctrl-C. The access log follows.\n", a.urls[0], a.admin, trust, text) // as in execute
}
