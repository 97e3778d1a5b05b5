package middleware

import (
	"net/url"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestCanonicalPath(t *testing.T) {
	for _, tc := range []struct{ sentence, in, want, problem string }{
		{"a plain path is canonical", "/api/v5/restaurants", "/api/v5/restaurants", ""},
		{"the root is a path", "/", "/", ""},
		{"a final slash stays", "/search/", "/search/", ""},
		{"unreserved characters need no escape", "/%61cct/%7Eme", "/acct/~me", ""},
		{"other escapes get upper-case digits", "/caf%c3%a9", "/caf%C3%A9", ""},
		{"an escaped percent sign is not decoded twice", "/a%252e", "/a%252e", ""},
		{"other characters of ASCII are escaped", "/\"<a>^`{|}", "/%22%3Ca%3E%5E%60%7B%7C%7D", ""},
		{"an encoded slash is ambiguous", "/a%2Fb", "", "slash"},
		{"in lower case too", "/a%2fb", "", "slash"},
		{"a backslash is a slash to some servers", `/a\b`, "", "backslash"},
		{"an encoded backslash too", "/a%5Cb", "", "backslash"},
		{"some servers drop what follows a semicolon", "/debug;a=b/x", "", "semicolon"},
		{"a semicolon hides a dot segment from others", "/a/..;/b", "", "semicolon"},
		{"an encoded semicolon is an ordinary character", "/a%3bb", "/a%3Bb", ""},
		{"NUL ends a path for some servers", "/a%00b", "", "control"},
		{"line ends are refused", "/a%0d%0ab", "", "control"},
		{"some servers collapse an empty segment", "//acct", "", "segment"},
		{"anywhere", "/a//b", "", "segment"},
		{"dot segments are refused", "/a/../b", "", "segment"},
		{"encoded dot segments too", "/a/%2e%2E/b", "", "segment"},
		{"a single dot too", "/a/.", "", "segment"},
		{"three dots are a name", "/a/...", "/a/...", ""},
		{"a malformed escape is refused", "/a%zz", "", "malformed"},
		{"a cut escape is refused", "/a%4", "", "malformed"},
		{"bytes that are not UTF-8 decode to anything", "/a%ff", "", "UTF-8"},
		{"bytes that are not ASCII must be escaped", "/café", "", "escaped"},
		{"the asterisk form is not a path", "*", "", "slash"},
	} {
		t.Run(tc.sentence, func(t *testing.T) {
			got, problem := CanonicalPath(tc.in, false)
			if got != tc.want || !strings.Contains(problem, tc.problem) || (problem == "") != (tc.problem == "") {
				t.Errorf("CanonicalPath(%q) = %q, %q; want %q, %q", tc.in, got, problem, tc.want, tc.problem)
			}
		})
	}
}

func TestEncodedSlashesAreDecodedOnce(t *testing.T) {
	for in, want := range map[string]string{
		"/a%2Fb": "/a/b", "/a%2fb%C3%A9/": "/a/b%C3%A9/", "/a%252Fb": "/a%252Fb", "/a%2F": "/a/",
		"/a%2F..%2Fb": "", "/a/%2Fb": "", "%2Fa": "", "/a%2F%2e%2e": "", "/a%5Cb": "",
	} {
		if got, problem := CanonicalPath(in, true); got != want || (problem == "") != (want != "") {
			t.Errorf("CanonicalPath(%q) = %q, %q; want %q", in, got, problem, want)
		}
	}
}

// The canonical form is a fixed point, and decodes to the same as the original path.
func TestCanonicalPathIsStable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := "/" + rapid.StringOfN(rapid.SampledFrom([]rune("ab/.%0123456789AFaf~é\\|\"")), 0, 20, -1).Draw(t, "path")
		decode := rapid.Bool().Draw(t, "decode")
		once, problem := CanonicalPath(in, decode)
		if problem != "" {
			return
		}
		if twice, p := CanonicalPath(once, decode); p != "" || twice != once {
			t.Fatalf("%q → %q → %q (%s)", in, once, twice, p)
		}
		want, err := url.PathUnescape(in)
		if err != nil {
			t.Fatalf("accepted %q, which does not decode: %v", in, err)
		}
		if got, err := url.PathUnescape(once); err != nil || got != want {
			t.Fatalf("%q decodes to %q, its form %q to %q", in, want, once, got)
		}
	})
}

func TestQueryProblem(t *testing.T) {
	for _, tc := range []struct{ sentence, in, problem string }{
		{"no query is fine", "", ""},
		{"an ordinary query is fine", "page=1&limit=50&q=caf%C3%A9", ""},
		{"raw UTF-8 is refused", "q=café", "escaped"},
		{"some parsers split at a semicolon", "a=1;b=2", "semicolon"},
		{"some parsers drop the whole query for a malformed escape", "a=%zz", "malformed"},
		{"a cut escape too", "a=%4", "malformed"},
		{"control characters are refused", "a=\x01", "escaped"},
		{"as many parameters as parsers take are fine", strings.Repeat("a&", 511), ""},
		{"more are refused", strings.Repeat("a&", 512), "too many"},
	} {
		t.Run(tc.sentence, func(t *testing.T) {
			got := queryProblem(tc.in)
			if !strings.Contains(got, tc.problem) || (got == "") != (tc.problem == "") {
				t.Errorf("queryProblem(%q) = %q, want %q", tc.in, got, tc.problem)
			}
		})
	}
}
