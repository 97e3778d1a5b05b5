package demo

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

const (
	accessLife   = 900 * time.Second
	refreshLife  = 30 * 24 * time.Hour
	refreshEarly = 120 * time.Second // an access token with less to live is renewed on any GET
	csrfLife     = time.Hour
	maxUsers     = 1000
)

// user is someone who can log in. The password is plain: this is a
// demonstration.
type user struct {
	id, email, name, password string
	roles                     []string
}

// demoUsers are the known users; the README of the Flask example names them.
func demoUsers() []*user {
	return []*user{
		{"42", "demo@example.org", "Dina Demo", "demo", []string{"editor"}},
		{"1", "admin@example.org", "Adam Admin", "admin", []string{"admin"}},
		{"7", "user@example.org", "Uri User", "user", []string{"user"}},
	}
}

// may tells whether u has a role: "user" is everyone but guests.
func (u *user) may(role string) bool {
	if role == "user" {
		return !slices.Contains(u.roles, "guest")
	}
	return slices.Contains(u.roles, role) || slices.Contains(u.roles, "admin")
}

func (u *user) profile() map[string]any {
	return map[string]any{"id": u.id, "email": u.email, "name": u.name, "roles": u.roles}
}

// session is what a login sets as cookies.
type session struct {
	access, refresh string
	life            time.Duration // of access
}

func (s *server) newSession(u *user, now time.Time, life time.Duration) *session {
	c := claims{Subject: u.id, Roles: u.roles, Type: "access", Issued: now.Unix(), Expires: now.Add(life).Unix()}
	access := s.sign(c)
	c.Type, c.Expires = "refresh", now.Add(refreshLife).Unix()
	return &session{access: access, refresh: s.sign(c), life: life}
}

// authenticate finds out who asks: by the gateway's signed header, a bearer
// token or the cookie, in this order.
func (s *server) authenticate(r *request) {
	if id, ok := identified(s.cfg.IdentityKeys, r.Request, r.now); ok {
		r.user = s.userOf(id.User, id.Roles)
		return
	}
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		if c, err := r.Cookie("access_token"); err == nil {
			token = c.Value
		}
	}
	if c, ok := s.verify(token, "access", r.now); ok {
		r.token, r.user = c, s.userOf(c.Subject, c.Roles)
	}
}

// userOf is the user with an id, or a guest or stranger of whom no more is
// known than the roles.
func (s *server) userOf(id string, roles []string) *user {
	if i := slices.IndexFunc(s.users, func(u *user) bool { return u.id == id }); i >= 0 {
		return s.users[i]
	}
	return &user{id: id, name: "Guest", roles: roles}
}

func (s *server) addUser(email, name, password string) (*user, bool) {
	if len(s.users) >= maxUsers || slices.ContainsFunc(s.users, func(u *user) bool { return u.email == email }) {
		return nil, false
	}
	u := &user{fmt.Sprint(100 + len(s.users)), email, name, password, []string{"user"}}
	s.users = append(s.users, u)
	return u, true
}

// writeCookies sets or clears the cookies of an answer. A GET with an access
// token that ends soon is answered with new ones, whatever it asked for.
func (s *server) writeCookies(w http.ResponseWriter, r *request, answer reply) {
	login := answer.login
	early := r.token.Expires != 0 && time.Unix(r.token.Expires, 0).Sub(r.now) <= refreshEarly
	if login == nil && !answer.logout && r.Method == http.MethodGet && early {
		login = s.newSession(r.user, r.now, accessLife)
	}
	if answer.csrf != "" {
		setCookie(w, "_csrf_token", answer.csrf, csrfLife)
	}
	switch {
	case login != nil:
		setCookie(w, "access_token", login.access, login.life)
		setCookie(w, "refresh_token", login.refresh, refreshLife)
	case answer.logout:
		setCookie(w, "access_token", "", 0)
		setCookie(w, "refresh_token", "", 0)
	}
}

// setCookie sets a cookie as Flask does, with Expires besides Max-Age; a life
// of 0 deletes it.
func setCookie(w http.ResponseWriter, name, value string, life time.Duration) {
	c := &http.Cookie{Name: name, Value: value, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode}
	c.MaxAge, c.Expires = int(life/time.Second), time.Now().Add(life)
	if life <= 0 {
		c.MaxAge, c.Expires = -1, time.Unix(1, 0) // -1 is written as 0
	}
	http.SetCookie(w, c)
}
