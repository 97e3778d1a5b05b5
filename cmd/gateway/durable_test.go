package main

import (
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jewgo/gateway/internal/admin"
	"github.com/jewgo/gateway/internal/journal"
	"github.com/jewgo/gateway/internal/metrics"
	"github.com/jewgo/gateway/internal/testenv"
	"github.com/jewgo/gateway/middleware/cache"
	"github.com/jewgo/gateway/middleware/session"
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
	server := testenv.Redis(t)
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

// What the journal is told of a purge comes back to the cache of the next run.
func TestPurgesComeBackFromTheJournal(t *testing.T) {
	d, err := openDurable(t.TempDir(), metrics.New("test"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	fresh := cache.NewTags(cache.TagsConfig{})
	marks := fresh.Marks([]string{"purged", "left alone"})
	purged := cache.Mark{Slot: marks[0].Slot, Gen: 3}
	if err := (durableTags{d}).Keep(t.Context(), []cache.Mark{purged}, false); err != nil {
		t.Fatal(err)
	}
	restoreTags(fresh, d.journal.Records())
	if fresh.Valid(marks[:1]) || !fresh.Valid(marks[1:]) || fresh.Marks([]string{"purged"})[0] != purged {
		t.Errorf("after a restart the marks are %v, want %v to be purged alone", fresh.Marks([]string{"purged", "left alone"}), purged)
	}
	if c := d.condition(); c.Name != "journal" || c.Level != admin.OK || c.Detail != "ok" {
		t.Errorf("condition %+v", c)
	}
}
