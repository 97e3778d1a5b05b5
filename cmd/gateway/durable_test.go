package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jewgo/gateway/internal/admin"
	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/internal/failover"
	"github.com/jewgo/gateway/internal/journal"
	"github.com/jewgo/gateway/internal/metrics"
	"github.com/jewgo/gateway/internal/store/memory"
	"github.com/jewgo/gateway/internal/store/redis"
	"github.com/jewgo/gateway/middleware/cache"
	"github.com/jewgo/gateway/middleware/session"
	"github.com/jewgo/gateway/policy"
	"github.com/jewgo/gateway/test/env"
)

// gwCookie is the gateway's own cookie of a new login, without the backend's.
func (g *jewgo) gwCookie(t *testing.T, client string) string {
	t.Helper()
	for pair := range strings.SplitSeq(g.login(client), "; ") {
		if strings.HasPrefix(pair, "gw=") {
			return pair
		}
	}
	t.Fatal("the login made no session")
	return ""
}

// wantProfile asks who a cookie's owner is.
func (g *gatewayProcess) wantProfile(t *testing.T, when, cookie string, status int) {
	t.Helper()
	if a := g.get("/api/v5/auth/profile", "Cookie", cookie); a.StatusCode != status {
		t.Errorf("%s: %s, want %d: %s", when, a.Status, status, a.body)
	}
}

func (g *gatewayProcess) logout(t *testing.T, cookie string) {
	t.Helper()
	if a := g.do("POST", "/api/v5/auth/logout", "", "Cookie", cookie); a.StatusCode != http.StatusOK {
		t.Fatalf("logout: %s %s", a.Status, a.body)
	}
}

func TestEndToEndALogoutOutlivesARestartWithoutRedis(t *testing.T) {
	t.Parallel()
	server := env.Redis(t)
	g := startJewGo(t, server.URL)
	ended, other := g.gwCookie(t, "198.51.100.60"), g.gwCookie(t, "198.51.100.61")
	server.Kill()
	g.wantProfile(t, "before the logout", ended, http.StatusOK)
	g.logout(t, ended)
	for _, end := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		g.signal(end)
		g.wait(20 * time.Second)
		g.gatewayProcess = g.again()
		g.wantProfile(t, fmt.Sprint("the old cookie after ", end), ended, http.StatusUnauthorized)
		g.wantProfile(t, fmt.Sprint("another session after ", end), other, http.StatusOK)
	}
	if a := g.get(g.admin + "/metrics"); !strings.Contains(a.body, "\ngateway_journal_records 1\n") {
		t.Errorf("the journal's metrics are not in:\n%s", a.body)
	}
	server.Restart(true)
	g.readyz(t, "ok")
	g.wantProfile(t, "the old cookie with Redis back and empty", ended, http.StatusUnauthorized)
}

func TestOneDataDirIsForOneProcess(t *testing.T) {
	t.Parallel()
	g, _ := startSmall(t, newSlow(), smallPolicy)
	if a := g.get(g.admin + "/readyz?verbose"); !strings.Contains(a.body, "[+] journal: ok") {
		t.Errorf("readyz:\n%s", a.body)
	}
	second := launch(t, nil, g.args...)
	if code := second.wait(20 * time.Second); code == 0 || !strings.Contains(second.stderr.String(), "the journal's folder is held") {
		t.Errorf("exit status %d:\n%s", code, second.stderr.String())
	}
}

// Records of one subject merge to what two revocations of it mean together.
func TestRevocationsMergeAsRecords(t *testing.T) {
	t.Parallel()
	now := time.Now().Truncate(time.Millisecond)
	early := session.Revocation{Subject: "u:42", Issued: now, Until: now.Add(2 * time.Hour)}
	late := session.Revocation{Subject: "u:42", Issued: now.Add(time.Minute), Until: now.Add(time.Hour)}
	for _, merged := range []journal.Record{sessionRecord(early).Merge(sessionRecord(late)), sessionRecord(late).Merge(sessionRecord(early))} {
		all := revocationsOf([]journal.Record{merged, {Kind: kindPurge, Key: "7"}})
		if len(all) != 1 || all[0].Subject != "u:42" || !all[0].Issued.Equal(late.Issued) || !all[0].Until.Equal(early.Until) {
			t.Errorf("%v, want one with both later times", all)
		}
	}
}

// Two gateways that purge one slot while neither hears of the other give it the
// same generation. The second purge goes for what was filled after the first.
func TestAPurgeCountsAlthoughItsGenerationIsNoNews(t *testing.T) {
	t.Parallel()
	d, err := openDurable(t.TempDir(), metrics.New("test"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	away := failover.New(failover.Config{}) // never probed, so it is Down
	tags := cache.NewTags(cache.TagsConfig{Counters: nobody{}, Switch: away, Journal: durableTags{d}})
	g := &gateway{durable: d, stores: &stores{tags: tags}}
	g.stores.openSessions(d, metrics.New("test"))
	if err := tags.Purge(t.Context(), "t"); err != nil {
		t.Fatal(err)
	}
	own := d.journal.Records()
	filled := tags.Marks([]string{"t"})
	if err := g.apply(t.Context(), own); err != nil || !tags.Valid(filled) {
		t.Fatalf("its own purge, come back from a peer, is taken for another: %v", err)
	}
	other := own[0]
	other.Key += "X" // made by another gateway
	if err := g.apply(t.Context(), []journal.Record{other}); err != nil || tags.Valid(filled) {
		t.Fatalf("what was filled before the other purge is still valid: %v", err)
	}
	filled = tags.Marks([]string{"t"})
	for range 2 {
		if err := g.apply(t.Context(), []journal.Record{other, own[0]}); err != nil || !tags.Valid(filled) {
			t.Fatalf("a purge that comes twice purges twice: %v", err)
		}
	}
	known := other
	known.Value, known.Expires = []byte(purgeKnown), known.Expires.Add(time.Second)
	if err := g.apply(t.Context(), []journal.Record{known}); err != nil || !tags.Valid(filled) {
		t.Fatalf("that Redis knows of a purge purges again: %v", err)
	}
}

// A gateway that is cut off from Redis logs somebody out, and one that is cut off
// from that gateway hears of it all the same: whoever it told tells Redis. So does
// one that finds a logout in a journal which it could not read at its start. What
// is no news is not repeated.
func TestAPeersLogoutReachesRedis(t *testing.T) {
	t.Parallel()
	server := env.Redis(t)
	d, err := openDurable(t.TempDir(), metrics.New("test"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	remote, err := openRemote("redis", server.URL, &policy.Redis{Budget: policy.Duration(10 * time.Second)}, metrics.New("test"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = remote.client.Close() }()
	g := &gateway{durable: d, stores: &stores{redis: remote, tags: cache.NewTags(cache.TagsConfig{})}}
	g.stores.openSessions(d, metrics.New("test"))
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { remote.health.Run(ctx) })
	defer running.Wait()
	defer cancel()
	env.Eventually(t, 20*time.Second, func() error {
		if s := remote.health.Status(); s.State != failover.Up {
			return errors.New(s.State.String())
		}
		return nil
	})

	now := time.Now().Truncate(time.Millisecond)
	there := redis.NewSessions(remote.client, time.Now)
	apply := func(records []journal.Record) error { return g.apply(t.Context(), records) }
	for _, round := range []struct {
		when string
		tell func([]journal.Record) error
		want error
	}{
		{"told", apply, session.ErrRevoked},
		{"told again", apply, session.ErrUnknown},
		{"found late", func(records []journal.Record) error { d.found(records); return nil }, session.ErrRevoked},
	} {
		if out, err := exec.Command("redis-cli", "-u", server.URL, "DEL", "gw:{s:ended}:revoked").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		told := sessionRecord(session.Revocation{Subject: "s:ended", Issued: now, Until: now.Add(time.Hour)})
		if err := round.tell([]journal.Record{told}); err != nil {
			t.Fatal(err)
		}
		if !g.stores.ended("ended", now) || g.stores.ended("other", now) { // the second is a request that asks Redis
			t.Errorf("%s: not in force here", round.when)
		}
		env.Eventually(t, 20*time.Second, func() error {
			if _, err := there.Load(t.Context(), session.Ref{Key: "ended", Issued: now}); !errors.Is(err, round.want) {
				return fmt.Errorf("%s: Redis says %w, want %w", round.when, err, round.want)
			}
			return nil
		})
	}
}

// nobody is a shared store that is never asked.
type nobody struct{ cache.Counters }

// ended reports whether the session with that key, issued then, was revoked.
func (s *stores) ended(key string, issued time.Time) bool {
	ctx := exchange.With(context.Background(), &exchange.Exchange{})
	_, err := s.sessions.Load(ctx, session.Ref{Key: key, Issued: issued, Absolute: issued.Add(time.Hour)})
	return errors.Is(err, session.ErrRevoked)
}

// What is durable stands in memory too, however much it is: a gateway that lives
// by its memory forgets no logout.
func TestNoRevocationOfTheJournalIsForgotten(t *testing.T) {
	t.Parallel()
	d, err := openDurable(t.TempDir(), metrics.New("test"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	now := time.Now().Truncate(time.Millisecond)
	revocations := make([]session.Revocation, 100_000)
	for i := range revocations {
		revocations[i] = session.Revocation{Subject: "s:" + strconv.Itoa(i), Issued: now, Until: now.Add(time.Hour + time.Duration(i)*time.Millisecond)}
	}
	if err := (durableSessions{d}).Keep(t.Context(), revocations, false); err != nil {
		env.Eventually(t, time.Minute, func() error { // the disk was slow
			if s := d.journal.Status(); s.Records != len(revocations) {
				return fmt.Errorf("%d records: %w", s.Records, err)
			}
			return nil
		})
	}
	s := &stores{}
	s.openSessions(d, metrics.New("test"))
	for i, r := range revocations {
		if !s.ended(strconv.Itoa(i), now) {
			t.Fatalf("revocation %d of %d, %v, does not stand after a restart", i, len(revocations), r)
		}
	}
}

// That a revocation had to be dropped is told for as long as it would have stood.
func TestForgottenRevocationsDegrade(t *testing.T) {
	t.Parallel()
	now := time.Now()
	local := memory.NewSessions(memory.SessionsConfig{Revocations: 1, Now: func() time.Time { return now }})
	s := &stores{sessions: session.NewFailover(session.FailoverConfig{Local: local})}
	degraded := func() bool {
		return slices.ContainsFunc(s.conditions(), func(c admin.Condition) bool {
			return c.Name == "sessions" && c.Level == admin.Degraded && strings.Contains(c.Detail, "sessions from before "+now.UTC().Format("2006-"))
		})
	}
	for i, want := range []bool{false, true} {
		err := local.Revoke(t.Context(), []session.Revocation{{Subject: strconv.Itoa(i), Issued: now, Until: now.Add(time.Hour)}})
		if err != nil || degraded() != want {
			t.Errorf("%d revocations where one may stand: %+v, %v", i+1, s.conditions(), err)
		}
	}
	now = now.Add(time.Hour)
	if degraded() {
		t.Errorf("after its end: %+v", s.conditions())
	}
}

// A disk that is known to take nothing slows no request down.
func TestPatienceWithTheDisk(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		state journal.State
		want  time.Duration
	}{{journal.OK, keepWait}, {journal.Full, keepWait}, {journal.Degraded, stuckWait}} {
		if got := patience(c.state, keepWait); got != c.want {
			t.Errorf("%v: %v, want %v", c.state, got, c.want)
		}
	}
	if got := patience(journal.Degraded, settleWait); got != settleWait {
		t.Errorf("what waits for less waits for %v", got)
	}
}

// A disk that cannot be read when the gateway starts, and can later, brings back
// the logouts and purges that are on it.
func TestAJournalThatIsReadLate(t *testing.T) {
	t.Parallel()
	dir, now := t.TempDir(), time.Now().Truncate(time.Millisecond)
	d, err := openDurable(dir, metrics.New("test"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	tags := cache.NewTags(cache.TagsConfig{})
	purged := cache.Mark{Slot: tags.Marks([]string{"t"})[0].Slot, Gen: 3}
	err = errors.Join((durableSessions{d}).Keep(t.Context(), []session.Revocation{{Subject: "s:1", Issued: now, Until: now.Add(time.Hour)}}, false),
		(durableTags{d}).Keep(t.Context(), []cache.Purge{{Mark: purged, Origin: "before"}}))
	if err != nil {
		t.Fatal(err)
	}
	d.close()
	log := filepath.Join(dir, "journal.log")
	if err := errors.Join(os.Rename(log, log+".kept"), os.Mkdir(log, 0o700)); err != nil { // a folder is no log
		t.Fatal(err)
	}
	if d, err = openDurable(dir, metrics.New("test"), slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	defer d.close()
	s := &stores{}
	s.openSessions(d, metrics.New("test"))
	s.openCache(1<<20, d, metrics.New("test"))
	if s.ended("1", now) || d.condition().Level != admin.Degraded {
		t.Fatalf("a log that cannot be read was: %+v", d.condition())
	}
	if err := errors.Join(os.Remove(log), os.Rename(log+".kept", log)); err != nil {
		t.Fatal(err)
	}
	env.Eventually(t, 20*time.Second, func() error {
		if ended, m := s.ended("1", now), s.tags.Marks([]string{"t"})[0]; !ended || m != purged {
			return fmt.Errorf("revoked %v, and %v", ended, m)
		}
		return nil
	})
}

// Whoever finds the token's file finds a token in it, also while it is made.
func TestATokenIsMadeWholeOrNotAtAll(t *testing.T) {
	t.Parallel()
	for range 20 {
		path := filepath.Join(t.TempDir(), "admin.token")
		var all sync.WaitGroup
		tokens := make([]string, 8)
		for i := range tokens {
			all.Go(func() {
				var err error
				if tokens[i], err = loadToken(path); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		slices.Sort(tokens)
		if tokens = slices.Compact(tokens); len(tokens) != 1 || len(tokens[0]) < 20 {
			t.Fatalf("tokens %q", tokens)
		}
		files, err := os.ReadDir(filepath.Dir(path))
		if err != nil || len(files) != 1 {
			t.Fatalf("left behind: %v, %v", files, err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Fatalf("mode %v, %v", info.Mode(), err)
		}
		if err := os.Chmod(path, 0o604); err != nil {
			t.Fatal(err)
		}
		if _, err := loadToken(path); err == nil || !strings.Contains(err.Error(), "has mode 0604: only its owner") {
			t.Fatalf("a token that others may read: %v", err)
		}
	}
}

// What the journal is told of a purge comes back to the cache of the next run.
func TestPurgesComeBackFromTheJournal(t *testing.T) {
	t.Parallel()
	d, err := openDurable(t.TempDir(), metrics.New("test"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	fresh := cache.NewTags(cache.TagsConfig{})
	marks := fresh.Marks([]string{"purged", "left alone"})
	purged := cache.Mark{Slot: marks[0].Slot, Gen: 3}
	if err := (durableTags{d}).Keep(t.Context(), []cache.Purge{{Mark: purged, Origin: "before"}}); err != nil {
		t.Fatal(err)
	}
	fresh.Restore(purgesOf(d.journal.Records()))
	if fresh.Valid(marks[:1]) || !fresh.Valid(marks[1:]) || fresh.Marks([]string{"purged"})[0] != purged {
		t.Errorf("after a restart the marks are %v, want %v to be purged alone", fresh.Marks([]string{"purged", "left alone"}), purged)
	}
	if c := d.condition(); c.Name != "journal" || c.Level != admin.OK || c.Detail != "ok" {
		t.Errorf("condition %+v", c)
	}
}
