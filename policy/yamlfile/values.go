package yamlfile

import (
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Duration is a time.Duration written as "300s", "1h30m" or "720h"; "7d" is seven days. It is never
// negative.
type Duration time.Duration

// UnmarshalText reads a duration. A bare number is refused, since it has no unit.
func (d *Duration) UnmarshalText(text []byte) error {
	bad := fmt.Errorf("bad duration %q (write 300s, 5m, 1h or 7d)", text)
	if days, ok := strings.CutSuffix(string(text), "d"); ok {
		n, err := strconv.Atoi(days)
		if err != nil || n < 0 || n > 36500 {
			return bad
		}
		*d = Duration(time.Duration(n) * 24 * time.Hour)
		return nil
	}
	switch v, err := time.ParseDuration(string(text)); {
	case err != nil:
		return bad
	case v < 0:
		return fmt.Errorf("bad duration %q: must not be negative", text)
	default:
		*d = Duration(v)
	}
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

// sizeUnits lists binary units, the largest first.
var sizeUnits = []struct {
	suffix string
	factor int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}, {"", 1}}

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
	for _, u := range sizeUnits[:3] {
		if s != 0 && int64(s)%u.factor == 0 {
			return fmt.Appendf(nil, "%d%s", int64(s)/u.factor, u.suffix), nil
		}
	}
	return strconv.AppendInt(nil, int64(s), 10), nil
}

// FileMode is the permissions of a file, written as for chmod: "0660".
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

// MarshalText writes permissions with four digits.
func (m FileMode) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%04o", uint32(m)), nil }

// Percent is a share from 0 to 1, written as "20%".
type Percent float64

// UnmarshalText reads a percentage.
func (p *Percent) UnmarshalText(text []byte) error {
	digits, ok := strings.CutSuffix(string(text), "%")
	n, err := strconv.ParseFloat(digits, 64)
	if !ok || err != nil || !(n >= 0 && n <= 100) {
		return fmt.Errorf("bad percentage %q (write 0%% to 100%%)", text)
	}
	*p = Percent(n / 100)
	return nil
}

// MarshalText writes the percentage.
func (p Percent) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%g%%", float64(p)*100), nil }

// Prefix is an address block or a single address. IPv4-mapped IPv6 is unmapped.
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

// StringList is a list of strings. A single string may stand for a list of one.
type StringList []string
