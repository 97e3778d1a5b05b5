package warm_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jewgo/gateway/internal/warm"
)

func TestList(t *testing.T) {
	got, err := warm.List(strings.NewReader("# pages\n/a\n\n  /b?c=1  \r\nhttp://h/d"))
	if want := []string{"/a", "/b?c=1", "http://h/d"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q %v", got, err)
	}
	if _, err := warm.List(strings.NewReader(strings.Repeat("/a\n", warm.MaxURLs+1))); !errors.Is(err, warm.ErrTooMany) {
		t.Errorf("too many: %v", err)
	}
	if _, err := warm.List(strings.NewReader(strings.Repeat("a", 1<<20))); err == nil {
		t.Error("a line of a megabyte is read")
	}
}

func TestSitemap(t *testing.T) {
	urls, further, err := warm.Sitemap(strings.NewReader(`<?xml version="1.0"?>
		<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">
		<url><loc> https://jewgo.app/a?x=1&amp;y=2 </loc><lastmod>2026-01-01</lastmod></url><url><loc>https://jewgo.app/b</loc></url></urlset>`))
	if want := []string{"https://jewgo.app/a?x=1&y=2", "https://jewgo.app/b"}; err != nil || !slices.Equal(urls, want) || len(further) > 0 {
		t.Errorf("%q %q %v", urls, further, err)
	}
	urls, further, err = warm.Sitemap(strings.NewReader(`<sitemapindex><sitemap><loc>https://jewgo.app/s1.xml</loc></sitemap></sitemapindex>`))
	if err != nil || len(urls) > 0 || !slices.Equal(further, []string{"https://jewgo.app/s1.xml"}) {
		t.Errorf("%q %q %v", urls, further, err)
	}
	for _, text := range []string{"", "<html></html>", "{}", "<urlset><url>"} {
		if _, _, err := warm.Sitemap(strings.NewReader(text)); err == nil {
			t.Errorf("%q is a sitemap", text)
		}
	}
}

func TestAccessLog(t *testing.T) {
	got, err := warm.AccessLog(strings.NewReader(`
{"time":"x","msg":"request","method":"GET","host":"api.jewgo.app","uri":"/b","status":200}
{"time":"x","msg":"request","method":"GET","host":"api.jewgo.app","uri":"/b","status":304}
{"time":"x","msg":"request","method":"GET","host":"api.jewgo.app","uri":"/a","status":200}
203.0.113.7 - - [01/Dec/2026:10:00:00 +0000] "GET /a?x=1 HTTP/1.1" 200 12 "-" "curl"
203.0.113.7 - - [01/Dec/2026:10:00:00 +0000] "GET /a?x=1 HTTP/2.0" 200 12
203.0.113.7 - - [01/Dec/2026:10:00:00 +0000] "POST /a HTTP/1.1" 200 12
127.0.0.1 - - [01/Dec/2026:10:00:00 +0000] "GET /warmed HTTP/1.1" 200 12 "-" "gateway-warm"
{"time":"x","msg":"request","method":"GET","host":"api.jewgo.app","uri":"/warmed","status":200,"user_agent":"gateway-warm"}
203.0.113.7 - - [01/Dec/2026:10:00:00 +0000] "GET /gone HTTP/1.1" 404 12
{"msg":"redis is in use"}
` + strings.Repeat("a", 100<<10) + "\nnothing"))
	if want := []string{"//api.jewgo.app/b", "/a?x=1", "//api.jewgo.app/a"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q %v", got, err)
	}
	for _, text := range []string{"", "nothing\n", `{"msg":"serving"}`} {
		if _, err := warm.AccessLog(strings.NewReader(text)); err == nil {
			t.Errorf("%q is an access log", text)
		}
	}
}

// urls are n different ones.
func urls(n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprint("/", i))
	}
	return all
}

// The rate holds, whatever a request takes, as long as there are turns for it.
func TestRate(t *testing.T) {
	for _, c := range []struct {
		says   string
		takes  time.Duration
		atOnce int
		want   time.Duration
	}{
		{"quick requests", 0, 8, 25 * time.Second},
		{"slow ones, side by side", 30 * time.Millisecond, 8, 25 * time.Second},
		{"as many as may be in flight", time.Second, 8, 625 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			var mu sync.Mutex
			now, most := 0, 0
			r := warm.New(urls(5000), warm.Config{Rate: 200, AtOnce: c.atOnce, Ask: func(string) warm.Outcome {
				mu.Lock()
				now++
				most = max(most, now)
				mu.Unlock()
				time.Sleep(c.takes)
				mu.Lock()
				now--
				mu.Unlock()
				return warm.Outcome{Status: 200}
			}})
			began := time.Now()
			r.Run(t.Context())
			if took := time.Since(began); took < c.want-time.Second || took > c.want+time.Second {
				t.Errorf("%s: %v, want %v", c.says, took, c.want)
			}
			if p := r.Progress(); p.Done != 5000 || !p.Ended || p.Stopped || most > c.atOnce {
				t.Errorf("%s: %+v, %d at once", c.says, p, most)
			}
		})
	}
}

// After a pause a run does not make up for all of it at once.
func TestAPauseIsNotMadeUpFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var at []time.Time
		r := warm.New(urls(400), warm.Config{Rate: 100, AtOnce: 1, Ask: func(url string) warm.Outcome {
			mu.Lock()
			at = append(at, time.Now())
			mu.Unlock()
			if url == "/100" {
				time.Sleep(time.Minute)
			}
			return warm.Outcome{Status: 200}
		}})
		r.Run(t.Context())
		within := 0 // the first second after the pause
		for _, when := range at[101:] {
			if when.Before(at[101].Add(time.Second)) {
				within++
			}
		}
		if within > 210 {
			t.Errorf("%d requests in the second after the pause, at 100/s", within)
		}
	})
}

func TestCountsAndStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		outcomes := []warm.Outcome{
			{Route: "list", Cache: "hit", Status: 200},
			{Route: "list", Cache: "miss", Stored: true, Status: 200},
			{Route: "item", Cache: "miss", Status: 200},
			{Route: "item", Cache: "stale", Status: 200},
			{Status: 404},
		}
		r := warm.New(urls(1000), warm.Config{Rate: 1000, AtOnce: 2, Ask: func(url string) warm.Outcome {
			var n int
			_, _ = fmt.Sscanf(url, "/%d", &n)
			if n == 499 {
				stop()
			}
			time.Sleep(time.Millisecond)
			return outcomes[n%len(outcomes)]
		}})
		if p := r.Progress(); p.Done != 0 || p.Total != 1000 || p.Ended {
			t.Errorf("before: %+v", p)
		}
		r.Run(ctx)
		p := r.Progress()
		if p.Done != 500 || !p.Ended || !p.Stopped || p.Hits != 200 || p.Stored != 100 || p.Errors != 100 || p.First["404"] != "/4" {
			t.Errorf("%+v", p)
		}
		if list, none := p.Routes["list"], p.Routes[""]; list.Done != 200 || list.Hits != 100 || list.Cache["miss"] != 100 || none.Errors != 100 {
			t.Errorf("%+v", p.Routes)
		}
	})
}
