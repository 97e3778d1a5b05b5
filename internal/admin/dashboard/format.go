package dashboard

import (
	"fmt"
	"html/template"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// functions are those of the templates. Values are those of the API's JSON.
var functions = template.FuncMap{
	"rate": func(v any) string { return perSecond(number(v)) }, "ms": func(v any) string { return millis(number(v)) },
	"percent": func(v any) string { return percent(number(v)) }, "size": size, "seconds": seconds, "share": share, "count": count,
	"clock": clock, "charts": charts, "timeline": timeline, "join": join, "waiting": waiting, "away": away, "latest": latest, "base": base, "failing": failing,
	"dict": dict,
}

// dict gives a template several values.
func dict(pairs ...any) map[string]any {
	m := map[string]any{}
	for i := 0; i+1 < len(pairs); i += 2 {
		m[fmt.Sprint(pairs[i])] = pairs[i+1]
	}
	return m
}

// field is a member of a JSON object; nil: it has none.
func field(v any, name string) any {
	object, _ := v.(map[string]any)
	return object[name]
}

func number(v any) float64 {
	n, _ := v.(float64)
	return n
}

func list(v any) []any {
	all, _ := v.([]any)
	return all
}

func moment(v any) time.Time {
	text, _ := v.(string)
	t, _ := time.Parse(time.RFC3339, text) // the API writes no other
	return t
}

func perSecond(v float64) string {
	if v > 0 && v < 10 {
		return fmt.Sprintf("%.2g/s", v)
	}
	return fmt.Sprintf("%.0f/s", v)
}

func millis(v float64) string {
	switch ms := 1000 * v; {
	case ms == 0:
		return "–"
	case ms < 10:
		return fmt.Sprintf("%.1f ms", ms)
	case ms < 10_000:
		return fmt.Sprintf("%.0f ms", ms)
	}
	return fmt.Sprintf("%.1f s", v)
}

func percent(v float64) string { return fmt.Sprintf("%.1f %%", 100*v) }

// share is a part of a whole.
func share(part, whole any) string {
	if number(whole) == 0 {
		return "–"
	}
	return percent(number(part) / number(whole))
}

func count(v any) string { return fmt.Sprintf("%.0f", number(v)) }

func size(v any) string {
	n := number(v)
	for _, unit := range []string{"B", "KiB", "MiB"} {
		if n < 1024 {
			return fmt.Sprintf("%.4g %s", n, unit)
		}
		n /= 1024
	}
	return fmt.Sprintf("%.4g GiB", n)
}

func seconds(v any) string {
	d := time.Duration(number(v) * float64(time.Second))
	if d.Abs() < 10*time.Second {
		return d.Round(time.Second / 10).String()
	}
	return d.Round(time.Second).String()
}

// clock is a time for a person.
func clock(v any) string {
	t, ok := v.(time.Time)
	if !ok {
		t = moment(v)
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}

// latest are the last n changes of a Redis, the newest first.
func latest(redis any, n int) (all []any) {
	history := list(field(redis, "history"))
	for _, c := range slices.Backward(history[max(0, len(history)-n):]) {
		all = append(all, c)
	}
	return all
}

// base is a place in a file without its folder.
func base(v any) string {
	if text, _ := v.(string); text != "" {
		return filepath.Base(text)
	}
	return ""
}

// failing is the share of requests that failed, if there are many; "": there are few.
func failing(recent any) string {
	failed, all := number(field(recent, "failed")), number(field(field(recent, "requests"), "count"))
	if failed < 5 || failed < .05*all {
		return ""
	}
	return percent(failed / all)
}

func join(v any) string {
	switch all := v.(type) {
	case []string:
		return strings.Join(all, ", ")
	case []any:
		var texts []string
		for _, one := range all {
			texts = append(texts, fmt.Sprint(one))
		}
		return strings.Join(texts, ", ")
	}
	return ""
}

// away lists those of /v1/status' redis that are not in use.
func away(status any) (all []any) {
	for _, r := range list(field(status, "redis")) {
		if field(r, "state") != "up" {
			all = append(all, r)
		}
	}
	return all
}

// waiting says what must still be told to a Redis; "": nothing.
func waiting(redis any) string {
	var texts []string
	for _, b := range list(field(redis, "backlogs")) {
		if n := number(field(b, "items")); n > 0 {
			name, _ := field(b, "name").(string)
			what := map[string]string{"limits": "requests that limits admitted", "sessions": "records and logouts of sessions", "cache tags": "purged tags"}[name]
			texts = append(texts, fmt.Sprintf("%s: %.0f", what, n))
		}
	}
	return strings.Join(texts, ", ")
}
