package env

import (
	"encoding/json"
	"strings"
)

// Serving reads from a gateway's log the URLs of its listeners; "" until it
// serves.
func Serving(log string) (url, admin string) {
	for line := range strings.Lines(log) {
		var m struct{ Msg, URL, Admin string }
		if json.Unmarshal([]byte(line), &m) == nil && m.Msg == "serving" {
			return m.URL, m.Admin
		}
	}
	return "", ""
}
