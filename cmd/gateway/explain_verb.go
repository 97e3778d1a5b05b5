package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/jewgo/gateway/middleware/cache"
)

func newExplain() *cobra.Command {
	var c adminClient
	var asJSON bool
	asked := url.Values{}
	cmd := &cobra.Command{
		Use:   "explain METHOD URL",
		Short: "Tell what would happen to a request, and why",
		Long: "Tell what would happen to a request, and why: its route and the nearest others, its limits, session and cache, what would\n" +
			"go upstream, and the answer if Redis were down. The request is not made: nothing is counted, stored or sent.\n\n" +
			"A running gateway answers by what its stores have now. With --config alone, the policy answers by itself, as a gateway\n" +
			"would that has just started without Redis.\n\n" +
			"URL is an http:// or https:// URL, or a path on the first of server.hosts; without any, on localhost with the port of\n" +
			"server.listen.",
		Example: "  gateway explain GET '/api/v5/restaurants?limit=50&page=1' --client 203.0.113.9",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			asked.Set("method", args[0])
			asked.Set("url", args[1])
			x, err := askExplanation(cmd, &c, asked)
			switch {
			case err != nil:
				return err
			case asJSON:
				enc := json.NewEncoder(cmd.OutOrStdout())
				enc.SetIndent("", "  ")
				return enc.Encode(x)
			}
			return showExplanation(cmd.OutOrStdout(), x)
		},
	}
	flags := cmd.Flags()
	var header, response []string
	texts := map[string]*string{}
	for name, usage := range map[string]string{
		"client":  "the client's address (default: 127.0.0.1)",
		"session": "the session, by the beginning of its ID; else the header's cookie counts",
		"at":      "when: +90s, or a time such as 2026-01-31T12:00:00Z (default: now)",
		"redis":   "down: as if Redis were",
		"status":  "the status that the upstream is assumed to answer (default: 200)",
	} {
		texts[name] = flags.String(name, "", usage)
	}
	flags.StringArrayVarP(&header, "header", "H", nil, "a field of the request, NAME: VALUE; may be repeated")
	flags.StringArrayVar(&response, "response", nil, "a field that the upstream is assumed to answer, NAME: VALUE; may be repeated")
	flags.BoolVar(&asJSON, "json", false, "print the explanation as JSON")
	c.flags(cmd)
	cmd.PreRun = func(*cobra.Command, []string) {
		for name, text := range texts {
			if *text != "" {
				asked.Set(name, *text)
			}
		}
		if len(header) > 0 {
			asked["header"] = header
		}
		if len(response) > 0 {
			asked["response"] = response
		}
	}
	return cmd
}

// askExplanation asks a running gateway or, with --config alone, the policy.
func askExplanation(cmd *cobra.Command, c *adminClient, asked url.Values) (*explanation, error) {
	x := &explanation{}
	if !cmd.Flag("config").Changed || cmd.Flag("admin").Changed {
		return x, c.ask(cmd.Context(), http.MethodGet, "/v1/explain?"+asked.Encode(), nil, x)
	}
	s, err := loadPolicy(c.config)
	if err != nil {
		return nil, err
	}
	q, err := parseQuestion(asked, s, time.Now())
	if err != nil {
		return nil, usage(err)
	}
	e, err := newExplainer(s)
	if err != nil {
		return nil, err
	}
	defer e.cache.Close()
	return e.explain(cmd.Context(), q)
}

// explained writes an explanation as a table: a topic in the first column, a fact in each line.
type explained struct {
	t     *tabwriter.Writer
	topic string
}

func (e *explained) about(topic string) { e.topic = topic }

func (e *explained) line(format string, args ...any) {
	_, _ = fmt.Fprintf(e.t, "%s\t%s\n", e.topic, fmt.Sprintf(format, args...)) // Flush reports errors
	e.topic = ""
}

func showExplanation(w io.Writer, x *explanation) error {
	e := &explained{t: tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
	e.about("request")
	r := x.Request
	target := r.Path
	if r.Query != "" {
		target += "?" + r.Query
	}
	scheme := map[bool]string{true: "https", false: "http"}[r.TLS]
	e.line("%s %s://%s%s from %s at %s", r.Method, scheme, r.Host, target, r.Client, r.At.UTC().Format(time.RFC3339))
	e.about("policy")
	e.line("%s", x.Policy)
	if !x.Running {
		e.line("no gateway was asked: nothing is stored, no limit is charged; --admin asks one")
	}
	for _, redis := range x.Redis {
		e.about("redis")
		e.line("%s is %s since %s", redis.Name, redis.State, redis.Since.UTC().Format(time.RFC3339))
	}
	e.about("answer")
	e.line("%s", answerText(&x.Answer))
	reached := &x.outcome
	if x.Unlimited != nil {
		reached = x.Unlimited
		e.line("if no limit refused it: %s", answerText(&reached.Answer))
	}
	if a := x.RedisDown; a != nil {
		e.about("redis down")
		text := answerText(a)
		if text == answerText(&x.Answer) {
			text = "the same answer"
		}
		e.line("%s", text)
	}
	e.showRoute(x)
	if s := x.Session; s.State != "" {
		e.about("session")
		e.line("%s", strings.TrimSpace(strings.Join([]string{s.State, s.ID, s.User, strings.Join(s.Roles, ",")}, " ")))
	}
	for i := range x.Limits {
		e.about("limit")
		e.showLimit(&x.Limits[i])
	}
	if x.Route != nil {
		e.showCache(reached)
	}
	return e.t.Flush()
}

func answerText(a *answerView) string {
	text := fmt.Sprintf("%d from the %s", a.Status, a.By)
	switch a.By {
	case "upstream":
		text = fmt.Sprintf("the upstream's, assumed to be %d", a.Status)
	case "limit":
		text = fmt.Sprintf("%d by limit %s, again after %s s", a.Status, a.Limit, a.RetryAfter)
	}
	if a.Why != "" && a.By != "limit" {
		text += ": " + a.Why
	}
	if a.CacheStatus != "" {
		text += " (" + a.CacheStatus + ")"
	}
	return text
}

func (e *explained) showRoute(x *explanation) {
	e.about("route")
	if r := x.Route; r == nil {
		e.line("none")
	} else {
		e.line("%s, %s: %s", r.Name, r.At, r.Match)
	}
	for _, n := range x.Near {
		e.line("not %s, %s: %s", n.Name, n.At, n.Why)
	}
}

func (e *explained) showLimit(l *limitOutcome) {
	seconds := func(s float64) string { return time.Duration(s * float64(time.Second)).Round(time.Second).String() }
	name := l.Name
	if l.Shadow {
		name += " (shadow)"
	}
	switch {
	case l.Skipped != "":
		e.line("%s: does not count it: %s", name, l.Skipped)
	case l.Denies != "":
		e.line("%s: refuses it: %s", name, l.Denies)
	case l.InFlight != nil:
		e.line("%s: %d of %d in flight, %s", name, *l.InFlight, l.Burst, l.Bucket)
	case l.Admits:
		e.line("%s: admits it%s, then %d of %d left, %s; %s", name, deciders[l.By], l.Remaining, l.Burst, l.Rate, l.Bucket)
	default:
		e.line("%s: refuses it%s, %d of %d left, admits it in %s; %s", name, deciders[l.By], l.Remaining, l.Burst, seconds(l.Retry), l.Bucket)
	}
}

// deciders say what decides a charge, by the name in metrics.
var deciders = map[string]string{"lease": " by a lease", "known": " without asking", "share": " by this gateway's share"}

func (e *explained) showCache(x *outcome) {
	e.about("cache")
	c := x.Cache
	switch {
	case c == nil:
		e.line("the route is not cached, or the request does not get there")
		e.showSent(x)
		return
	case c.Bypass != "":
		e.line("bypassed: %s", c.Bypass)
	case c.Forward != "":
		e.line("asks the upstream: %s", c.Forward)
	}
	if c.Key != "" {
		e.line("key %s, query %q", c.Key, c.Query)
	}
	for _, url := range c.Elsewhere {
		e.line("stored, but of another host or query: %s", url)
	}
	for _, v := range c.Variants {
		e.line("stored: %s", storedText(&v))
	}
	switch {
	case c.Stores != nil:
		e.line("would store: %s, kept for %s", storedText(c.Stores), secondsText(int64(c.Keeps)))
	case c.NotStored != "":
		e.line("would not store it: %s", c.NotStored)
	}
	e.showSent(x)
}

func storedText(s *cache.Stored) string {
	text := fmt.Sprintf("%d, fresh for %s", s.Status, secondsText(s.Fresh))
	if s.Fresh <= 0 {
		text = fmt.Sprintf("%d, stale for %s", s.Status, secondsText(-s.Fresh))
	}
	if len(s.Vary) > 0 {
		text += ", varies by " + strings.Join(s.Vary, "; ")
	}
	if len(s.Tags) > 0 {
		text += ", tags " + strings.Join(s.Tags, " ")
	}
	return text
}

func (e *explained) showSent(x *outcome) {
	if len(x.Purged) > 0 {
		e.line("would purge: %s", strings.Join(x.Purged, ", "))
	}
	for _, s := range x.Sent {
		e.about("upstream")
		e.line("%s, %s: %s %s", s.Upstream, strings.Join(s.Targets, " or "), s.Method, s.URI)
		e.line("Host: %s", s.Host)
		for _, name := range slices.Sorted(maps.Keys(s.Header)) {
			for _, value := range s.Header[name] {
				e.line("%s: %s", name, value)
			}
		}
	}
}
