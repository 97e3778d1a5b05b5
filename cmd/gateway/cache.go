package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/jewgo/gateway/internal/admin"
	"github.com/jewgo/gateway/internal/store/redis"
	"github.com/jewgo/gateway/middleware/cache"
	"github.com/jewgo/gateway/policy"
)

// cacheAdmin implements the admin API's cache.
type cacheAdmin struct {
	cache  *cache.Cache
	remote *remote // nil: none
	live   *policy.Live
}

// cacheView is /v1/cache.
type cacheView struct {
	cache.Overview
	MemoryBound int64          `json:"memory_bound"` // in bytes
	Redis       *responsesView `json:"redis,omitempty"`
}

// responsesView is what the cache has in Redis.
type responsesView struct {
	State     string `json:"state"`
	Responses int64  `json:"responses"`
	Bytes     int64  `json:"bytes"`
	Estimated bool   `json:"estimated"` // from a sample
	Error     string `json:"error,omitempty"`
}

// View implements admin.Cache.
func (a cacheAdmin) View(ctx context.Context, here bool) any {
	s := a.live.Load()
	v := cacheView{Overview: a.cache.Overview(s), MemoryBound: int64(s.Policy.Cache.Memory)}
	if a.remote == nil || here {
		return v
	}
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	seen := a.remote.view(ctx)
	v.Redis = &responsesView{State: seen.Status.State.String(), Error: seen.Error}
	if seen.Info == nil {
		return v
	}
	v.Redis.Responses, v.Redis.Bytes, v.Redis.Estimated = responsesIn(seen.Info)
	return v
}

// responsesIn estimates the responses in a Redis, and their bytes.
func responsesIn(info *redis.Info) (n, bytes int64, estimated bool) {
	k := info.ByKind
	if k == nil { // the gateway's user may not look
		return 0, 0, true
	}
	share := float64(k.Keys) / float64(max(k.Looked, 1))
	return int64(share * float64(k.Responses)), int64(share * float64(k.ResponseBytes)), !k.Complete
}

// Find implements admin.Cache.
func (a cacheAdmin) Find(ctx context.Context, text string, here bool) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, listTime)
	defer cancel()
	found, err := a.cache.Find(ctx, a.live.Load(), text, here)
	if errors.Is(err, cache.ErrSelection) {
		err = adminError{err, admin.ErrBad}
	}
	return found, err
}

func newCache() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cache",
		Short: "See what is stored, and how often it is used",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newCacheShow(), newCacheFind())
	return cmd
}

func newCacheShow() *cobra.Command {
	var c adminClient
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Show hit ratios, memory, the hottest and the largest responses",
		Long: "Show, of one gateway, the share of requests that cost the upstream nothing, by route, in the last minute, hour and\n" +
			"day; what responses take in its memory and in Redis; and those in memory that are used most now, and the largest.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var v cacheView
			if err := c.ask(cmd.Context(), http.MethodGet, "/v1/cache", nil, &v); err != nil {
				return err
			}
			return showCache(cmd.OutOrStdout(), v)
		},
	}
	c.flags(cmd)
	return cmd
}

func showCache(w io.Writer, v cacheView) error {
	t := newTable(w)
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(t, format+"\n", args...) } // Flush reports errors
	if m := v.Memory; m != nil {
		line("memory\t%d responses\t%s of %s", m.Entries, sizeText(m.Bytes), sizeText(v.MemoryBound))
	}
	if r := v.Redis; r != nil && r.Error != "" {
		line("redis\t%s\t%s", r.State, r.Error)
	} else if r != nil {
		about := map[bool]string{true: "about "}[r.Estimated]
		line("redis\t%s%d responses\t%s", about, r.Responses, sizeText(r.Bytes))
	}
	line("\nhits\tlast minute\tlast hour\tlast day")
	for _, r := range v.Routes {
		line("%s\t%s\t%s\t%s", r.Route, ratioText(r.Minute), ratioText(r.Hour), ratioText(r.Day))
	}
	for _, top := range []struct {
		title   string
		entries []cache.Stored
	}{{"hottest", v.Hottest}, {"largest", v.Largest}} {
		line("\n%s\thits\tnow\tsize", top.title)
		for _, e := range top.entries {
			line("%s\t%d\t%d\t%s", e.URL, e.Hits, e.Recent, sizeText(int64(e.Bytes)))
		}
	}
	return t.Flush()
}

func ratioText(r cache.Ratio) string {
	if r.Requests == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f%% of %d", 100*r.Hits, r.Requests)
}

func newCacheFind() *cobra.Command {
	var c adminClient
	cmd := &cobra.Command{
		Use:   "find URL",
		Short: "Show what is stored of a URL, with every query and variant",
		Long: "Show what is stored of a URL, with every query and variant, in the memory of one gateway and in Redis. A path alone\n" +
			"is looked for on all hosts of server.hosts. It looks at every key in Redis, some at a time.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var f cache.FoundURL
			if err := c.ask(cmd.Context(), http.MethodGet, "/v1/cache/entries?url="+url.QueryEscape(args[0]), nil, &f); err != nil {
				return err
			}
			return showFound(cmd.OutOrStdout(), f)
		},
	}
	c.flags(cmd)
	return cmd
}

func showFound(w io.Writer, f cache.FoundURL) error {
	t := newTable(w)
	line := func(cells ...string) { _, _ = fmt.Fprintln(t, strings.Join(cells, "\t")) } // Flush reports errors
	for _, e := range f.Entries {
		line(e.URL)
		line("  status", fmt.Sprint(e.Status))
		if len(e.Vary) > 0 {
			line("  varies by", strings.Join(e.Vary, "; "))
		}
		line("  age", secondsText(e.Age))
		if e.Fresh > 0 {
			line("  fresh for", secondsText(e.Fresh))
		} else {
			line("  stale for", secondsText(-e.Fresh))
		}
		if len(e.Tags) > 0 {
			line("  tags", strings.Join(e.Tags, " "))
		}
		line("  size", sizeText(int64(e.Bytes)))
		line("  in", strings.Join(e.Tiers, " "))
		line("  hits", fmt.Sprintf("%d, now %d", e.Hits, e.Recent))
	}
	switch {
	case f.More:
		line("there are more")
	case len(f.Entries) == 0:
		line("nothing is stored of it")
	}
	if f.Error != "" {
		line("redis was not searched: " + f.Error)
	}
	return t.Flush()
}

// sizeText writes a number of bytes as the policy does.
func sizeText(n int64) string {
	switch {
	case n >= 10<<20:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 10<<10:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d B", n)
}

// secondsText writes a number of seconds as a duration.
func secondsText(n int64) string { return (time.Duration(n) * time.Second).String() }
