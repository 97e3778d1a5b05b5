package yamlfile

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
		{new(Duration), "300s", "5m0s"},
		{new(Duration), "1h30m", "1h30m0s"},
		{new(Duration), "7d", "168h0m0s"},
		{new(Duration), "0", "0s"},
		{new(Duration), "300", ""},
		{new(Duration), "-1s", ""},
		{new(Duration), "-1d", ""},
		{new(Duration), "1e9h", ""},
		{new(Duration), "99999999d", ""},
		{new(Size), "0", "0"},
		{new(Size), "32KiB", "32768"},
		{new(Size), "7B", "7"},
		{new(Size), "1GiB", "1073741824"},
		{new(Size), "32kb", ""},
		{new(Size), "-1", ""},
		{new(Size), "9999999999GiB", ""},
		{new(Percent), "20%", "0.2"},
		{new(Percent), "101%", ""},
		{new(Percent), "NaN%", ""},
		{new(Percent), "0.2", ""},
		{new(Prefix), "10.1.2.3/8", "10.0.0.0/8"},
		{new(Prefix), "127.0.0.1", "127.0.0.1/32"},
		{new(Prefix), "::ffff:10.0.0.1", "10.0.0.1/32"},
		{new(Prefix), "2001:db8::/32", "2001:db8::/32"},
		{new(Prefix), "fe80::1%eth0", ""},
		{new(Prefix), "::ffff:10.0.0.0/104", ""},
		{new(FileMode), "0660", "432"},
		{new(FileMode), "660", "432"},
		{new(FileMode), "7777", ""},
		{new(FileMode), "60", ""},
		{new(FileMode), "0680", ""},
	} {
		err := c.into.UnmarshalText([]byte(c.text))
		got := fmt.Sprint(reflect.ValueOf(c.into).Elem())
		if d, ok := c.into.(*Duration); ok {
			got = d.Std().String()
		}
		if (err != nil) != (c.want == "") || err == nil && got != c.want {
			t.Errorf("%T %q: got %s, %v; want %q", c.into, c.text, got, err, c.want)
		}
	}
}

func TestValuesAreReadAsTheyAreWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := Duration(rapid.Int64Range(0, int64(1000*time.Hour)).Draw(t, "duration"))
		roundTrip(t, d)
		roundTrip(t, d-d%Duration(time.Minute))
		roundTrip(t, Size(rapid.Int64Min(0).Draw(t, "size")))
		roundTrip(t, FileMode(rapid.Uint32Max(0o777).Draw(t, "mode")))
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
