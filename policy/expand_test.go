package policy

import (
	"strings"
	"testing"
)

func TestExpand(t *testing.T) {
	vars := environment(map[string]string{"HOST": "redis.local", "EMPTY": "", "FILE": "p \r\n", "LINE": "\r\n", "TRICK": "${HOST}}\n- a: b"})
	for _, c := range []struct{ what, in, want, err string }{
		{"no variable", "plain $5 $HOST {x}", "plain $5 $HOST {x}", ""},
		{"a variable within text", "redis://${HOST}:6379", "redis://redis.local:6379", ""},
		{"two variables", "${HOST}-${HOST}", "redis.local-redis.local", ""},
		{"a default that is not needed", "${HOST:-x}", "redis.local", ""},
		{"a default for an unset variable", "${NONE:-http://127.0.0.1:5000}", "http://127.0.0.1:5000", ""},
		{"an empty variable counts as unset", "${EMPTY:-x}", "x", ""},
		{"line ends of a variable are lost, spaces are not", "${FILE}:${FILE}", "p :p ", ""},
		{"a variable of line ends is empty", "${LINE:-x}", "x", ""},
		{"an empty default", "a${NONE:-}b", "ab", ""},
		{"a default may hold :- again", "${NONE:-a:-b}", "a:-b", ""},
		{"an escaped variable", "$${HOST} ${HOST}", "${HOST} redis.local", ""},
		{"a dollar before an escape", "$$${HOST}", "$${HOST}", ""},
		{"a value is not looked at again", "${TRICK}", "${HOST}}\n- a: b", ""},
		{"unset without a default", "${NONE}", "", "environment variable NONE is not set"},
		{"empty without a default", "${EMPTY}", "", "environment variable EMPTY is not set"},
		{"no closing brace", "a${HOST", "", `"${" without "}"`},
		{"no name", "${:-x}", "", `bad variable ""`},
		{"a bad name", "${a-b}", "", `bad variable "a-b"`},
		{"a nested default", "${NONE:-${HOST}}", "", "the default of NONE holds a variable"},
	} {
		got, _, err := expand(c.in, vars)
		if c.err != "" {
			if err == nil || !strings.HasPrefix(err.Error(), c.err) {
				t.Errorf("%s: expand(%q) = %q, %v; want error %q", c.what, c.in, got, err, c.err)
			}
			continue
		}
		if err != nil || got != c.want {
			t.Errorf("%s: expand(%q) = %q, %v; want %q", c.what, c.in, got, err, c.want)
		}
	}
}

func TestExpandedValuesStayValues(t *testing.T) {
	vars := map[string]string{
		"COOKIE": "gw", "SECURE": "false", "ORIGIN": "https://a.example", "COST": "2", "TTL": "90s",
		"KEY": "access", "TRICK": "json, access: off", "LIST": "[a, b]",
	}
	p := mustParse(t, `
version: 1
session: {cookie: {name: "${COOKIE}", secure: "${SECURE}"}, idle: "${TTL}", keys_file: "${LIST}"}
limits: {a: {rate: 10/min, cost: "${COST}"}}
cors: {origins: ["${ORIGIN}", "${NONE:-}"], headers: "${NONE:-}", methods: "${NONE:-}"}
`, vars).Policy
	if p.Session.Cookie.Name != "gw" || p.Session.Cookie.Secure || p.Session.Idle.Std().Seconds() != 90 || p.Limits["a"].Cost[""] != 2 {
		t.Errorf("variables in typed values: %+v %+v", p.Session, p.Limits)
	}
	if !strings.HasSuffix(p.Session.KeysFile, "[a, b]") {
		t.Errorf("a list in a variable is text, got %q", p.Session.KeysFile)
	}
	if len(p.CORS.Origins) != 1 || len(p.CORS.Headers) != 0 || len(p.CORS.Methods) != 6 {
		t.Errorf("an empty item is none, an empty list is the default: %+v", p.CORS)
	}

	got := parseErrors(t, "version: 1\nlog: {format: \"${TRICK}\", \"${KEY}\": off}\n", vars)
	want := `p.yaml:2:15: expected json or text, found "json, access: off"
p.yaml:2:27: unknown key "${KEY}"`
	if got != want {
		t.Errorf("no structure and no keys from variables:\n%s\nwant:\n%s", got, want)
	}
}
