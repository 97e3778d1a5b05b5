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

// identityHeader is how the gateway tells the backend who is logged in:
//
//	v1.<kid>.<payload>.<mac>
//
// payload and mac are base64url without padding; the mac is HMAC-SHA256 over
// all before its dot.
const identityHeader = "X-Gw-Identity"

// identity is the payload.
type identity struct {
	Method  string   `json:"m"`
	User    string   `json:"u"`
	Roles   []string `json:"r"`
	Expires int64    `json:"exp"` // Unix seconds
}

// identified returns the user of a header that the gateway has signed for
// this method and that has not expired. The keys are read each time, since
// they are rotated.
func identified(keysFile string, r *http.Request, now time.Time) (identity, bool) {
	head, sum, ok := cutMac(r.Header.Get(identityHeader))
	if keysFile == "" || !ok {
		return identity{}, false
	}
	version, rest, _ := strings.Cut(head, ".")
	kid, payload, _ := strings.Cut(rest, ".")
	key := keyOf(keysFile, kid)
	if version != "v1" || key == nil || !hmac.Equal(sum, mac(key, head)) {
		return identity{}, false
	}
	text, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		return identity{}, false
	}
	var id identity
	if json.Unmarshal(text, &id) != nil || id.User == "" || id.Method != r.Method || id.Expires <= now.Unix() {
		return identity{}, false
	}
	return id, true
}

func cutMac(header string) (head string, sum []byte, ok bool) {
	i := strings.LastIndexByte(header, '.')
	if i < 0 {
		return "", nil, false
	}
	sum, err := base64.RawURLEncoding.DecodeString(header[i+1:])
	return header[:i], sum, err == nil
}

// keyOf finds a key in a file of lines kid:base64key, or is nil.
func keyOf(file, kid string) []byte {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(text)) {
		if id, encoded, ok := strings.Cut(strings.TrimSpace(line), ":"); ok && id == kid && id != "" {
			if key, err := base64.StdEncoding.DecodeString(encoded); err == nil && len(key) > 0 {
				return key
			}
		}
	}
	return nil
}
