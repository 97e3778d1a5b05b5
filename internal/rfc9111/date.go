package rfc9111

import (
	"strings"
	"time"
)

// The shapes of the three formats of RFC 9110, 5.6.7: a is any letter, 0 a digit, _ a digit or a
// space, anything else stands for itself.
const (
	shapeIMF     = "aaa, 00 aaa 0000 00:00:00 aaa" // Sun, 06 Nov 1994 08:49:37 GMT
	shape850     = ", 00-aaa-00 00:00:00 aaa"      // Sunday, 06-Nov-94 08:49:37 GMT, without the day's name
	shapeAsctime = "aaa aaa _0 00:00:00 0000"      // Sun Nov  6 08:49:37 1994
)

// ParseDate reads an HTTP-date in any of its three formats (RFC 9110, 5.6.7). Letters may have any
// case; nothing else may differ, while time.Parse would accept double spaces and one-digit hours. A
// two-digit year is in now's century, or in the one before if it would be more than 50 years after
// now.
func ParseDate(s string, now time.Time) (time.Time, bool) {
	switch {
	case hasShape(s, shapeIMF) && strings.EqualFold(s[26:], "GMT"):
		return makeDate(number(s[12:16]), s[8:11], s[5:7], s[17:25])
	case hasShape(s, shapeAsctime):
		return makeDate(number(s[20:24]), s[4:7], strings.TrimLeft(s[8:10], " "), s[11:19])
	}
	comma := strings.IndexByte(s, ',')
	if comma < len("Friday") || comma > len("Wednesday") || !isLetters(s[:comma]) {
		return time.Time{}, false
	}
	s = s[comma:]
	if !hasShape(s, shape850) || !strings.EqualFold(s[21:], "GMT") {
		return time.Time{}, false
	}
	year := now.UTC().Year()/100*100 + number(s[9:11])
	if year > now.UTC().Year()+50 {
		year -= 100
	}
	return makeDate(year, s[5:8], s[2:4], s[12:20])
}

func makeDate(year int, monthName, day, clock string) (time.Time, bool) {
	month := monthOf(monthName)
	d, h, m, s := number(day), number(clock[:2]), number(clock[3:5]), number(clock[6:])
	if month == 0 || h > 23 || m > 59 || s > 60 { // 60: a leap second
		return time.Time{}, false
	}
	t := time.Date(year, month, d, h, m, min(s, 59), 0, time.UTC)
	if t.Day() != d { // such as 31 February
		return time.Time{}, false
	}
	return t, true
}

func monthOf(name string) time.Month {
	for m := time.January; m <= time.December; m++ {
		if strings.EqualFold(name, m.String()[:3]) {
			return m
		}
	}
	return 0
}

func hasShape(s, shape string) bool {
	if len(s) != len(shape) {
		return false
	}
	for i := range len(s) {
		digit := s[i] >= '0' && s[i] <= '9'
		ok := s[i] == shape[i]
		switch shape[i] {
		case 'a':
			ok = isLetters(s[i : i+1])
		case '0':
			ok = digit
		case '_':
			ok = digit || s[i] == ' '
		}
		if !ok {
			return false
		}
	}
	return true
}

func isLetters(s string) bool {
	for i := range len(s) {
		if c := s[i] | 0x20; c < 'a' || c > 'z' {
			return false
		}
	}
	return true
}

// number reads digits whose shape has been checked.
func number(digits string) (n int) {
	for i := range len(digits) {
		n = n*10 + int(digits[i]-'0')
	}
	return n
}
