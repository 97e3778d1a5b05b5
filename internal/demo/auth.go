package demo

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"
)

const (
	accessLife   = 15 * time.Minute
	refreshLife  = 30 * 24 * time.Hour
	refreshEarly = 2 * time.Minute // an access token with less to live is renewed on any GET
)

// user is someone who can log in. The password is plain: this is a
// demonstration.
type user struct {
	id, email, name, password string
	roles                     []string
}

// users are as in the README of the Flask example.
var users = []user{
	{"42", "demo@example.org", "Dina Demo", "demo", []string{"editor"}},
	{"1", "admin@example.org", "Adam Admin", "admin", []string{"admin"}},
	{"7", "user@example.org", "Uri User", "user", []string{"user"}},
}

// may tells whether u has a role. Everyone who is logged in is a "user", and an
// admin may do everything.
func (u *user) may(role string) bool {
	return role == "user" || slices.Contains(u.roles, role) || slices.Contains(u.roles, "admin")
}

// userOf is the user with an id, or a stranger of whom no more is known than
// the roles.
func userOf(id string, roles []string) *user {
	if i := slices.IndexFunc(users, func(u user) bool { return u.id == id }); i >= 0 {
		return &users[i]
	}
	return &user{id: id, roles: roles}
}

// claims are what a token says.
type claims struct {
	User, Kind string
	Expires    int64 // Unix seconds
}

// token signs claims: their JSON and its mac, in base64url around a dot.
func (s *server) token(c claims) string {
	text := base64.RawURLEncoding.EncodeToString(encode(c))
	return text + "." + base64.RawURLEncoding.EncodeToString(mac(s.secret, text))
}

// verify returns the claims of an access token that is ours and has not
// expired.
func (s *server) verify(token string, now time.Time) (c claims, ok bool) {
	head, sum, ok := cutMac(token)
	if !ok || !hmac.Equal(sum, mac(s.secret, head)) {
		return claims{}, false
	}
	text, err := base64.RawURLEncoding.DecodeString(head)
	if err != nil || json.Unmarshal(text, &c) != nil || c.Kind != "access" || c.Expires <= now.Unix() {
		return claims{}, false
	}
	return c, true
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	_, _ = h.Write([]byte(text)) // a hash takes everything
	return h.Sum(nil)
}

// authenticate finds out who asks: by the gateway's signed header, or else by
// the cookie.
func (s *server) authenticate(r *request) {
	if id, ok := identified(s.cfg.IdentityKeys, r.Request, r.now); ok {
		r.user = userOf(id.User, id.Roles)
		return
	}
	c, err := r.Cookie("access_token")
	if err != nil {
		return
	}
	if token, ok := s.verify(c.Value, r.now); ok {
		r.token, r.user = token, userOf(token.User, nil)
	}
}

// renewed are new cookies for an access token that ends soon.
func (s *server) renewed(r *request) []*http.Cookie {
	if r.token.Expires == 0 || time.Unix(r.token.Expires, 0).Sub(r.now) > refreshEarly {
		return nil
	}
	return s.cookies(r, r.user, accessLife)
}

func (s *server) cookies(r *request, u *user, life time.Duration) []*http.Cookie {
	access := s.token(claims{u.id, "access", r.now.Add(life).Unix()})
	refresh := s.token(claims{u.id, "refresh", r.now.Add(refreshLife).Unix()})
	return []*http.Cookie{cookie("access_token", access, life), cookie("refresh_token", refresh, refreshLife)}
}

// cookie is as Flask sets it. A life of 0 deletes it.
func cookie(name, value string, life time.Duration) *http.Cookie {
	c := &http.Cookie{Name: name, Value: value, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode}
	if c.MaxAge = int(life / time.Second); life <= 0 {
		c.MaxAge = -1 // is written as 0
	}
	return c
}

// login takes email and password, and for tests expires_in, the life of the
// access token in seconds, at most 900.
func (s *server) login(r *request) reply {
	life := accessLife
	if seconds, _ := r.body["expires_in"].(float64); seconds >= 1 && seconds < life.Seconds() {
		life = time.Duration(seconds) * time.Second
	}
	for _, u := range users {
		if u.email == r.body["email"] && u.password == r.body["password"] {
			said := encode(map[string]any{"user": u.id, "roles": u.roles})
			a := profileOf(&u).with("X-Gw-Session", "login "+strings.TrimSpace(string(said)))
			a.cookies = s.cookies(r, &u, life)
			return a
		}
	}
	return failure(http.StatusUnauthorized, "Invalid email or password")
}

func (s *server) logout(*request) reply {
	a := success(map[string]any{"message": "Logged out"}).with("X-Gw-Session", "logout")
	a.cookies = []*http.Cookie{cookie("access_token", "", 0), cookie("refresh_token", "", 0)}
	return a
}

func (s *server) profile(r *request) reply { return profileOf(r.user) }

func profileOf(u *user) reply {
	return success(map[string]any{"user": map[string]any{"id": u.id, "email": u.email, "name": u.name, "roles": u.roles}})
}

func (s *server) csrf(*request) reply {
	token := rand.Text()
	a := success(map[string]any{"csrf_token": token, "expires_in": 3600}).with("Cache-Control", "no-store")
	a.cookies = []*http.Cookie{cookie("_csrf_token", token, time.Hour)}
	return a
}
