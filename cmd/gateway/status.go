package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/jewgo/gateway/internal/admin"
	"github.com/jewgo/gateway/internal/failover"
	"github.com/jewgo/gateway/internal/metrics"
	"github.com/jewgo/gateway/internal/store/redis"
	"github.com/jewgo/gateway/middleware/ratelimit"
)

// statusView is /v1/status.
type statusView struct {
	Version   string                  `json:"version"`
	State     string                  `json:"state"` // ok, degraded or not ready
	Policy    admin.PolicyInForce     `json:"policy"`
	Parts     []partView              `json:"parts"` // those that are not ok, or have warnings, and redis
	Redis     []redisState            `json:"redis"`
	Journal   int                     `json:"journal_pending"` // records that wait for the disk
	InFlight  int64                   `json:"in_flight"`       // requests
	Recent    metrics.Recent          `json:"recent"`
	Upstreams map[string]upstreamView `json:"upstreams"`
	Limited   []ratelimit.Hot         `json:"limited"` // keys that were refused; counts are halved each minute
	At        time.Time               `json:"at"`
}

type partView struct {
	Name     string   `json:"name"`
	State    string   `json:"state"`
	Detail   string   `json:"detail"`
	Warnings []string `json:"warnings,omitempty"`
}

// redisState is what the gateway knows of a Redis without asking it.
type redisState struct {
	Name     string             `json:"name"`
	State    string             `json:"state"`
	Since    time.Time          `json:"since"`
	Reason   string             `json:"reason,omitempty"` // of the last fault
	Serves   []string           `json:"serves"`
	Backlogs []failover.Waiting `json:"backlogs"` // what it must still be told
	History  []stateChange      `json:"history"`  // oldest first
}

type stateChange struct {
	At     time.Time `json:"at"`
	To     string    `json:"to"`
	Reason string    `json:"reason,omitempty"`
}

func (r *remote) known() redisState {
	s := r.health.Status()
	v := redisState{Name: r.name, State: s.State.String(), Since: s.Since.UTC(), Serves: r.condition().Serves, Backlogs: s.Backlogs, History: []stateChange{}}
	if s.Reason != nil {
		v.Reason = redis.ErrorText(s.Reason)
	}
	for _, c := range s.History {
		change := stateChange{At: c.At.UTC(), To: c.To.String()}
		if c.Reason != nil {
			change.Reason = redis.ErrorText(c.Reason)
		}
		v.History = append(v.History, change)
	}
	return v
}

type upstreamView struct {
	Healthy  int  `json:"healthy"` // of Targets
	Targets  int  `json:"targets"`
	Checked  bool `json:"checked"` // false: it has no health checks, so all count as healthy
	InFlight int  `json:"in_flight"`
	Failed   int  `json:"failed"` // requests of its routes with a status of 500 or above
	metrics.Flow
}

// status is the state of the gateway. It asks nobody.
func (g *gateway) status(numbers *metrics.Metrics) statusView {
	now, snapshot := time.Now(), g.live.Load()
	v := statusView{
		Version: versionText(), Policy: g.inForce.show(), Recent: numbers.Recent(now), At: now.UTC(),
		Parts: []partView{}, Redis: []redisState{}, Upstreams: map[string]upstreamView{}, Limited: []ratelimit.Hot{},
	}
	v.Policy.Changes = nil // gateway changes shows them
	v.Journal = g.durable.journal.Status().Pending
	v.InFlight, _ = g.observer.InFlight()
	for _, r := range g.stores.remotes() {
		v.Redis = append(v.Redis, r.known())
	}
	conditions := g.conditions()
	v.State = admin.Worst(conditions).String()
	for _, c := range conditions {
		if strings.HasPrefix(c.Name, "upstream ") { // they have lines of their own
			continue
		}
		if c.Level != admin.OK || len(c.Warnings) > 0 || slices.ContainsFunc(g.stores.remotes(), func(r *remote) bool { return r.name == c.Name }) {
			v.Parts = append(v.Parts, partView{c.Name, c.Level.String(), c.Detail, c.Warnings})
		}
	}
	for name, def := range snapshot.Policy.Upstreams {
		u := upstreamView{Flow: v.Recent.Upstreams[name], Checked: def.Health.Path != "" && def.Health.Interval > 0}
		for _, r := range snapshot.Routes {
			if r.Upstream == name {
				u.Failed += v.Recent.Routes[r.Name].Failed
			}
		}
		v.Upstreams[name] = u
	}
	for _, t := range g.pools.Status() {
		u := v.Upstreams[t.Upstream]
		u.Targets++
		u.InFlight += t.InFlight
		if t.Healthy {
			u.Healthy++
		}
		v.Upstreams[t.Upstream] = u
	}
	v.Recent.Upstreams, v.Recent.Routes = nil, nil
	for _, hot := range g.limits.top.List(hottest, now) {
		if hot.Denied > 0 {
			v.Limited = append(v.Limited, hot)
		}
	}
	slices.SortStableFunc(v.Limited, func(a, b ratelimit.Hot) int { return cmp.Compare(b.Denied, a.Denied) })
	return v
}

func newStatus() *cobra.Command {
	var c adminClient
	var asJSON bool
	var watch bool
	var every time.Duration
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show how a gateway is, and what happened in the last minute",
		Long: "Show how a gateway is: its health, Redis and since when, and of the last minute the requests, hits, refusals and times,\n" +
			"by upstream too, and the keys that limits refused most, whose counts are halved each minute. Times are estimates from\n" +
			"histograms.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if every <= 0 {
				return usage(errors.New("--every must be positive"))
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			for {
				if err := showStatusOnce(ctx, cmd.OutOrStdout(), &c, asJSON, watch); err != nil {
					return err
				}
				if !watch {
					return nil
				}
				select {
				case <-ctx.Done():
					return nil
				case <-time.After(every):
				}
			}
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print it as JSON")
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "show it again and again, until it is interrupted")
	cmd.Flags().DurationVar(&every, "every", 2*time.Second, "with --watch, how often")
	c.flags(cmd)
	return cmd
}

func showStatusOnce(ctx context.Context, w io.Writer, c *adminClient, asJSON, again bool) error {
	var v statusView
	if err := c.ask(ctx, http.MethodGet, "/v1/status", nil, &v); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	switch {
	case asJSON && again: // a line each time
		return json.NewEncoder(w).Encode(v)
	case asJSON:
		return printJSON(w, v)
	case again && isTerminal(w):
		_, _ = io.WriteString(w, "\x1b[H\x1b[2J") // if it fails, so does what follows
	}
	return showStatus(w, &v)
}

// isTerminal reports whether w is one.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func showStatus(w io.Writer, v *statusView) error {
	t := newTable(w)
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(t, format+"\n", args...) } // Flush reports errors
	line("gateway\t%s, %s", v.Version, v.State)
	line("policy\t%s %s since %s", v.Policy.File, v.Policy.Digest, v.Policy.Since.Format(time.RFC3339))
	if v.Policy.Refused != "" {
		line("\ta later one was refused; gateway changes says why")
	}
	for _, p := range v.Parts {
		line("%s\t%s, %s", p.Name, p.State, p.Detail)
		for _, warning := range p.Warnings {
			line("\twarning: %s", warning)
		}
	}
	for _, r := range v.Redis {
		for _, b := range r.Backlogs {
			if b.Items > 0 {
				line("%s\tstill to be told: %d of %s", r.Name, b.Items, b.Name)
			}
		}
		if r.State == failover.Up.String() && r.Reason != "" {
			line("%s\tits last fault: %s", r.Name, r.Reason)
		}
	}
	r := &v.Recent
	line("requests\t%s in the last %s", flowText(r.Requests), (time.Duration(r.Seconds) * time.Second).String())
	line("\t%s refused (429), %s failed (5xx)", share(r.Limited, r.Requests.Count), share(r.Failed, r.Requests.Count))
	line("cache\t%s hits", share(r.Hits, r.Cached))
	for _, name := range slices.Sorted(maps.Keys(v.Upstreams)) {
		u := v.Upstreams[name]
		health := fmt.Sprintf("%d of %d targets healthy", u.Healthy, u.Targets)
		if !u.Checked {
			health = fmt.Sprintf("%d targets, not checked", u.Targets)
		}
		line("upstream %s\t%s, %d in flight, %s, %d failed", name, health, u.InFlight, flowText(u.Flow), u.Failed)
	}
	for _, hot := range v.Limited {
		line("limited\t%s: %d of %d refused", hot.Key, hot.Denied, hot.Total)
	}
	return t.Flush()
}

func flowText(f metrics.Flow) string {
	if f.Count == 0 {
		return "no requests"
	}
	return fmt.Sprintf("%.1f/s, p50 %s, p99 %s", f.Rate, millis(f.P50), millis(f.P99))
}

// millis writes seconds to three digits or so.
func millis(seconds float64) string {
	if ms := 1000 * seconds; ms < 10 {
		return fmt.Sprintf("%.1f ms", ms)
	}
	return fmt.Sprintf("%.0f ms", 1000*seconds)
}

func share(n, of int) string {
	if of == 0 {
		return "no"
	}
	return fmt.Sprintf("%.1f%%", 100*float64(n)/float64(of))
}
