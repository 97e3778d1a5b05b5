package policy

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"iter"
	"net/textproto"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jewgo/gateway/policy/yamlfile"
)

type (
	// Duration is a time, as "300s" or "7d".
	Duration = yamlfile.Duration
	// Size is a number of bytes, as "10MiB".
	Size = yamlfile.Size
	// FileMode are a file's permissions, as "0660".
	FileMode = yamlfile.FileMode
	// Percent is a share from 0 to 1, as "20%".
	Percent = yamlfile.Percent
	// Prefix is an address or a block of them.
	Prefix = yamlfile.Prefix
	// StringList is a list of strings, or a single one.
	StringList = yamlfile.StringList
	// Position is a place in a policy file, as the file was named to Load.
	Position = yamlfile.Position
	// Errors are all the mistakes of a policy, sorted by place. Load and Parse return
	// nothing else for a file that could be read.
	Errors = yamlfile.Errors
)

// Rate is a number of tokens a period, written as "120/min" or "10/15min".
type Rate struct {
	Tokens int
	Period time.Duration
}

var (
	rateForm  = regexp.MustCompile(`^([+-]?[0-9]+)/([0-9]*)(s|min|h|day)$`)
	rateUnits = map[string]time.Duration{"s": time.Second, "min": time.Minute, "h": time.Hour, "day": 24 * time.Hour}
)

// UnmarshalText reads a rate.
func (r *Rate) UnmarshalText(text []byte) error {
	m := rateForm.FindStringSubmatch(string(text))
	if m == nil {
		m = make([]string, 4) // none of it is a number
	}
	n, err := strconv.Atoi(m[1])
	count, err2 := strconv.Atoi(cmp.Or(m[2], "1"))
	switch {
	case err != nil || err2 != nil || count < 1 || count > 1000:
		return fmt.Errorf("bad rate %q (write 5/s, 120/min, 1000/h, 10/day or 10/15min)", text)
	case n < 1 || n > 1_000_000_000:
		return fmt.Errorf("bad rate %q: must be from 1 to 1000000000", text)
	}
	*r = Rate{Tokens: n, Period: time.Duration(count) * rateUnits[m[3]]}
	return nil
}

// MarshalText writes the rate as it would be read.
func (r Rate) MarshalText() ([]byte, error) {
	for _, unit := range []string{"day", "h", "min", "s"} {
		switch count := r.Period / rateUnits[unit]; {
		case count < 1 || r.Period%rateUnits[unit] != 0:
		case count == 1:
			return fmt.Appendf(nil, "%d/%s", r.Tokens, unit), nil
		default:
			return fmt.Appendf(nil, "%d/%d%s", r.Tokens, count, unit), nil
		}
	}
	return nil, errors.New("rate without a period")
}

// Replicas is how many gateways share the limits; 0 stands for auto.
type Replicas int

// UnmarshalText reads auto or a number from 1.
func (n *Replicas) UnmarshalText(text []byte) error {
	if string(text) == "auto" {
		*n = 0
		return nil
	}
	v, err := strconv.Atoi(string(text))
	if err != nil || v < 1 || v > 10_000 {
		return fmt.Errorf("bad replicas %q (write auto or a number from 1)", text)
	}
	*n = Replicas(v)
	return nil
}

// MarshalText writes auto or the number.
func (n Replicas) MarshalText() ([]byte, error) {
	if n == 0 {
		return []byte("auto"), nil
	}
	return strconv.AppendInt(nil, int64(n), 10), nil
}

// Lease is the most tokens of one key that a gateway may prepay. The zero value is AutoLease.
type Lease int

// The leases that are no number of tokens.
const (
	AutoLease Lease = 0
	NoLease   Lease = 1 // a lease of one token would save nothing
)

// UnmarshalText reads auto, off or a number of tokens; 0 and 1 are off.
func (l *Lease) UnmarshalText(text []byte) error {
	switch string(text) {
	case "auto":
		*l = AutoLease
		return nil
	case "off":
		*l = NoLease
		return nil
	}
	n, err := strconv.ParseInt(string(text), 10, 32)
	if err != nil || n < 0 {
		return fmt.Errorf("bad lease %q (write auto, off or a number of tokens)", text)
	}
	*l = max(NoLease, Lease(n))
	return nil
}

// MarshalText writes auto, off or the number.
func (l Lease) MarshalText() ([]byte, error) {
	switch l {
	case AutoLease:
		return []byte("auto"), nil
	case NoLease:
		return []byte("off"), nil
	}
	return strconv.AppendInt(nil, int64(l), 10), nil
}

// autoLeases is the part of a burst that the automatic leases of all gateways hold together: 1/20.
const autoLeases = 20

// Of returns the most tokens of a bucket of burst that each of n gateways may hold prepaid.
func (l Lease) Of(burst, n int) int {
	switch l {
	case AutoLease:
		return burst / autoLeases / n
	case NoLease:
		return 0
	}
	return int(l)
}

// Secret is a text that holds a password, such as a Redis URL. Logs, errors, panics and JSON show that it is
// there, and no more.
type Secret string

// Reveal returns the text.
func (s Secret) Reveal() string { return string(s) }

// String hides the text from fmt.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "[hidden]"
}

// GoString hides the text from %#v.
func (s Secret) GoString() string { return strconv.Quote(s.String()) }

// MarshalText hides the text from JSON, and so from logs.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// TLSVersion is a version of TLS as crypto/tls numbers them, written as "1.2" or "1.3".
type TLSVersion uint16

// UnmarshalText reads a version.
func (v *TLSVersion) UnmarshalText(text []byte) error {
	switch string(text) {
	case "1.2":
		*v = tls.VersionTLS12
	case "1.3":
		*v = tls.VersionTLS13
	default:
		return fmt.Errorf("bad TLS version %q (write 1.2 or 1.3)", yamlfile.Clip(string(text)))
	}
	return nil
}

// MarshalText writes the version.
func (v TLSVersion) MarshalText() ([]byte, error) {
	return []byte(strings.TrimPrefix(tls.VersionName(uint16(v)), "TLS ")), nil
}

// Status is a status code from 200 to 599, written as "404", or a class of
// them, written as "4xx" and held as its first digit.
type Status int

// UnmarshalText reads a status or a class.
func (s *Status) UnmarshalText(text []byte) error {
	digits, class := strings.CutSuffix(string(text), "xx")
	n, err := strconv.Atoi(digits)
	least, most := 200, 599
	if class {
		least, most = 2, 5
	}
	if err != nil || n < least || n > most || strconv.Itoa(n) != digits {
		return fmt.Errorf("bad status %q (write a status from 200 to 599, or 2xx, 3xx, 4xx or 5xx)", yamlfile.Clip(string(text)))
	}
	*s = Status(n)
	return nil
}

// all gives the statuses that s stands for.
func (s Status) all() iter.Seq[int] {
	first, n := int(s), 1
	if s < 10 {
		first, n = first*100, 100
	}
	return func(yield func(int) bool) {
		for i := range n {
			if !yield(first + i) {
				return
			}
		}
	}
}

// MarshalText writes the status or class as it would be read.
func (s Status) MarshalText() ([]byte, error) {
	if s < 10 {
		return fmt.Appendf(nil, "%dxx", int(s)), nil
	}
	return strconv.AppendInt(nil, int64(s), 10), nil
}

// Costs are tokens by method, each at least 1. A single number, held under "",
// may stand for every method.
type Costs map[string]int

// SetAll lets n stand for every method.
func (c *Costs) SetAll(n int) { *c = Costs{"": n} }

// sourceKinds are the sources as they are written; a colon asks for a name.
var sourceKinds = map[string]SourceKind{
	"client_ip":    SourceClientIP,
	"session":      SourceSession,
	"session.user": SourceSessionUser,
	"header:":      SourceHeader,
	"cookie:":      SourceCookie,
	"path:":        SourcePath,
	"host":         SourceHost,
}

// What may stand in a limit's key, and in a cache's key and bypass.
var (
	limitSources = []string{"client_ip", "session", "session.user", "header:", "cookie:", "path:", "host"}
	cacheSources = []string{"header:", "cookie:", "session"}
)

// parseSource reads one part of a key.
func parseSource(text string, allowed []string) (Source, error) {
	word, name, named := strings.Cut(text, ":")
	if named {
		word += ":"
	}
	kind := sourceKinds[word]
	switch {
	case !slices.Contains(allowed, word):
		shown := strings.ReplaceAll(yamlfile.OneOf(allowed), ":", ":NAME")
		return Source{}, fmt.Errorf("expected %s, found %q%s", shown, yamlfile.Clip(text), yamlfile.Suggest(word, allowed))
	case kind == SourcePath && !isIdentifier(name):
		return Source{}, fmt.Errorf("bad path value name %q", yamlfile.Clip(name))
	case (kind == SourceHeader || kind == SourceCookie) && !isToken(name):
		return Source{}, fmt.Errorf("bad name %q in %q", yamlfile.Clip(name), yamlfile.Clip(text))
	case kind == SourceHeader && strings.EqualFold(name, "Host"):
		hint := map[bool]string{true: ` (did you mean "host"?)`}[slices.Contains(allowed, "host")]
		return Source{}, fmt.Errorf("%q is never present: the host is not among the header fields%s", text, hint)
	case kind == SourceHeader:
		name = textproto.CanonicalMIMEHeaderKey(name)
	}
	return Source{kind, name}, nil
}

// sources compiles a list of them and reports what is wrong with each.
func (c *compiler) sources(path string, list StringList, allowed []string) []Source {
	var compiled []Source
	for i, text := range list {
		s, err := parseSource(text, allowed)
		switch {
		case err != nil:
			c.Invalid(c.Item(path, i), "%v", err)
		case slices.Contains(compiled, s):
			c.Invalid(c.Item(path, i), "duplicate %q", text)
		default:
			compiled = append(compiled, s)
		}
	}
	return compiled
}

// uses reports whether a key has a part of this kind.
func uses(sources []Source, kind SourceKind) bool {
	return slices.ContainsFunc(sources, func(s Source) bool { return s.Kind == kind })
}

// usesSession reports whether a key depends on who has a session.
func usesSession(sources []Source) bool {
	return uses(sources, SourceSession) || uses(sources, SourceSessionUser)
}

// parseTemplate reads a text with {name} parts. Tags are visible ASCII without commas and
// quotes, since purges list tags.
func parseTemplate(text string) (Template, error) {
	const most = 128
	bad := func(r rune) bool { return r <= ' ' || r >= 0x7f || r == ',' || r == '"' }
	if text == "" || len(text) > most || strings.ContainsFunc(text, bad) {
		return Template{}, fmt.Errorf("bad tag %q (visible ASCII without commas and quotes, at most %d)", yamlfile.Clip(text), most)
	}
	t := Template{Text: text}
	for rest := text; ; {
		literal, after, open := strings.Cut(rest, "{")
		name, tail, closed := strings.Cut(after, "}")
		switch {
		case strings.Contains(literal, "}"):
			return Template{}, fmt.Errorf("bad tag %q: a } without {", yamlfile.Clip(text))
		case open && (!closed || !isIdentifier(name)):
			return Template{}, fmt.Errorf("bad tag %q: a { without a path value's name and }", yamlfile.Clip(text))
		}
		t.parts = append(t.parts, literal)
		if !open {
			return t, nil
		}
		t.parts, rest = append(t.parts, name), tail
	}
}

// templates compiles the tags at path, whose names the pattern p must have.
func (c *compiler) templates(path string, list StringList, p pattern) []Template {
	var compiled []Template
	for i, text := range list {
		t, err := parseTemplate(text)
		if err != nil {
			c.Invalid(c.Item(path, i), "%v", err)
			continue
		}
		for j, name := range t.parts {
			if j%2 == 1 && len(p.segments) > 0 && !p.has(name) {
				c.Invalid(c.Item(path, i), "the path pattern has no {%s}%s", name, yamlfile.Suggest(name, p.names()))
			}
		}
		compiled = append(compiled, t)
	}
	return compiled
}
