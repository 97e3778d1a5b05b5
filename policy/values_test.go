package policy

import (
	"encoding"
	"fmt"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestValues(t *testing.T) {
	for _, c := range []struct {
		into encoding.TextUnmarshaler
		text string
		want string // of the value; "": an error
	}{
		{new(Rate), "5/s", "{5 1s}"},
		{new(Rate), "10/15min", "{10 15m0s}"},
		{new(Rate), "1000/day", "{1000 24h0m0s}"},
		{new(Rate), "0/s", ""},
		{new(Rate), "-1/s", ""},
		{new(Rate), "10", ""},
		{new(Rate), "10/0min", ""},
		{new(Rate), "10/m", ""},
		{new(Status), "429", "429"},
		{new(Status), "5xx", "5"},
		{new(Status), "199", ""},
		{new(Status), "600", ""},
		{new(Status), "1xx", ""},
		{new(Status), "6xx", ""},
		{new(Status), "5XX", ""},
		{new(Status), "0404", ""},
		{new(Status), "5", ""},
		{new(Replicas), "auto", "0"},
		{new(Replicas), "4", "4"},
		{new(Replicas), "0", ""},
		{new(Lease), "auto", "0"},
		{new(Lease), "off", "1"},
		{new(Lease), "0", "1"},
		{new(Lease), "1", "1"},
		{new(Lease), "10", "10"},
		{new(Lease), "-1", ""},
		{new(Lease), "on", ""},
	} {
		err := c.into.UnmarshalText([]byte(c.text))
		got := fmt.Sprint(reflect.ValueOf(c.into).Elem())
		if r, ok := c.into.(*Rate); ok {
			got = fmt.Sprintf("{%d %v}", r.Tokens, r.Period)
		}
		if (err != nil) != (c.want == "") || err == nil && got != c.want {
			t.Errorf("%T %q: got %s, %v; want %q", c.into, c.text, got, err, c.want)
		}
	}
}

func TestValuesAreReadAsTheyAreWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		unit := rapid.SampledFrom([]time.Duration{time.Second, time.Minute, time.Hour, 24 * time.Hour}).Draw(t, "unit")
		r := Rate{rapid.IntRange(1, 1e9).Draw(t, "tokens"), time.Duration(rapid.IntRange(1, 23).Draw(t, "count")) * unit}
		n := Replicas(rapid.IntRange(0, 10_000).Draw(t, "replicas"))
		roundTrip(t, r)
		roundTrip(t, n)
		roundTrip(t, Lease(rapid.IntRange(0, 10_000).Draw(t, "lease")))
		roundTrip(t, Status(rapid.OneOf(rapid.IntRange(2, 5), rapid.IntRange(200, 599)).Draw(t, "status")))
	})
}

func roundTrip[V comparable](t *rapid.T, v V) {
	text, err := any(v).(encoding.TextMarshaler).MarshalText()
	if err != nil {
		t.Fatalf("%v: %v", v, err)
	}
	var back V
	if err := any(&back).(encoding.TextUnmarshaler).UnmarshalText(text); err != nil || back != v {
		t.Fatalf("%v is written as %s and read as %v, %v", v, text, back, err)
	}
}

func TestTemplateExpand(t *testing.T) {
	params := Params{{"id", "17"}, {"type", "a b"}}
	for text, want := range map[string]string{
		"restaurants":      "restaurants",
		"restaurant:{id}":  "restaurant:17",
		"{type}-{id}-tail": "a b-17-tail",
		"{id}":             "17",
		"{id}{id}":         "1717",
	} {
		tmpl, err := parseTemplate(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := tmpl.Expand(params); got != want {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
}

func TestSources(t *testing.T) {
	for text, want := range map[string]Source{
		"client_ip":          {SourceClientIP, ""},
		"session":            {SourceSession, ""},
		"session.user":       {SourceSessionUser, ""},
		"host":               {SourceHost, ""},
		"header:x-api-key":   {SourceHeader, "X-Api-Key"},
		"cookie:AccessToken": {SourceCookie, "AccessToken"},
		"path:id":            {SourcePath, "id"},
	} {
		if got, err := parseSource(text, limitSources); err != nil || got != want {
			t.Errorf("%s: got %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "header", "client_ip:x", "host:x", "session:", "header:", "path:a-b", "cookie:a b"} {
		if got, err := parseSource(text, limitSources); err == nil {
			t.Errorf("%q is read as %v", text, got)
		}
	}
}
