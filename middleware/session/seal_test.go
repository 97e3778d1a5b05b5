package session_test

import (
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/jewgo/gateway/middleware/session"
)

const (
	cookieName = "__Host-gw"
	host       = "api.example.org"
)

var start = time.UnixMilli(1_700_000_000_000)

// ringOf makes a keyring of keys that are the given letters, newest first.
func ringOf(t testing.TB, letters string) *session.Keyring {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ring.keys")
	var text strings.Builder
	for _, c := range letters {
		text.WriteString("key-" + string(c) + ":" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat(string(c), 32))) + "\n")
	}
	if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	ring, err := session.LoadKeyring(path)
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

func sampleSeal() session.Seal {
	return session.Seal{ID: session.NewID(), Claims: session.Claims{
		Generation: 3, User: "42", Roles: []string{"editor", "moderator"},
		Issued: start, Idle: start.Add(30 * time.Minute), Absolute: start.Add(720 * time.Hour),
	}}
}

func mustSeal(t testing.TB, s session.Sealer, seal session.Seal) string {
	t.Helper()
	value, err := s.Seal(cookieName, host, seal)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

func TestSealCarriesEverything(t *testing.T) {
	sealer := session.NewSealer(ringOf(t, "a"))
	text := rapid.StringN(0, 40, 200)
	rapid.Check(t, func(rt *rapid.T) {
		ms := func(name string) time.Time {
			return start.Add(time.Duration(rapid.Int64Range(1, 1e12).Draw(rt, name)) * time.Millisecond)
		}
		want := session.Seal{ID: session.NewID(), Claims: session.Claims{
			Generation: rapid.Uint64().Draw(rt, "generation"), User: text.Draw(rt, "user"),
			Roles:  rapid.SliceOfN(text, 0, 5).Draw(rt, "roles"),
			Issued: start, Idle: ms("idle"), Absolute: ms("absolute"),
		}}
		if want.Apart = rapid.Bool().Draw(rt, "apart"); !want.Apart && rapid.Bool().Draw(rt, "cookies") {
			want.Jar.Changed = ms("changed")
			for range rapid.IntRange(0, 3).Draw(rt, "number") {
				c := session.Cookie{Name: text.Draw(rt, "name"), Value: text.Draw(rt, "value"), Path: "/", Through: rapid.Bool().Draw(rt, "through")}
				if rapid.Bool().Draw(rt, "expires") {
					c.Expires = ms("expiry")
				}
				want.Jar.Cookies = append(want.Jar.Cookies, c)
			}
			record := session.Record{Claims: want.Claims, Jar: want.Jar}
			encoded, err := record.Encode()
			if err != nil {
				rt.Fatal(err)
			}
			got, err := session.DecodeRecord(encoded)
			if diff := cmp.Diff(record, got, cmpopts.EquateEmpty()); err != nil || diff != "" {
				rt.Fatalf("%v\n%s", err, diff)
			}
		}
		value, err := sealer.Seal(cookieName, host, want)
		if err != nil {
			rt.Fatal(err)
		}
		got, err := sealer.Open(cookieName, host, value, start)
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); err != nil || diff != "" {
			rt.Fatalf("%v\n%s", err, diff)
		}
	})
}

func TestEveryAlterationIsRefusedAlike(t *testing.T) {
	sealer := session.NewSealer(ringOf(t, "ab"))
	value := mustSeal(t, sealer, sampleSeal())
	refused := func(what, altered string) {
		t.Helper()
		if got, err := sealer.Open(cookieName, host, altered, start); errText(err) != session.ErrInvalid.Error() || got.User != "" {
			t.Errorf("%s: %+v, %v; want exactly ErrInvalid", what, got, err)
		}
	}
	for i := range value {
		for bit := range 8 {
			b := []byte(value)
			b[i] ^= 1 << bit
			refused("a flipped bit of the text", string(b))
		}
		refused("a truncated value", value[:i])
		refused("a value with a line break inside", value[:i]+"\n"+value[i:])
	}
	for _, user := range []string{"1", "12", "123"} { // so that each number of unused bits occurs
		seal := sampleSeal()
		seal.User = user
		text := mustSeal(t, sealer, seal)
		for c := range 256 {
			if last := string([]byte{byte(c)}); last != text[len(text)-1:] {
				refused("another last character", text[:len(text)-1]+last)
			}
		}
	}
	raw, err := base64.RawURLEncoding.DecodeString(value)
	if err != nil {
		t.Fatal(err)
	}
	for i := range raw {
		for bit := range 8 {
			b := append([]byte(nil), raw...)
			b[i] ^= 1 << bit
			refused("a flipped bit of the seal", base64.RawURLEncoding.EncodeToString(b))
		}
	}
	otherKey := append([]byte(nil), raw...)
	copy(otherKey[2:], "key-b")
	refused("a seal said to be of another key", base64.RawURLEncoding.EncodeToString(otherKey))
	refused("an extended value", value+"AAAA")
	refused("a padded value", value+"=")
	refused("two values", value+value)
	refused("a value beyond all bounds", strings.Repeat("A", 500_000))
}

func TestSealIsBoundToItsPlaceTimeAndKey(t *testing.T) {
	seal := sampleSeal()
	made := session.NewSealer(ringOf(t, "a"))
	value := mustSeal(t, made, seal)
	short := seal
	short.Absolute = start.Add(time.Minute)
	for _, tt := range []struct {
		says       string
		sealer     session.Sealer
		name, host string
		value      string
		now        time.Time
		want       error
	}{
		{"it opens where it was made", made, cookieName, host, value, start, nil},
		{"it opens until the idle deadline", made, cookieName, host, value, seal.Idle.Add(-time.Millisecond), nil},
		{"it is over at the idle deadline", made, cookieName, host, value, seal.Idle, session.ErrExpired},
		{"it is over at the absolute deadline", made, cookieName, host, mustSeal(t, made, short), short.Absolute, session.ErrExpired},
		{"it opens after a newer key was put on top", session.NewSealer(ringOf(t, "ba")), cookieName, host, value, start, nil},
		{"it ends with its key", session.NewSealer(ringOf(t, "b")), cookieName, host, value, start, session.ErrInvalid},
		{"it is no other cookie's", made, "gw", host, value, start, session.ErrInvalid},
		{"it is no other host's", made, cookieName, "www.example.org", value, start, session.ErrInvalid},
		{"name and host do not run into each other", made, cookieName + host, "", value, start, session.ErrInvalid},
		{"no value is no session", made, cookieName, host, "", start, session.ErrInvalid},
	} {
		_, err := tt.sealer.Open(tt.name, tt.host, tt.value, tt.now)
		if !errors.Is(err, tt.want) || errors.Is(err, session.ErrExpired) != errors.Is(tt.want, session.ErrExpired) {
			t.Errorf("%s: %v, want %v", tt.says, err, tt.want)
		}
		if tt.want != nil && !errors.Is(err, session.ErrInvalid) {
			t.Errorf("%s: %v is no ErrInvalid", tt.says, err)
		}
	}
}

func TestTheNewestKeySeals(t *testing.T) {
	value := mustSeal(t, session.NewSealer(ringOf(t, "ba")), sampleSeal())
	if _, err := session.NewSealer(ringOf(t, "b")).Open(cookieName, host, value, start); err != nil {
		t.Errorf("the first key does not open it: %v", err)
	}
}

func TestSealsOfOneSessionDiffer(t *testing.T) {
	sealer, seal := session.NewSealer(ringOf(t, "a")), sampleSeal()
	if first, second := mustSeal(t, sealer, seal), mustSeal(t, sealer, seal); first == second {
		t.Error("two seals are equal")
	}
}

func TestACookieStaysUnder4KB(t *testing.T) {
	sealer, seal := session.NewSealer(ringOf(t, "a")), sampleSeal()
	largest := 0
	for n := 0; n < 5000; n += 10 {
		seal.Roles = []string{strings.Repeat("r", n)}
		value, err := sealer.Seal(cookieName, host, seal)
		if err == nil {
			largest = len(cookieName) + 1 + len(value)
			continue
		}
		if !errors.Is(err, session.ErrTooLarge) || value != "" || !strings.Contains(err.Error(), "3900") {
			t.Fatalf("%d bytes of roles: %q, %v", n, value, err)
		}
	}
	if largest < 3800 || largest > 4000 {
		t.Errorf("the largest cookie has %d bytes", largest)
	}
}

// golden is sampleSeal under key-a, with an ID that counts up from 0. As long as it opens, cookies
// survive an update of the gateway.
const golden = "AQVrZXktYcZj5elP4g0yp9imEKCb2rOHDPU0L8SYcFm15f8WQooLRKV0j6fBsTiVxl8-vUz7B9QXGtupsDp7C3SqIUyOhxk4fyokXoudxnT6tcVeVOqU1WoWchUw96_OUuElK2JX1vzHWQ_k0Rpy3TJvtqT6QNjoRhCD"

func TestSealsOfEarlierBuildsOpen(t *testing.T) {
	want := sampleSeal()
	for i := range want.ID {
		want.ID[i] = byte(i)
	}
	got, err := session.NewSealer(ringOf(t, "a")).Open(cookieName, host, golden, start)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
}

func FuzzOpen(f *testing.F) {
	sealer := session.NewSealer(ringOf(f, "a"))
	for _, seed := range []string{"", "A", "AQVrZXktYQ", golden, golden[:40]} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if _, err := sealer.Open(cookieName, host, s, start); (err == nil) != (s == golden) {
			t.Errorf("%q: %v", s, err)
		}
	})
}

func BenchmarkOpenAndSeal(b *testing.B) {
	sealer := session.NewSealer(ringOf(b, "a"))
	value := mustSeal(b, sealer, sampleSeal())
	b.ReportAllocs()
	for b.Loop() {
		seal, err := sealer.Open(cookieName, host, value, start)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := sealer.Seal(cookieName, host, seal); err != nil {
			b.Fatal(err)
		}
	}
}
