package yamlfile

import "testing"

func TestSuggest(t *testing.T) {
	words := []string{"burst", "rate", "stale_while_revalidate", "ip"}
	for name, want := range map[string]string{
		"burts":                 ` (did you mean "burst"?)`,
		"Burst":                 ` (did you mean "burst"?)`,
		"rat":                   ` (did you mean "rate"?)`,
		"stale_while_revaldate": ` (did you mean "stale_while_revalidate"?)`,
		"x":                     "",
		"brrrt":                 "",
		"":                      "",
		"entirely":              "",
	} {
		if got := Suggest(name, words); got != want {
			t.Errorf("Suggest(%q) = %q, want %q", name, got, want)
		}
	}
}
