package demo

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"
)

// claims are what a token says. Type is "access" or "refresh".
type claims struct {
	Subject string   `json:"sub"`
	Roles   []string `json:"roles"`
	Type    string   `json:"type"`
	Issued  int64    `json:"iat"` // Unix seconds, as Expires
	Expires int64    `json:"exp"`
	ID      string   `json:"jti"`
}

var tokenHead = base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT"}`))

// sign makes a JSON Web Token (RFC 7519) with HMAC-SHA256.
func (s *server) sign(c claims) string {
	c.ID = rand.Text()
	text := tokenHead + "." + base64.RawURLEncoding.EncodeToString(encode(c))
	return text + "." + base64.RawURLEncoding.EncodeToString(mac(s.secret, text))
}

// verify returns the claims of a token of the given type that is ours and has
// not expired.
func (s *server) verify(token, kind string, now time.Time) (claims, bool) {
	i := strings.LastIndexByte(token, '.')
	if i < 0 || !strings.HasPrefix(token, tokenHead+".") {
		return claims{}, false
	}
	sum, err := base64.RawURLEncoding.DecodeString(token[i+1:])
	if err != nil || !hmac.Equal(sum, mac(s.secret, token[:i])) {
		return claims{}, false
	}
	text, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(token[:i], tokenHead+"."))
	if err != nil {
		return claims{}, false
	}
	var c claims
	if json.Unmarshal(text, &c) != nil || c.Type != kind || c.Expires <= now.Unix() {
		return claims{}, false
	}
	return c, true
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}
