package policy

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jewgo/gateway/policy/yamlfile"
)

var update = flag.Bool("update", false, "rewrite the expected messages and what is generated instead of comparing")

// gatewayFile is the policy that the repository ships.
const gatewayFile = "../configs/gateway.yaml"

// empty is an environment without variables.
func empty(string) string { return "" }

// environment answers from a map.
func environment(vars map[string]string) func(string) string {
	return func(name string) string { return vars[name] }
}

func files(t testing.TB, pattern string) []string {
	t.Helper()
	list, err := filepath.Glob(pattern)
	if err != nil || len(list) == 0 {
		t.Fatalf("no files %s: %v", pattern, err)
	}
	return list
}

func mustParse(t testing.TB, text string, vars map[string]string) *Snapshot {
	t.Helper()
	s, err := Parse("p.yaml", []byte(text), environment(vars))
	if err != nil {
		t.Fatalf("%v\nin:\n%s", err, text)
	}
	return s
}

// parseErrors gives the messages for a policy that must not compile.
func parseErrors(t testing.TB, text string, vars map[string]string) string {
	t.Helper()
	s, err := Parse("p.yaml", []byte(text), environment(vars))
	var list Errors
	if s != nil || !errors.As(err, &list) {
		t.Fatalf("got %v, %v, want Errors, for:\n%s", s, err, text)
	}
	return list.Error()
}

func TestGoodPoliciesLoad(t *testing.T) {
	for _, file := range append(files(t, "testdata/good_*.yaml"), gatewayFile) {
		if _, err := Load(file, empty); err != nil {
			t.Errorf("%s must load:\n%v", file, err)
		}
	}
}

// TestBadPoliciesSayWhy compares each testdata/bad_x.yaml with bad_x.txt: every
// message, in order, with its place.
func TestBadPoliciesSayWhy(t *testing.T) {
	for _, file := range files(t, "testdata/bad_*.yaml") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			s, err := Load(file, empty)
			if err == nil {
				t.Fatalf("loaded, with %d routes", len(s.Routes))
			}
			got := err.Error() + "\n"
			expected := strings.TrimSuffix(file, ".yaml") + ".txt"
			if *update {
				if err := os.WriteFile(expected, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(expected)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("messages differ (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLoadOfAMissingFileIsNotAMistakeInIt(t *testing.T) {
	_, err := Load(filepath.Join(t.TempDir(), "absent.yaml"), empty)
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want fs.ErrNotExist", err)
	}
	if list := (Errors{}); errors.As(err, &list) {
		t.Errorf("got Errors %v", list)
	}
}

func TestErrorsAsJSON(t *testing.T) {
	_, err := Parse("configs/gateway.yaml", []byte("version: 1\nlog: {acess: on}\n"), nil)
	got, jsonErr := json.Marshal(err)
	if jsonErr != nil {
		t.Fatal(jsonErr)
	}
	want := `[{"file":"configs/gateway.yaml","line":2,"column":7,"message":"unknown key \"acess\" (did you mean \"access\"?)"}]`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got, want := err.Error(), `configs/gateway.yaml:2:7: unknown key "acess" (did you mean "access"?)`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestManyErrorsAreBounded(t *testing.T) {
	text := "version: 1\nroutes:\n" + strings.Repeat("  - {nam: a, match: {path: /a}, deny: 404}\n", 500)
	got := strings.Split(parseErrors(t, text, nil), "\n")
	if len(got) != yamlfile.MaxErrors+1 || !strings.HasSuffix(got[yamlfile.MaxErrors], "and 400 more errors") {
		t.Errorf("%d lines, the last: %s", len(got), got[len(got)-1])
	}
}

func TestHostileFilesAreRefused(t *testing.T) {
	deep := strings.Repeat("- ", 5000)
	long := "/" + strings.Repeat("x/", 100_000)
	for what, text := range map[string]string{
		"deep flow":         strings.Repeat("[", 500_000),
		"deep block":        deep + "a",
		"a huge file":       strings.Repeat("# padding\n", 200_000) + "version: 1",
		"a huge list":       "version: 1\ncors: {methods: [" + strings.Repeat("GET,", 200_000) + "]}",
		"huge references":   "version: 1\nlimits: &l {a: {rate: 1/s}}\nroutes: [" + strings.Repeat("{name: a, match: {path: /a}, limits: [b, c, d]},", 900) + "]",
		"a long pattern":    "version: 1\nroutes: [&r {name: a, match: {path: " + long + "}, deny: 404}" + strings.Repeat(", *r", 999) + "]",
		"itself, merged":    "version: 1\nlog: &l {<<: *l}\n<<: &m [*m, *m]",
		"doubling merges":   "version: 1\nlog: {<<: [&a [&b [&c [&d [{zz: 1}, {zz: 1}], *d, *d], *c, *c], *b, *b], *a, *a, *a]}",
		"itself, as a list": "version: 1\nroutes: &r [*r, *r]",
	} {
		if got := parseErrors(t, text, nil); got == "" || len(got) > 100_000 {
			t.Errorf("%s: %d bytes of messages", what, len(got))
		}
	}
}

func TestDefaults(t *testing.T) {
	p := mustParse(t, `
version: 1
upstreams: {app: {targets: ["http://127.0.0.1:5000"]}}
limits: {api: {rate: 10/min}, user: {rate: 10/min, key: [session.user, "header:x-a"]}}
routes: [{name: a, match: {path: /a}, upstream: app, cache: {}}]
`, nil).Policy
	folder, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	want := &Policy{
		Version: 1,
		Server: Server{
			Listen: StringList{":8080"}, SocketMode: 0o660, Admin: "127.0.0.1:9901", DataDir: filepath.Join(folder, "data"),
			Timeouts: Timeouts{
				ReadHeader: Duration(3 * time.Second), Progress: Duration(30 * time.Second),
				UploadGrace: Duration(30 * time.Second), Idle: Duration(75 * time.Second), Drain: Duration(20 * time.Second),
			},
			MaxHeader: 32 * 1024, MaxConnectionsPerClient: 512, Paths: "strict", Timing: "off", Trace: Trace{Sampled: 1}, MaxTarget: 4000, MaxFields: 80, MaxField: 8000, MaxBody: 10 * 1024 * 1024, MinUploadRate: 1000,
		},
		Log:   Log{Access: "on", Format: "json", Redact: Redact{Defaults: true}},
		Redis: Redis{Budget: Duration(50 * time.Millisecond)},
		Upstreams: map[string]Upstream{"app": {
			Targets: []string{"http://127.0.0.1:5000"}, Balance: "p2c", Timeout: Duration(30 * time.Second), Idle: Duration(60 * time.Second), Fills: 32,
			Buffer:      1 << 20,
			Concurrency: Concurrency{Min: 64, Max: 1024, Wait: Duration(time.Second)},
			Retries:     Retries{Attempts: 2, Budget: 0.2},
			Health:      Health{Interval: Duration(5 * time.Second), Timeout: Duration(time.Second), UnhealthyAfter: 3},
		}},
		RateLimit: RateLimit{Keys: 262_144, Headers: RateLimitHeaders{IETF: "draft-10", Legacy: true}},
		Limits: map[string]LimitDef{
			"api": {
				Key: StringList{"client_ip"}, When: "always", Missing: "client_ip", Rate: Rate{10, time.Minute},
				Burst: 10, IPv6Prefix: 64,
			},
			"user": {
				Key: StringList{"session.user", "header:x-a"}, When: "always", Missing: "skip", Rate: Rate{10, time.Minute},
				Burst: 10, IPv6Prefix: 64,
			},
		},
		Session: Session{
			Cookie:   Cookie{Name: "__Host-gw", SameSite: "lax", Secure: true},
			KeysFile: filepath.Join(folder, "data", "session.keys"),
			Idle:     Duration(30 * time.Minute), Absolute: Duration(720 * time.Hour),
			Identity: Identity{Header: "X-Gw-Identity", KeysFile: filepath.Join(folder, "data", "identity.keys"), TTL: Duration(time.Minute)},
		},
		Cache: Cache{Memory: 256 * 1024 * 1024, MaxObject: 8 * 1024 * 1024, Keep: Duration(time.Hour)},
		CORS: CORS{
			Methods: StringList{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"},
			MaxAge:  Duration(10 * time.Minute),
		},
		Routes: []RouteDef{{
			Name: "a", Match: MatchDef{Path: "/a"}, Upstream: "app", Session: "off", Cache: &CacheDef{Mode: "managed", Encode: true, Query: QueryDef{Sort: true}},
		}},
	}
	if diff := cmp.Diff(want, p); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// A most that is below the least by default lowers it.
func TestConcurrencyMaxAlone(t *testing.T) {
	s := mustParse(t, "version: 1\nupstreams: {app: {targets: [\"http://127.0.0.1:1\"], concurrency: {max: 10}}}", nil)
	if got := s.Policy.Upstreams["app"].Concurrency; got.Min != 10 || got.Max != 10 {
		t.Errorf("%+v", got)
	}
}

func TestRelativePathsStartAtTheFilesFolder(t *testing.T) {
	text := `
version: 1
server: {data_dir: state, admin_token_file: ../token, listen: "unix:gw.sock", admin: "unix:/run/gw.sock"}
session: {keys_file: /etc/keys, identity: {keys_file: "${KEYS:-id.keys}"}}
`
	s, err := Parse("/etc/gateway/policy.yaml", []byte(text), empty)
	if err != nil {
		t.Fatal(err)
	}
	p := s.Policy
	for got, want := range map[string]string{
		p.Server.DataDir:            "/etc/gateway/state",
		p.Server.AdminTokenFile:     "/etc/token",
		p.Server.Listen[0]:          "unix:/etc/gateway/gw.sock",
		p.Server.Admin:              "unix:/run/gw.sock",
		p.Session.KeysFile:          "/etc/keys",
		p.Session.Identity.KeysFile: "/etc/gateway/id.keys",
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if p := mustParse(t, "version: 1", nil).Policy; !filepath.IsAbs(p.Server.DataDir) {
		t.Errorf("data_dir %s of a file named relatively is not absolute", p.Server.DataDir)
	}
}

func TestBlockAndFlowStyleAreTheSame(t *testing.T) {
	block := mustParse(t, `
version: 1
upstreams:
  app:
    targets:
      - http://a
limits:
  api:
    key:
      - client_ip
    rate: 10/min
routes:
  - name: a
    match:
      methods:
        - GET
      path: /a/{id}
    upstream: app
    limits:
      - api
`, nil)
	flow := mustParse(t, `{version: 1, upstreams: {app: {targets: ["http://a"]}}, limits: {api: {key: client_ip, rate: 10/min}},
  routes: [{name: a, match: {methods: GET, path: "/a/{id}"}, upstream: app, limits: api}]}`, nil)
	if diff := cmp.Diff(block.Policy, flow.Policy); diff != "" {
		t.Errorf("-block +flow:\n%s", diff)
	}
}

func TestMergeKeys(t *testing.T) {
	s, err := Load("testdata/good_anchors.yaml", empty)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Policy.Upstreams["other"].Timeout.Std(); got != 9*time.Second {
		t.Errorf("own key: timeout %v, want 9s", got)
	}
	if got := s.Policy.Upstreams["other"].Targets; len(got) != 1 {
		t.Errorf("merged key: targets %v", got)
	}
	c := s.Routes[2].Cache
	if c.TTL != 10*time.Second || c.StaleIfError != time.Hour || len(c.Tags) != 1 || c.Tags[0].Text != "c" {
		t.Errorf("the first of two merged mappings and the own key win: %+v", c)
	}
}

func TestScalars(t *testing.T) {
	s, err := Load("testdata/good_scalars.yaml", empty)
	if err != nil {
		t.Fatal(err)
	}
	p := s.Policy
	got := fmt.Sprintln(p.Log.Access, p.Server.MaxBody, p.Server.Hosts, p.Server.TrustedProxies, p.Redis.Replicas,
		p.Session.Cookie.Name, p.Session.Cookie.Secure, p.Session.Idle.Std(), p.Limits["one"].Cost[""], p.Server.Admin == "", s.Routes[0].Host)
	want := "off 1048576 [::1 api.example.org] [10.0.0.0/8 ::1/128] 3 gw false 168h0m0s 2 true api.example.org\n"
	if got != want {
		t.Errorf("got  %swant %s", got, want)
	}
}

func TestDigestIdentifiesTheFile(t *testing.T) {
	a, b := mustParse(t, "version: 1", nil), mustParse(t, "version: 1 # changed", nil)
	if a.Digest == b.Digest || len(a.Digest) != 12 {
		t.Errorf("digests %q and %q", a.Digest, b.Digest)
	}
}

func FuzzParse(f *testing.F) {
	for _, file := range append(files(f, "testdata/*.yaml"), gatewayFile) {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		if len(data) < 8<<10 {
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := Parse("p.yaml", data, environment(map[string]string{"COST": "3", "COOKIE": "a: b", "UNSET_B": "{"}))
		if err == nil {
			s.Match(&View{Method: "GET", Host: "localhost", Path: "/a/b"})
			s.Allowed(&View{Method: "GET", Host: "localhost", Path: "/a/b"})
			for _, l := range s.Limits {
				decideAll(t, l)
			}
			return
		}
		var list Errors
		if !errors.As(err, &list) || len(list) == 0 || len(list) > yamlfile.MaxErrors+1 {
			t.Fatalf("not a list of errors: %v", err)
		}
		for _, e := range list {
			if e.File != "p.yaml" || e.Message == "" || (e.Line == 0) != (e.Column == 0) {
				t.Errorf("an error without a place or message: %#v", e)
			}
		}
	})
}
