package field

import (
	"fmt"
	"strings"
)

// method tells the reader of a page how to take the numbers.
const method = "All servers run on one machine, with the client, the upstream (bare net/http) and Redis. So\n" +
	"throughputs say what is left for a server beside them. CPU time, of the server's own processes, is\n" +
	"the better measure. Each server was measured %d times for %s, in turns with the others, after a\n" +
	"second of warm-up. The tables have the medians. A ratio is the median of those of the rounds.\n\n" +
	"- Throughput and CPU: wrk with 2 threads and 16 connections. Latency: vegeta at a fixed rate, the\n" +
	"  same for all servers of a case.\n" +
	"- No access logs. As many workers or threads as there are cores: GOMAXPROCS of the Go programs,\n" +
	"  `worker_processes auto` of nginx, HAProxy's and Varnish's own defaults.\n" +
	"- Every cache may have 256 MiB. nginx's is in files in /dev/shm, HAProxy takes the memory at the\n" +
	"  start. Connections to the upstream are kept alive.\n" +
	"- net/http is a handler that sends the body and the header fields of the gateway's answer from\n" +
	"  memory. ReverseProxy is httputil's, with a pool of buffers and 256 idle connections; +Redis adds\n" +
	"  a call of redis_rate to each request.\n" +
	"- RSS is the peak since the case began, summed over a server's processes. What they share counts\n" +
	"  for each.\n" +
	"- Allocations are known of the Go programs of this project alone.\n"

// Markdown returns a page with the tables. picture is the address of the plot, "" or "." for none.
func (r Report) Markdown(picture string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# The gateway beside other servers\n\nMeasured on %s, at commit %s:\n\n```sh\n%s\n```\n\n", r.Date, r.Commit, r.Command)
	fmt.Fprintf(&b, method, r.Rounds, r.Round)
	if picture != "" && picture != "." {
		fmt.Fprintf(&b, "\n![CPU time of a request, by case and server](%s)\n", picture)
	}
	for _, t := range r.Tables {
		t.markdown(&b)
	}
	fmt.Fprintf(&b, "\n## Machine and versions\n\n| | |\n|---|---|\n| CPU | %s |\n| Cores | %d |\n| Memory | %s |\n| Kernel | %s |\n",
		escape(r.Machine.CPU), r.Machine.Cores, r.Machine.Memory, escape(r.Machine.Kernel))
	for _, v := range r.Version {
		if v.Version == "" {
			v.Version = "not installed"
		}
		fmt.Fprintf(&b, "| %s | %s |\n", v.Program, escape(v.Version))
	}
	return b.String()
}

// markdown writes a table.
func (t Table) markdown(b *strings.Builder) {
	about := strings.ToUpper(t.About[:1]) + t.About[1:]
	fmt.Fprintf(b, "\n## %s\n\n%s.\nRatios to %s, latencies at %d requests/s.\n\n", t.Case, about, t.Baseline, t.Rate)
	fmt.Fprintf(b, "| %s |\n|---%s|\n", strings.Join(columns, " | "), strings.Repeat("|--:", len(columns)-1))
	for _, row := range t.Rows {
		cells := row.cells()
		if row.Note != "" {
			cells[0] += " (" + row.Note + ")"
		}
		fmt.Fprintf(b, "| %s |\n", strings.Join(cells, " | "))
	}
}

// escape keeps a text within its cell.
func escape(s string) string { return strings.NewReplacer("|", `\|`, "<", "&lt;").Replace(s) }
