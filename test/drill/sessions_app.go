package drill

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"path"
	"strconv"
	"strings"
)

// sessionsApp is the application of the drill of sessions. It keeps all it knows in cookies that stay in the session:
// n is "USER.COUNT", where each write counts one more; a, b and c are set to what a request says.
type sessionsApp struct{}

// seen is what the application got with a request.
type seen struct {
	User    string            `json:"user"`
	Cookies map[string]string `json:"cookies"`
}

// ServeHTTP obeys the last part of the path, and answers with what the request brought.
func (sessionsApp) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	got := seen{User: caller(r), Cookies: map[string]string{}}
	for _, c := range r.Cookies() {
		got.Cookies[c.Name] = c.Value
	}
	keep := func(name, value string) {
		http.SetCookie(w, &http.Cookie{Name: name, Value: value, Path: "/", HttpOnly: true})
	}
	q := r.URL.Query()
	switch what := path.Base(r.URL.Path); what {
	case "login":
		user := q.Get("user")
		w.Header().Set("X-Gw-Session", `login {"user":"`+user+`"}`)
		keep("n", user+".0")
	case "logout", "logout-all":
		w.Header().Set("X-Gw-Session", what)
	case "write":
		user, count := counted(got.Cookies["n"])
		keep("n", user+"."+strconv.Itoa(count+1))
	case "set":
		keep(q.Get("name"), q.Get("value"))
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(got) // fails only if the gateway has gone
}

// counted reads "USER.COUNT".
func counted(n string) (user string, count int) {
	user, text, _ := strings.Cut(n, ".")
	count, _ = strconv.Atoi(text) // another text is no count
	return user, count
}

// caller is the user in the gateway's identity header, v1.KEY.PAYLOAD.MAC. Its MAC is tested elsewhere.
func caller(r *http.Request) string {
	parts := strings.Split(r.Header.Get("X-Gw-Identity"), ".")
	if len(parts) != 4 {
		return ""
	}
	var payload struct {
		User string `json:"u"`
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil || json.Unmarshal(text, &payload) != nil {
		return ""
	}
	return payload.User
}
