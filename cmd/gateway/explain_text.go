package main

import (
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/jewgo/gateway/middleware/cache"
)

// explained writes an explanation as a table: a topic in the first column, a fact in each line.
type explained struct {
	t     *table
	topic string
}

func (e *explained) about(topic string) { e.topic = topic }

func (e *explained) line(format string, args ...any) {
	_, _ = fmt.Fprintf(e.t, "%s\t%s\n", e.topic, fmt.Sprintf(format, args...)) // Flush reports errors
	e.topic = ""
}

func showExplanation(w io.Writer, x *explanation, assumedDown bool) error {
	e := &explained{t: newTable(w)}
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
		e.about(redis.Name)
		if assumedDown {
			e.line("assumed to be down")
		} else {
			e.line("%s since %s", redis.State, redis.Since.UTC().Format(time.RFC3339))
		}
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
		e.line("%s", sessionText(&s))
	}
	for i := range x.Limits {
		e.about("limit")
		e.showLimit(&x.Limits[i])
	}
	if x.Route != nil {
		e.showCache(reached, x.Route.Cached)
		e.showSent(reached)
	}
	return e.t.Flush()
}

func answerText(a *answerView) string {
	text := fmt.Sprintf("%d from the %s", a.Status, a.By)
	switch {
	case a.By == "upstream":
		text = fmt.Sprintf("the upstream's, assumed to be %d", a.Status)
	case a.By == "limit" && a.RetryAfter != "":
		text = fmt.Sprintf("%d by limit %s, again after %s s", a.Status, a.Limit, a.RetryAfter)
	case a.By == "limit":
		text = fmt.Sprintf("%d by limit %s", a.Status, a.Limit)
	}
	if a.Why != "" && (a.By != "limit" || a.RetryAfter == "") {
		text += ": " + a.Why
	}
	if a.CacheStatus != "" {
		text += " (" + a.CacheStatus + ")"
	}
	return text
}

func sessionText(s *sessionOutcome) string {
	parts := []string{s.State}
	for _, f := range []struct{ name, value string }{{"ID", s.ID}, {"user", s.User}, {"roles", strings.Join(s.Roles, " ")}} {
		if f.value != "" {
			parts = append(parts, f.name+" "+f.value)
		}
	}
	return strings.Join(parts, ", ")
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

// deciders say what decides a charge, by the name in metrics.
var deciders = map[string]string{"lease": " by a lease", "known": ", as is known here", "share": " by this gateway's share"}

func (e *explained) showLimit(l *limitOutcome) {
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
		if l.Refunds {
			e.line("  and gives that back: it does not count this status")
		}
	default:
		wait := time.Duration(math.Ceil(l.Retry)) * time.Second
		e.line("%s: refuses it%s, %d of %d left, admits it in %s; %s", name, deciders[l.By], l.Remaining, l.Burst, wait, l.Bucket)
	}
}

// forwards say why the upstream is asked, by the terms of RFC 9211, 2.2.
var forwards = map[string]string{
	"uri-miss":  "nothing is stored under its key",
	"vary-miss": "only other variants are stored",
	"stale":     "what is stored is no longer fresh",
	"partial":   "a part of it is stored",
	"request":   "the request wants no stored response",
	"method":    "its method",
}

func (e *explained) showCache(x *outcome, cached bool) {
	e.about("cache")
	c := x.Cache
	switch {
	case c == nil && cached:
		e.line("the request does not get there")
	case c == nil:
		e.line("the route is not cached")
	}
	if len(x.Purged) > 0 {
		e.line("would purge the tags %s", strings.Join(x.Purged, ", "))
	}
	if c == nil {
		return
	}
	asks := "asks the upstream"
	if x.Answer.By == "cache" {
		asks = "asks the upstream in the background"
	}
	switch {
	case c.Bypass != "":
		e.line("bypassed: %s", c.Bypass)
	case c.Forward != "":
		e.line("%s: %s (%s)", asks, forwards[c.Forward], c.Forward)
	}
	if c.Key != "" {
		e.line("key %s, query %q", c.Key, c.Query)
	}
	for _, url := range c.Elsewhere {
		e.line("stored under another key: %s", url)
	}
	for _, v := range c.Variants {
		e.line("stored: %s, in %s", storedText(&v), strings.Join(v.Tiers, " "))
	}
	switch {
	case c.Stores != nil:
		e.line("would store: %s, kept for %s", storedText(c.Stores), secondsText(int64(c.Keeps)))
	case c.NotStored != "":
		e.line("would not store it: %s", c.NotStored)
	}
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
	for _, s := range x.Sent {
		e.about("upstream")
		down := ""
		if s.Down {
			down = " (no target is healthy)"
		}
		e.line("%s, %s%s: %s %s", s.Upstream, strings.Join(s.Targets, " or "), down, s.Method, s.URI)
		e.line("Host: %s", s.Host)
		for _, name := range slices.Sorted(maps.Keys(s.Header)) {
			for _, value := range s.Header[name] {
				e.line("%s: %s", name, value)
			}
		}
	}
}
