package demo

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strings"
	"time"
)

// signal is the header by which the backend tells the gateway of a login or a
// logout.
const signal = "X-Gw-Session"

func (r *request) text(field string) string {
	text, _ := r.body[field].(string)
	return text
}

// login takes email and password, and for tests expires_in, the life of the
// access token in seconds, at most 900.
func (s *server) login(r *request) reply {
	email, password := r.text("email"), r.text("password")
	for _, u := range s.users {
		if u.email == email && equal(u.password, password) {
			life := accessLife
			if seconds, _ := r.body["expires_in"].(float64); seconds >= 1 {
				life = min(life, time.Duration(seconds)*time.Second)
			}
			return s.loggedIn(r, u, life)
		}
	}
	return failure(http.StatusUnauthorized, "Invalid email or password")
}

func equal(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b)) // which hides the lengths
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

// loggedIn answers with new tokens, in the body and as cookies.
func (s *server) loggedIn(r *request, u *user, life time.Duration) reply {
	answer := s.tokens(r, u, life)
	answer.header = map[string]string{signal: "login " + string(encode(map[string]any{"user": u.id, "roles": u.roles}))}
	return answer
}

func (s *server) tokens(r *request, u *user, life time.Duration) reply {
	login := s.newSession(u, r.now, life)
	answer := success(map[string]any{
		"user": u.profile(),
		"tokens": map[string]any{
			"access_token": login.access, "refresh_token": login.refresh, "token_type": "Bearer",
			"expires_in": int(life / time.Second),
		},
	})
	answer.login = login
	return answer
}

func (s *server) register(r *request) reply {
	email, password := r.text("email"), r.text("password")
	if !strings.Contains(email, "@") || password == "" || len(email)+len(password)+len(r.text("name")) > 1000 {
		return failure(http.StatusBadRequest, "email and password required")
	}
	u, ok := s.addUser(email, r.text("name"), password)
	if !ok {
		return failure(http.StatusConflict, "email already registered")
	}
	answer := s.loggedIn(r, u, accessLife)
	answer.status = http.StatusCreated
	return answer
}

// guest makes a user that exists in its token alone.
func (s *server) guest(r *request) reply {
	return s.tokens(r, s.userOf("guest-"+rand.Text()[:12], []string{"guest"}), accessLife)
}

// refresh takes a refresh token from the cookie or the body.
func (s *server) refresh(r *request) reply {
	token := r.text("refresh_token")
	if c, err := r.Cookie("refresh_token"); err == nil {
		token = c.Value
	}
	c, ok := s.verify(token, "refresh", r.now)
	if !ok {
		return failure(http.StatusUnauthorized, "Invalid refresh token")
	}
	return s.tokens(r, s.userOf(c.Subject, c.Roles), accessLife)
}

func logout(*request) reply {
	answer := success(map[string]any{"message": "Logged out"})
	answer.logout = true
	answer.header = map[string]string{signal: "logout"}
	return answer
}

// changePassword ends every session of the user, as far as it can: tokens
// cannot be taken back, the gateway's sessions can.
func (s *server) changePassword(r *request) reply {
	fresh := r.text("new_password")
	if fresh == "" || len(fresh) > 1000 {
		return failure(http.StatusBadRequest, "new_password required")
	}
	if !equal(r.user.password, r.text("current_password")) {
		return failure(http.StatusUnauthorized, "Invalid password")
	}
	r.user.password = fresh
	answer := success(map[string]any{"message": "Password changed"})
	answer.logout = true
	answer.header = map[string]string{signal: "logout-all"}
	return answer
}

func (s *server) profile(r *request) reply {
	if r.user == nil {
		return failure(http.StatusUnauthorized, "Authentication required")
	}
	return success(map[string]any{"user": r.user.profile()})
}

// csrf gives a token bound to the client's address, as a proxy reports it, and
// to its user agent.
func (s *server) csrf(r *request) reply {
	address, _, _ := strings.Cut(r.RemoteAddr, ":")
	if forwarded := r.Header.Get("X-Forwarded-For"); forwarded != "" {
		address, _, _ = strings.Cut(forwarded, ",")
	}
	nonce := rand.Text()
	sum := mac(s.secret, nonce+"|"+strings.TrimSpace(address)+"|"+r.UserAgent())
	token := nonce + "." + hex.EncodeToString(sum)
	answer := success(map[string]any{"csrf_token": token, "expires_in": 3600})
	answer.csrf = token
	answer.header = map[string]string{"Cache-Control": "no-store"}
	return answer
}

// jwks shows a key set of the real one's shape; no token of this backend is
// signed with it.
func jwks(*request) reply {
	var n []byte
	for i := range 8 {
		sum := sha256.Sum256([]byte{byte(i)})
		n = append(n, sum[:]...)
	}
	return reply{
		value: map[string]any{"keys": []map[string]any{{
			"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "demo", "e": "AQAB",
			"n": base64.RawURLEncoding.EncodeToString(n),
		}}},
		header: map[string]string{"Cache-Control": "public, max-age=300"},
	}
}
