package policy

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Duration is a time.Duration written as "300s", "1h30m" or "720h"; "7d"
// stands for seven days. It is never negative.
type Duration time.Duration

// UnmarshalText reads a duration; a bare number is refused, since its unit
// would be a guess.
func (d *Duration) UnmarshalText(text []byte) error {
	s := string(text)
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.Atoi(days)
		if err != nil || n < 0 || n > 36500 {
			return fmt.Errorf("bad duration %q (write 300s, 5m, 1h or 7d)", s)
		}
		*d = Duration(time.Duration(n) * 24 * time.Hour)
		return nil
	}
	v, err := time.ParseDuration(s)
	if err != nil {
		return fmt.Errorf("bad duration %q (write 300s, 5m, 1h or 7d)", s)
	}
	if v < 0 {
		return fmt.Errorf("bad duration %q: must not be negative", s)
	}
	*d = Duration(v)
	return nil
}

// MarshalText writes the duration as a person would: 10m, not 10m0s.
func (d Duration) MarshalText() ([]byte, error) {
	s := time.Duration(d).String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(s, zero) {
			s = s[:len(s)-2]
		}
	}
	return []byte(s), nil
}

// Std returns d as a time.Duration.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// Size is a number of bytes, written as "512", "32KiB", "10MiB" or "1GiB".
type Size int64

// sizeUnits are binary, longest suffix first.
var sizeUnits = []struct {
	suffix string
	factor int64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"B", 1}, {"", 1}}

// UnmarshalText reads a size.
func (s *Size) UnmarshalText(text []byte) error {
	for _, u := range sizeUnits {
		digits, ok := strings.CutSuffix(string(text), u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(digits, 10, 64)
		if err != nil || n < 0 || n > math.MaxInt64/u.factor {
			break
		}
		*s = Size(n * u.factor)
		return nil
	}
	return fmt.Errorf("bad size %q (write 512, 32KiB, 10MiB or 1GiB)", text)
}

// MarshalText writes the size with the largest unit that divides it.
func (s Size) MarshalText() ([]byte, error) {
	for _, u := range []struct {
		suffix string
		factor int64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if s != 0 && int64(s)%u.factor == 0 {
			return fmt.Appendf(nil, "%d%s", int64(s)/u.factor, u.suffix), nil
		}
	}
	return strconv.AppendInt(nil, int64(s), 10), nil
}

// FileMode are the permissions of a file, written as for chmod: "0660".
type FileMode uint32

// UnmarshalText reads permissions.
func (m *FileMode) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(string(text), 8, 32)
	if err != nil || n > 0o777 || len(text) < 3 {
		return fmt.Errorf("bad mode %q (write 0660)", text)
	}
	*m = FileMode(n)
	return nil
}

// MarshalText writes them with four digits.
func (m FileMode) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%04o", uint32(m)), nil }

// Rate is a number of tokens a period, written as "120/min" or "10/15min".
type Rate struct {
	Tokens int
	Period time.Duration
}

var rateUnits = map[string]time.Duration{
	"s": time.Second, "min": time.Minute, "h": time.Hour, "day": 24 * time.Hour,
}

// UnmarshalText reads a rate.
func (r *Rate) UnmarshalText(text []byte) error {
	bad := fmt.Errorf("bad rate %q (write 5/s, 120/min, 1000/h, 10/day or 10/15min)", text)
	tokens, period, ok := strings.Cut(string(text), "/")
	if !ok {
		return bad
	}
	n, err := strconv.Atoi(tokens)
	if err != nil {
		return bad
	}
	if n < 1 || n > 1_000_000_000 {
		return fmt.Errorf("bad rate %q: must be from 1 to 1000000000", text)
	}
	unit := strings.TrimLeft(period, "0123456789")
	count := 1
	if digits := strings.TrimSuffix(period, unit); digits != "" {
		if count, err = strconv.Atoi(digits); err != nil || count < 1 || count > 1000 {
			return bad
		}
	}
	length, ok := rateUnits[unit]
	if !ok {
		return bad
	}
	*r = Rate{Tokens: n, Period: time.Duration(count) * length}
	return nil
}

// MarshalText writes the rate as it would be read.
func (r Rate) MarshalText() ([]byte, error) {
	for _, unit := range []string{"day", "h", "min", "s"} {
		if count := r.Period / rateUnits[unit]; count > 0 && r.Period%rateUnits[unit] == 0 {
			if count == 1 {
				return fmt.Appendf(nil, "%d/%s", r.Tokens, unit), nil
			}
			return fmt.Appendf(nil, "%d/%d%s", r.Tokens, count, unit), nil
		}
	}
	return nil, errors.New("rate without a period")
}

// Percent is a share from 0 to 1, written as "20%".
type Percent float64

// UnmarshalText reads a percentage.
func (p *Percent) UnmarshalText(text []byte) error {
	digits, ok := strings.CutSuffix(string(text), "%")
	n, err := strconv.ParseFloat(digits, 64)
	if !ok || err != nil || !(n >= 0 && n <= 100) {
		return fmt.Errorf("bad percentage %q (write 20%%)", text)
	}
	*p = Percent(n / 100)
	return nil
}

// MarshalText writes the percentage.
func (p Percent) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%g%%", float64(p)*100), nil }

// Prefix is an address block, or a single address standing for itself.
// IPv4-mapped IPv6 is unmapped.
type Prefix struct{ netip.Prefix }

// UnmarshalText reads 10.0.0.0/8 or 127.0.0.1.
func (p *Prefix) UnmarshalText(text []byte) error {
	s := string(text)
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		a = a.Unmap()
		p.Prefix = netip.PrefixFrom(a, a.BitLen())
		return nil
	}
	v, err := netip.ParsePrefix(s)
	if err != nil || v.Addr().Is4In6() {
		return fmt.Errorf("bad address block %q (write 10.0.0.0/8 or 127.0.0.1)", s)
	}
	p.Prefix = v.Masked()
	return nil
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

// StringList is a list of strings; a single string may stand for a list of one.
type StringList []string

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
		return fmt.Errorf("bad status %q (write a status from 200 to 599, or 2xx, 3xx, 4xx or 5xx)", clip(string(text)))
	}
	*s = Status(n)
	return nil
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
