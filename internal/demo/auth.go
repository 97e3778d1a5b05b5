package demo

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	accessLife   = 15 * time.Minute
	refreshLife  = 30 * 24 * time.Hour
	refreshEarly = 2 * time.Minute // an access token that expires sooner is renewed on any GET
)

// user is someone who can log in. The password is in plain text: this is a demonstration.
type user struct {
	id, email, name, password string
	roles                     []string
}

// users are the same as in the README of the Flask example.
var users = []*user{
	{"42", "demo@example.org", "Dina Demo", "demo", []string{"editor"}},
	{"1", "admin@example.org", "Adam Admin", "admin", []string{"admin"}},
	{"7", "user@example.org", "Uri User", "user", []string{"user"}},
}

// may reports whether u has a role. Every logged-in user is a "user", and an admin may do
// everything.
func (u *user) may(role string) bool {
	return role == "user" || slices.Contains(u.roles, role) || slices.Contains(u.roles, "admin")
}

// token signs a user's ID, the kind of the token, and its expiry time.
func (s *server) token(u *user, kind string, expires time.Time) string {
	text := fmt.Sprint(u.id, ".", kind, ".", expires.Unix())
	h := hmac.New(sha256.New, s.secret)
	_, _ = h.Write([]byte(text)) // a hash never fails
	return text + "." + hex.EncodeToString(h.Sum(nil))
}

// authenticate sets the user from the cookie, if it holds one of our access tokens that has not
// expired.
func (s *server) authenticate(r *request) {
	c, err := r.Cookie("access_token")
	if err != nil {
		return
	}
	parts := strings.Split(c.Value, ".")
	i := slices.IndexFunc(users, func(u *user) bool { return u.id == parts[0] })
	if len(parts) != 4 || i < 0 {
		return
	}
	seconds, _ := strconv.ParseInt(parts[2], 10, 64) // a forged value fails the check below
	expires := time.Unix(seconds, 0)
	if hmac.Equal([]byte(c.Value), []byte(s.token(users[i], "access", expires))) && expires.After(r.now) {
		r.user, r.expires = users[i], expires
	}
}

// renewed returns new cookies if the access token expires soon.
func (s *server) renewed(r *request) []*http.Cookie {
	if r.user == nil || r.expires.Sub(r.now) > refreshEarly {
		return nil
	}
	return s.cookies(r, r.user, accessLife)
}

func (s *server) cookies(r *request, u *user, life time.Duration) []*http.Cookie {
	return []*http.Cookie{
		cookie("access_token", s.token(u, "access", r.now.Add(life)), life),
		cookie("refresh_token", s.token(u, "refresh", r.now.Add(refreshLife)), refreshLife),
	}
}

// cookie returns a cookie as Flask sets it. A life of 0 deletes it.
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
			a := profileOf(u).with("X-Gw-Session", "login "+strings.TrimSpace(string(said)))
			a.cookies = s.cookies(r, u, life)
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
	a := success(map[string]any{"csrf_token": token}).with("Cache-Control", "no-store")
	a.cookies = []*http.Cookie{cookie("_csrf_token", token, time.Hour)}
	return a
}
