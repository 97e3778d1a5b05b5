package rfc9111

import (
	"testing"
)

func TestSearchRule(t *testing.T) {
	for _, tt := range []struct {
		says string
		rule string
		a, b string
		same bool
	}{
		{"no rule: everything matters", "", "a=1&b=2", "b=2&a=1", false},
		{"key-order", "key-order", "a=1&b=2", "b=2&a=1", true},
		{"key-order: the order matters among equal names", "key-order", "a=1&a=2", "a=2&a=1", false},
		{"params: none matters", "params", "a=1", "b=2", true},
		{"params: the named ones are ignored", `params=("utm" "ref")`, "a=1&utm=x", "ref=y&a=1", true},
		{"params: the others matter", `params=("utm")`, "a=1&utm=x", "a=2", false},
		{"except", `params, except=("a")`, "a=1&b=2", "a=1&c=3", true},
		{"except: the named ones matter", `params, except=("a")`, "a=1", "a=2", false},
		{"names are decoded", `params=("%C3%A9 x")`, "a=1&%c3%a9+x=1", "a=1", true},
		{"values are decoded", `key-order`, "a=%41", "a=A", true},
		{"an empty value equals no value", "key-order", "a", "a=", true},
		{"an encoded separator does not separate", "key-order", "a=1%26b%3D2", "a=1&b=2", false},
		{"order still counts", `params=("utm")`, "a=1&b=2", "b=2&a=1", false},
		{"except without params is invalid", `except=("a")`, "a=1&b=2", "a=1", false},
		{"except with a list of params is invalid", `params=("b"), except=("a")`, "a=1&b=2", "a=1", false},
		{"a token is not a name", `params=(b)`, "a=1&b=2", "a=1", false},
		{"a number is not a flag", `key-order=1`, "a=1&b=2", "b=2&a=1", false},
		{"params=?0 is the default", `params=?0`, "a=1&b=2", "a=1", false},
		{"no Dictionary", `params=(`, "a=1&b=2", "a=1", false},
	} {
		var lines []string
		if tt.rule != "" {
			lines = []string{tt.rule}
		}
		r := ParseSearchRule(lines)
		if same := r.Apply(tt.a) == r.Apply(tt.b); same != tt.same {
			t.Errorf("No-Vary-Search: %s: %q and %q are equivalent: %v", tt.says, tt.a, tt.b, same)
		}
	}
	one, other := ParseSearchRule([]string{`params=("a b")`}), ParseSearchRule([]string{`params=("a" "b")`})
	if one.Text() == other.Text() || one.Text() == "" || ParseSearchRule([]string{`params=("b" "a" "a")`}).Text() != other.Text() {
		t.Errorf("texts %q and %q", one.Text(), other.Text())
	}
}

// FuzzSearchRule checks that normalising twice gives the same result.
func FuzzSearchRule(f *testing.F) {
	f.Add(`key-order, params=("a")`, "a=1&b=%41")
	f.Add(`params, except=("a")`, "b&&a=%zz")
	f.Fuzz(func(t *testing.T, line, query string) {
		r := ParseSearchRule([]string{line})
		once := r.Apply(query)
		if again := r.Apply(once); again != once {
			t.Errorf("%q by %q is %q, and then %q", query, line, once, again)
		}
	})
}
