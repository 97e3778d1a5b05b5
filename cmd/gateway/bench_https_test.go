package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/jewgo/gateway/test/env"
)

// What a hit costs over HTTPS, beside plain HTTP, and nginx with a file of the same size where it is
// installed. It is a report, without targets. make bench-parts sets GATEWAY_BENCH.
func TestBenchHTTPS(t *testing.T) {
	t.Parallel()
	if os.Getenv("GATEWAY_BENCH") == "" {
		t.Skip("GATEWAY_BENCH is not set; make bench-parts does that")
	}
	files := env.NewCA(t).Issue(t, "127.0.0.1")
	upstream := strings.TrimSuffix(benchChild(t, "upstream").line(t), "/")
	tls := fmt.Sprintf("tls: {certificates: [{cert_file: %q, key_file: %q}]}, ", files.Cert, files.Key)
	serve := func(tls string) benchServer {
		file := filepath.Join(t.TempDir(), "bench.yaml")
		writePolicy(t, file, strings.NewReplacer(
			"server: {", "server: {"+tls, "${REDIS_URL}", "memory://", "${UPSTREAM_URL}", upstream, "/cached/", "/", "limits: [leased], cache", "cache",
		).Replace(benchPolicy))
		g := launch(t, nil, "run", "--config", file)
		g.serving()
		return benchServer{g.cmd.Process.Pid, g.base}
	}
	type side struct {
		name             string
		plain, encrypted benchServer
	}
	sides := []side{{"gateway", serve(""), serve(tls)}}
	if plain, encrypted, ok := benchNginx(t, files); ok {
		sides = append(sides, side{"nginx", plain, encrypted})
	}
	client := benchChild(t, "client")
	var out strings.Builder
	tw := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(tw, "a hit of\tserver\tHTTP/1.1\tHTTPS, HTTP/1.1\tHTTPS, HTTP/2\t") // Flush tells
	for _, size := range []int{1 << 10, 10 << 10, 232 << 10} {
		for _, s := range sides {
			overHTTP2 := benchServer{s.encrypted.pid, strings.Replace(s.encrypted.url, "https", "h2", 1)}
			_, _ = fmt.Fprintf(tw, "%d KiB\t%s\t", size>>10, s.name) // as above
			var plain time.Duration
			for _, way := range []benchServer{s.plain, s.encrypted, overHTTP2} {
				took := way.cost(t, client, size)
				if plain == 0 {
					plain = took
				}
				_, _ = fmt.Fprintf(tw, "%v (%.2f)\t", took, float64(took)/float64(plain)) // as above
			}
			_, _ = fmt.Fprintln(tw) // as above
		}
	}
	_ = tw.Flush() // into memory
	_, _ = io.WriteString(os.Stdout, "\nCPU of a request, and its ratio to plain HTTP:\n\n"+out.String()+"\n")
}

// benchServer is a process and its URL.
type benchServer struct {
	pid int
	url string
}

// cost is what a request of that size costs the server: the median of rounds.
func (s benchServer) cost(t *testing.T, client *benchProcess, size int) time.Duration {
	t.Helper()
	const requests = 4000
	url := fmt.Sprint(s.url, "/", size)
	client.ask(t, url, requests/2)
	var rounds []float64
	for range 7 {
		before := processCPU(t, s.pid)
		if a := client.ask(t, url, requests); a.Status != http.StatusOK || a.Others > 0 {
			t.Fatalf("%s: status %d, and %d others", url, a.Status, a.Others)
		}
		rounds = append(rounds, float64(processCPU(t, s.pid)-before)/requests)
	}
	return time.Duration(median(rounds)).Round(100 * time.Nanosecond)
}

// processCPU is the time that a process has spent, by the kernel's ticks of 10 ms.
func processCPU(t *testing.T, pid int) time.Duration {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

// benchNginx serves files by nginx in one process, plain and over TLS; ok is false without nginx.
func benchNginx(t *testing.T, files env.TLSFiles) (_, _ benchServer, ok bool) {
	t.Helper()
	path, err := exec.LookPath("nginx")
	if err != nil {
		return benchServer{}, benchServer{}, false
	}
	dir := t.TempDir()
	for _, size := range []int{1 << 10, 10 << 10, 232 << 10} {
		if err := os.WriteFile(filepath.Join(dir, strconv.Itoa(size)), []byte(strings.Repeat("x", size)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	plain, encrypted := fixedAddr(t), fixedAddr(t)
	conf := filepath.Join(dir, "nginx.conf")
	writePolicy(t, conf, fmt.Sprintf(`daemon off; master_process off; error_log stderr crit; pid %[1]s/pid; events {}
http {
  access_log off; sendfile on; keepalive_requests 1000000000; client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
  server { listen %[2]s; listen %[3]s ssl http2; ssl_certificate %[4]s; ssl_certificate_key %[5]s; root %[1]s; }
}
`, dir, plain, encrypted, files.Cert, files.Key))
	cmd := exec.Command(path, "-c", conf, "-e", "stderr")
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it ends for that
		_ = cmd.Wait()
	})
	for _, address := range []string{plain, encrypted} {
		env.Until(t, "nginx listens", func() bool {
			conn, err := net.Dial("tcp", address)
			if err == nil {
				_ = conn.Close()
			}
			return err == nil
		})
	}
	return benchServer{cmd.Process.Pid, "http://" + plain}, benchServer{cmd.Process.Pid, "https://" + encrypted}, true
}
