package main

import (
	"bufio"
	"cmp"
	"compress/gzip"
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
	"unicode"

	"github.com/spf13/cobra"

	"github.com/jewgo/gateway/internal/warm"
)

// warming is a command line of `gateway warm`.
type warming struct {
	client          adminClient
	list, site, log string // files or, for site, a URL; "-": standard input
	rate            float64
	atOnce          int
	most            int
	status, stop    bool
	report, asJSON  bool
	selection       warmSelection
}

func newWarm() *cobra.Command {
	var w warming
	cmd := &cobra.Command{
		Use:   "warm [URL...]",
		Short: "Fill the cache, at a bounded rate",
		Long: "Let a running gateway ask itself for URLs, so that their responses are stored: those of the command line, of a list, a\n" +
			"sitemap or an access log, in which the most frequent come first. Without any, those of the policy's warm.\n" +
			"Limits do not count these requests, which come from this machine and without cookies. INT stops the run.\n" +
			"Exit status: 0 if all were asked for and answered without an error, 1 if not, 2 if the command line is wrong.",
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if w.status || w.stop {
				return w.look(cmd, args)
			}
			if err := w.read(cmd, args); err != nil {
				return err
			}
			return w.carryOut(cmd)
		},
	}
	f := cmd.Flags()
	f.StringVar(&w.list, "list", "", "file with a URL on each line; -: standard input")
	f.StringVar(&w.site, "sitemap", "", "file or URL of a sitemap")
	f.StringVar(&w.log, "log", "", "file of an access log: the gateway's own, or in the formats common or combined")
	f.IntVar(&w.most, "most", 10_000, "of an access log, ask for this many")
	f.Float64Var(&w.rate, "rate", policyRate, "the most requests a second")
	f.IntVar(&w.atOnce, "at-once", warmAtOnce, "the most requests at a time")
	f.BoolVar(&w.status, "status", false, "ask for nothing; show how far the last run has got")
	f.BoolVar(&w.stop, "stop", false, "stop the run in progress, and show how far it has got")
	f.BoolVar(&w.report, "report", false, "then show hit ratios, fills and ages by route, and which lifetimes would pay")
	f.BoolVar(&w.asJSON, "json", false, "print the outcome as JSON")
	w.client.flags(cmd)
	return cmd
}

// look shows the last run, and stops it before if it is told so.
func (w *warming) look(cmd *cobra.Command, args []string) error {
	if len(args) > 0 || w.list+w.site+w.log != "" || w.status && w.stop {
		return usage(errors.New("--status and --stop ask for nothing: leave out what to ask for"))
	}
	method := map[bool]string{true: http.MethodDelete, false: http.MethodGet}[w.stop]
	var p warm.Progress
	if err := w.client.ask(cmd.Context(), method, "/v1/warm", nil, &p); err != nil {
		return err
	}
	return w.show(cmd, &p)
}

// read collects the URLs.
func (w *warming) read(cmd *cobra.Command, args []string) error {
	w.selection = warmSelection{URLs: args, Rate: w.rate, AtOnce: w.atOnce}
	if w.rate <= 0 || w.atOnce < 1 || w.most < 1 {
		return usage(errors.New("--rate, --at-once and --most must be positive"))
	}
	for _, arg := range args {
		if !strings.HasPrefix(arg, "/") && !isURL(arg) {
			return usage(fmt.Errorf("%q: want a path such as /api/restaurants?page=1, or an http:// or https:// URL", arg))
		}
	}
	for _, source := range []struct {
		flag, name string
		read       func(io.Reader) ([]string, error)
	}{
		{"list", w.list, warm.List},
		{"sitemap", w.site, func(r io.Reader) ([]string, error) { return w.sitemaps(cmd, r) }},
		{"log", w.log, func(r io.Reader) ([]string, error) {
			urls, err := warm.AccessLog(r)
			return urls[:min(len(urls), w.most)], err
		}},
	} {
		if source.name == "" {
			continue
		}
		text, err := opened(cmd, source.name)
		if err != nil {
			return usage(fmt.Errorf("--%s: %w", source.flag, err))
		}
		urls, err := source.read(text)
		_ = text.Close() // it was read
		if err != nil {
			return usage(fmt.Errorf("--%s %s: %w", source.flag, source.name, err))
		}
		w.selection.URLs = append(w.selection.URLs, urls...)
	}
	if len(w.selection.URLs) > 0 || len(args) > 0 || w.list+w.site+w.log != "" {
		if len(w.selection.URLs) == 0 {
			return usage(errors.New("there is no URL in it"))
		}
		return nil
	}
	s, err := loadPolicy(w.client.config)
	if err != nil {
		return fmt.Errorf("%w; or name URLs, --list, --sitemap or --log", err)
	}
	if w.selection.URLs = s.Policy.Warm; len(w.selection.URLs) == 0 {
		return usage(errors.New("the policy has no warm: name URLs, --list, --sitemap or --log"))
	}
	return nil
}

func isURL(name string) bool {
	return strings.HasPrefix(name, "http://") || strings.HasPrefix(name, "https://")
}

// opened opens a file, a URL or standard input, and unpacks it if it is in gzip. It ends after maxSource bytes.
func opened(cmd *cobra.Command, name string) (io.ReadCloser, error) {
	file, err := openedRaw(cmd, name)
	if err != nil {
		return nil, err
	}
	text := bufio.NewReader(file)
	out := struct {
		io.Reader
		io.Closer
	}{io.LimitReader(text, maxSource), file}
	if magic, _ := text.Peek(2); string(magic) == "\x1f\x8b" {
		unpacked, err := gzip.NewReader(text)
		if err != nil {
			_ = file.Close()
			return nil, err
		}
		out.Reader = io.LimitReader(unpacked, maxSource)
	}
	return out, nil
}

func openedRaw(cmd *cobra.Command, name string) (io.ReadCloser, error) {
	switch {
	case name == "-":
		return io.NopCloser(cmd.InOrStdin()), nil
	case isURL(name):
		req, err := http.NewRequestWithContext(cmd.Context(), http.MethodGet, name, nil)
		if err != nil {
			return nil, err
		}
		res, err := (&http.Client{Timeout: 30 * time.Second}).Do(req)
		if err != nil {
			return nil, err
		}
		if res.StatusCode != http.StatusOK {
			_ = res.Body.Close()
			return nil, fmt.Errorf("%s: %s", name, res.Status)
		}
		return res.Body, nil
	}
	return os.Open(name)
}

// maxSitemaps bounds the sitemaps that one names, maxSource the bytes of a source.
const maxSitemaps, maxSource = 100, 1 << 30

// sitemaps reads a sitemap, or those that an index names.
func (w *warming) sitemaps(cmd *cobra.Command, r io.Reader) ([]string, error) {
	urls, further, err := warm.Sitemap(r)
	if err != nil {
		return nil, err
	}
	if len(further) > maxSitemaps {
		return nil, fmt.Errorf("it names more than %d sitemaps", maxSitemaps)
	}
	for _, name := range further {
		if isURL(w.site) && !isURL(name) {
			return nil, fmt.Errorf("%q: want an http:// or https:// URL", name) // a site names no files of this machine
		}
		text, err := opened(cmd, name)
		if err != nil {
			return nil, err
		}
		more, _, err := warm.Sitemap(text)
		_ = text.Close() // it was read
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if urls = append(urls, more...); len(urls) > warm.MaxURLs {
			return nil, warm.ErrTooMany
		}
	}
	return urls, nil
}

// progressEvery is how often the progress is asked for.
const progressEvery = 200 * time.Millisecond

// carryOut lets the gateway ask for the URLs, and shows how far it has got.
func (w *warming) carryOut(cmd *cobra.Command) error {
	ctx, ignore := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer ignore()
	var p warm.Progress
	if err := w.client.ask(ctx, http.MethodPost, "/v1/warm", w.selection, &p); err != nil {
		return err
	}
	bar := isTerminal(cmd.ErrOrStderr())
	for !p.Ended {
		method := http.MethodGet
		select {
		case <-ctx.Done():
			method = http.MethodDelete
		case <-time.After(progressEvery):
		}
		if err := w.client.ask(cmd.Context(), method, "/v1/warm", nil, &p); err != nil {
			return err
		}
		if bar {
			_, _ = fmt.Fprint(cmd.ErrOrStderr(), "\r"+barText(&p)+"\x1b[K") // a terminal that is gone sees nothing
		}
	}
	if bar {
		_, _ = fmt.Fprintln(cmd.ErrOrStderr())
	}
	if err := w.show(cmd, &p); err != nil {
		return err
	}
	switch {
	case p.Stopped:
		return fmt.Errorf("stopped: %d of %d URLs were asked for", p.Done, p.Total)
	case p.Errors > 0:
		return fmt.Errorf("%d of %d answers were errors", p.Errors, p.Done)
	}
	return nil
}

// barText is a line that shows how far a run has got.
func barText(p *warm.Progress) string {
	const width = 30
	full := width * p.Done / max(p.Total, 1)
	text := fmt.Sprintf("[%s%s] %d of %d, %s hits, %d errors", strings.Repeat("=", full), strings.Repeat(" ", width-full), p.Done, p.Total, share(p.Hits, p.Done), p.Errors)
	if p.Done > 0 && !p.Ended {
		left := time.Duration(p.Seconds / float64(p.Done) * float64(p.Total-p.Done) * float64(time.Second))
		text += ", " + left.Round(time.Second).String() + " left"
	}
	return text
}

// printable leaves out what a terminal would obey: the URLs may be those of a site.
func printable(text string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsPrint(c) {
			return c
		}
		return '?'
	}, text)
}

// show prints what became of a run.
func (w *warming) show(cmd *cobra.Command, p *warm.Progress) error {
	out := cmd.OutOrStdout()
	if w.asJSON {
		return printJSON(out, p)
	}
	t := newTable(out)
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(t, format+"\n", args...) } // Flush reports errors
	rate := ""
	if p.Seconds >= 1 { // else it says little
		rate = fmt.Sprintf(", %.1f/s", float64(p.Done)/p.Seconds)
	}
	line("%d of %d URLs in %.1f s%s", p.Done, p.Total, p.Seconds, rate)
	line("route\trequests\thits\tstored\terrors\tnot stored, since")
	for _, name := range slices.Sorted(maps.Keys(p.Routes)) {
		c := p.Routes[name]
		var why []string
		for _, reason := range slices.Sorted(maps.Keys(c.Why)) {
			why = append(why, fmt.Sprintf("%s %d", reason, c.Why[reason]))
		}
		line("%s\t%d\t%d\t%d\t%d\t%s", cmp.Or(name, "-"), c.Done, c.Hits, c.Stored, c.Errors, cmp.Or(strings.Join(why, ", "), "-"))
	}
	for _, status := range slices.Sorted(maps.Keys(p.First)) {
		line("%s\t%s", status, printable(p.First[status]))
	}
	if w.report {
		var v cacheView
		if err := w.client.ask(cmd.Context(), http.MethodGet, "/v1/cache", nil, &v); err != nil {
			return err
		}
		line("\nroute, last hour\thits of clients\tfills\tstored\tstale\tmedian age\tmedian lifetime")
		for _, r := range v.Routes {
			age, lifetime := "-", "-"
			if r.Stored > 0 {
				age, lifetime = secondsText(r.Age), secondsText(r.Lifetime)
			}
			line("%s\t%s\t%d\t%d\t%d\t%s\t%s", r.Route, ratioText(r.Hour), r.Fills(), r.Stored, r.Stale, age, lifetime)
		}
		for _, r := range v.Routes {
			if advice := r.Advice(); advice != "" {
				line("%s: %s", r.Route, advice)
			}
		}
	}
	return t.Flush()
}
