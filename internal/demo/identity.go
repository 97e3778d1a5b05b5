package demo

import (
	"crypto/hmac"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"time"
)

// identity is the payload of X-Gw-Identity, by which the gateway tells the
// backend who is logged in:
//
//	v1.<kid>.<payload>.<mac>
//
// payload and mac are base64url without padding; the mac is HMAC-SHA256 over
// all before its dot.
type identity struct {
	Method  string   `json:"m"`
	User    string   `json:"u"`
	Roles   []string `json:"r"`
	Expires int64    `json:"exp"` // Unix seconds
}

// identified returns the user of a header that the gateway has signed for
// this method and that has not expired. The keys are read each time, since
// they are rotated.
func identified(keysFile string, r *http.Request, now time.Time) (id identity, ok bool) {
	head, sum, ok := cutMac(r.Header.Get("X-Gw-Identity"))
	version, rest, _ := strings.Cut(head, ".")
	kid, payload, _ := strings.Cut(rest, ".")
	if !ok || version != "v1" || keysFile == "" {
		return identity{}, false
	}
	key := keyOf(keysFile, kid)
	if key == nil || !hmac.Equal(sum, mac(key, head)) {
		return identity{}, false
	}
	text, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil || json.Unmarshal(text, &id) != nil {
		return identity{}, false
	}
	return id, id.User != "" && id.Method == r.Method && id.Expires > now.Unix()
}

func cutMac(text string) (head string, sum []byte, ok bool) {
	i := strings.LastIndexByte(text, '.')
	sum, err := base64.RawURLEncoding.DecodeString(text[i+1:])
	return text[:max(i, 0)], sum, i >= 0 && err == nil
}

// keyOf finds a key in a file of lines kid:base64key, or is nil.
func keyOf(file, kid string) []byte {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(text)) {
		id, encoded, _ := strings.Cut(strings.TrimSpace(line), ":")
		if key, err := base64.StdEncoding.DecodeString(encoded); err == nil && id == kid && len(key) > 0 {
			return key
		}
	}
	return nil
}
