package dashboard

import (
	"fmt"
	"html/template"
	"strings"
	"time"
)

// functions are those of the templates. Values are those of the API's JSON.
var functions = template.FuncMap{
	"rate": func(v any) string { return perSecond(number(v)) }, "ms": func(v any) string { return millis(number(v)) },
	"percent": func(v any) string { return percent(number(v)) }, "size": size, "seconds": seconds, "share": share, "count": count,
	"clock": clock, "since": since, "charts": charts, "timeline": timeline, "join": join, "waiting": waiting, "away": away, "list": list,
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
		return fmt.Sprintf("%.1f/s", v)
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

func seconds(v any) string { return (time.Duration(number(v)) * time.Second).String() }

// clock is a time for a person.
func clock(v any) string {
	t, ok := v.(time.Time)
	if !ok {
		t = moment(v)
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}

// since is how long ago a time was.
func since(v any, now time.Time) string { return now.Sub(moment(v)).Truncate(time.Second).String() }

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
			what := map[string]string{"limits": "charges of limits", "sessions": "records and logouts of sessions", "cache tags": "purged tags"}[name]
			texts = append(texts, fmt.Sprintf("%s: %.0f", what, n))
		}
	}
	return strings.Join(texts, ", ")
}
