package policy

import (
	"strings"
	"testing"
)

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
	want := `p.yaml:2:15: expected json, text or combined, found "json, access: off"
p.yaml:2:27: unknown key "${KEY}"`
	if got != want {
		t.Errorf("no structure and no keys from variables:\n%s\nwant:\n%s", got, want)
	}
}
