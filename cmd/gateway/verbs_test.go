package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jewgo/gateway/internal/demo"
)

func TestVerbs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad.yaml")
	if err := os.WriteFile(bad, []byte("version: 1\nlimits:\n  a: {rate: 5/s, burts: 9}\n  b: {rate: often}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	const good = "../../configs/gateway.yaml"
	for _, tc := range []struct {
		sentence       string
		args           []string
		code           int
		stdout, stderr string // parts of them; "": nothing is printed
	}{
		{"no verb prints help", nil, 0, "Available Commands:", ""},
		{"help is help", []string{"--help"}, 0, "gateway [command]", ""},
		{"each verb has help", []string{"run", "--help"}, 0, "--listen string", ""},
		{"an unknown verb is a usage error", []string{"rnu"}, 2, "", `unknown command "rnu"`},
		{"an unknown flag is a usage error", []string{"run", "--lisen", "x"}, 2, "", "unknown flag: --lisen"},
		{"too many arguments are a usage error", []string{"version", "now"}, 2, "", "unknown command"},
		{"version needs no policy", []string{"version"}, 0, "gateway ", ""},
		{"a valid policy", []string{"validate", "--config", good}, 0, good + ": valid, 56 routes", ""},
		{"a valid policy, as an argument", []string{"validate", good}, 0, good + ": valid", ""},
		{"a valid policy, as JSON", []string{"validate", "--json", good}, 0, `"valid": true`, ""},
		{"every mistake at once", []string{"validate", bad}, 1, "", bad + `:3:18: unknown key "burts" (did you mean "burst"?)` + "\n" + bad + `:4:13: bad rate "often"`},
		{"mistakes as JSON", []string{"validate", "--json", bad}, 1, `"column": 18`, ""},
		{"a file that is not there", []string{"validate", filepath.Join(dir, "none.yaml")}, 2, "", "no such file"},
		{"a policy that is not there is easily made", []string{"run", "--config", filepath.Join(dir, "none.yaml")}, 2, "", "none.yaml: no such file or directory; `gateway init --to http://127.0.0.1:5000` prints one"},
		{"run without a file serves no policy of its own", []string{"run"}, 2, "", "open gateway.yaml: no such file"},
		{"init of a backend that is not there", []string{"init", "--to", "http://127.0.0.1:1"}, 0, "# It did not answer: dial tcp 127.0.0.1:1", "http://127.0.0.1:1 did not answer"},
		{"init wants to know where to", []string{"init"}, 2, "", `--to "": want a URL`},
		{"init wants a target", []string{"init", "--to", "http://u:p@127.0.0.1:1/x"}, 2, "", "scheme, host and port alone, as in http://127.0.0.1:1"},
		{"init wants paths", []string{"init", "--to", "http://127.0.0.1:1", "a"}, 2, "", `path "a": want one that begins with /`},
		{"init wants paths of the backend", []string{"init", "--to", "http://127.0.0.1:1", "http://b/a"}, 2, "", `path "http://b/a": it is not of http://127.0.0.1:1`},
		{"init wants paths that are served", []string{"init", "--to", "http://127.0.0.1:1", "/a//b"}, 1, "", `bad path pattern "/a//b"`},
		{"up wants to know where to", []string{"up"}, 2, "", `--to "": want a URL`},
		{"up wants a URL", []string{"up", "--to", "localhost"}, 2, "", `--to "localhost": want a URL`},
		{"run with a mistake does not start", []string{"run", "--config", bad}, 1, "", `unknown key "burts"`},
		{"nobody to check", []string{"healthcheck", "--admin", "127.0.0.1:1"}, 1, "", "no gateway at 127.0.0.1:1"},
		{"nobody to reload", []string{"reload", "--admin", "127.0.0.1:1"}, 1, "", "no gateway at 127.0.0.1:1"},
		{"completions", []string{"completion", "bash"}, 0, "bash completion", ""},
		{"the schema", []string{"schema"}, 0, `"$schema"`, ""},
	} {
		t.Run(tc.sentence, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			if code := execute(tc.args, &stdout, &stderr); code != tc.code {
				t.Errorf("exit status %d, want %d", code, tc.code)
			}
			for _, out := range []struct{ name, got, want string }{{"stdout", stdout.String(), tc.stdout}, {"stderr", stderr.String(), tc.stderr}} {
				if !strings.Contains(out.got, out.want) || (out.want == "") != (out.got == "") {
					t.Errorf("%s: %q, want %q", out.name, out.got, out.want)
				}
			}
		})
	}
}

func TestValidateJSON(t *testing.T) {
	t.Parallel()
	var stdout, stderr bytes.Buffer
	execute([]string{"validate", "--json", "../../policy/testdata/bad_reference.yaml"}, &stdout, &stderr)
	var got struct {
		File   string
		Valid  bool
		Errors []struct {
			File, Message string
			Line, Column  int
		}
	}
	if err := json.Unmarshal(stdout.Bytes(), &got); err != nil {
		t.Fatalf("%v: %s", err, stdout.String())
	}
	if got.Valid || len(got.Errors) == 0 || got.Errors[0].Line == 0 || got.Errors[0].Message == "" || got.Errors[0].File != got.File {
		t.Errorf("%+v", got)
	}
}

// A valid policy is printed with what its limits come to.
func TestValidateShowsLimits(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "p.yaml")
	if err := os.WriteFile(file, []byte(`
version: 1
limits:
  anonymous: {rate: 120/min, burst: 200, lease: 10, shadow: true}
  failures: {rate: 10/15min, statuses: [401]}
  uploads: {key: [client_ip, host], in_flight: 5}
  users:
    key: session.user
    missing: client_ip
    rate: 100/h
    cost: 10
    tiers: {guest: {rate: 10/h}, admin: {rate: 1000/min}}
    overrides: [{key: "42", rate: 9000/day}]
`), 0o644); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	if code := execute([]string{"validate", file}, &stdout, &stderr); code != 0 {
		t.Fatalf("exit status %d: %s", code, stderr.String())
	}
	want := file + `: valid, 0 routes, 4 limits, 0 upstreams

limit           key             rate      burst  at most
anonymous       client_ip       120/min   200    320 in 1m            lease 10; shadow: not enforced
failures        client_ip       10/15min  10     20 in 15m            counted by status: requests in flight come on top
uploads         client_ip host                   5 at once a gateway
users           session.user    100/h     100    20 in 1h
  admin                         1000/min  1000   200 in 1m
  guest                         10/h      10     2 in 1h
  overrides: 1
`
	if stdout.String() != want {
		t.Errorf("got\n%swant\n%s", stdout.String(), want)
	}

	stdout.Reset()
	execute([]string{"validate", "--json", file}, &stdout, &stderr)
	var got verdict
	if err := json.Unmarshal(stdout.Bytes(), &got); err != nil || len(got.Limits) != 4 {
		t.Fatalf("%v: %s", err, stdout.String())
	}
	users := got.Limits[3]
	if users.Name != "users" || users.Most != 20 || users.Period != "1h" || users.Tiers[0].Name != "admin" || users.Tiers[0].Most != 200 ||
		users.Overrides != 1 || got.Limits[2].InFlight != 5 || got.Limits[2].Rate != "" {
		t.Errorf("%s", stdout.String())
	}
}

func TestSchemaIsTheCommittedOne(t *testing.T) {
	t.Parallel()
	var stdout, stderr bytes.Buffer
	execute([]string{"schema"}, &stdout, &stderr)
	committed, err := os.ReadFile("../../configs/gateway.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(committed, stdout.Bytes()) {
		t.Error("configs/gateway.schema.json is not what `gateway schema` prints: run make schema")
	}
}

// The policies that come with the binary stay valid.
func TestEmbeddedPolicies(t *testing.T) {
	for name, text := range map[string][]byte{"demo.yaml": demo.Policy, "up.yaml": upPolicy} {
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, text, 0o644); err != nil {
			t.Fatal(err)
		}
		t.Setenv("UPSTREAM_URL", "http://127.0.0.1:1")
		var stdout, stderr bytes.Buffer
		if code := execute([]string{"validate", file}, &stdout, &stderr); code != 0 {
			t.Errorf("%s: %s", name, stderr.String())
		}
	}
}
