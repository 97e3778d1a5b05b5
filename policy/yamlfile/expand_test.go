package yamlfile

import (
	"strings"
	"testing"
)

func TestExpand(t *testing.T) {
	vars := map[string]string{"HOST": "redis.local", "EMPTY": "", "FILE": "p \r\n", "LINE": "\r\n", "TRICK": "${HOST}}\n- a: b"}
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
		{"a nested default", "${NONE:-${HOST}}", "", "the default of NONE must not contain a variable"},
	} {
		got, _, err := expand(c.in, func(name string) string { return vars[name] })
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
