package drill

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

// sessionsAnswer is what a gateway answered.
type sessionsAnswer struct {
	gateway int
	status  int
	cookie  string // the session's, as a Cookie field; "": it set none
	seen    seen   // by the application; zero unless the status is 200
}

// send makes one request with a session's cookie through a gateway. ok is false if nobody answered.
func (w *sessionsWorld) send(g int, method, path, cookie string) (a sessionsAnswer, ok bool) {
	life := w.lives[g].Load()
	req, err := http.NewRequest(method, w.urls[g]+path, nil)
	if err != nil {
		panic("drill: " + err.Error()) // all of it is the drill's own
	}
	req.Host = sharedHost // a session is for one host
	if cookie != "" {
		req.Header.Set("Cookie", cookie)
	}
	a = sessionsAnswer{gateway: g}
	res, err := w.client.Do(req)
	if err == nil {
		a.status = res.StatusCode
		if a.status == http.StatusOK {
			err = json.NewDecoder(res.Body).Decode(&a.seen)
		}
		_, _ = io.Copy(io.Discard, res.Body) // so that the connection can be used again
		_ = res.Body.Close()
	}
	if err != nil {
		if life%2 == 0 && life == w.lives[g].Load() {
			w.find("5xx", &w.row.Failed, "%s %s: %v", method, path, err)
		}
		return a, false
	}
	for _, c := range res.Cookies() {
		if c.Name == "gw" && c.MaxAge >= 0 {
			a.cookie = c.Name + "=" + c.Value
		}
	}
	w.mu.Lock()
	w.row.Requests++
	w.mu.Unlock()
	if a.status >= 500 {
		w.find("5xx", &w.row.Failed, "%s %s: %d", method, path, a.status)
	}
	return a, true
}

// find counts something that must not be, in a field of row, and keeps the first example.
func (w *sessionsWorld) find(problem string, count *int, format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if *count++; w.wrong[problem] == "" {
		w.wrong[problem] = fmt.Sprintf(format, args...)
	}
}

// any draws a gateway that is not restarting, if there is one.
func (w *sessionsWorld) any(random *rand.Rand) int {
	first := random.IntN(len(w.fleet))
	for i := range w.fleet {
		if g := (first + i) % len(w.fleet); w.lives[g].Load()%2 == 0 {
			return g
		}
	}
	return first
}

// sessionsUser is a user with two browsers. All but its name belongs to the goroutine of step.
type sessionsUser struct {
	world    *sessionsWorld
	name     string
	random   *rand.Rand
	browsers [2]browser
}

// browser is what one browser of a user has, and what it was told.
type browser struct {
	cookie, older string // the session's newest cookie, and an earlier one; "": none
	count         int    // writes that were answered
	doubt         int    // writes since then that were not answered
}

// step does one thing with one browser, through any gateway.
func (u *sessionsUser) step() {
	b, g := &u.browsers[u.random.IntN(len(u.browsers))], u.world.any(u.random)
	switch n := u.random.IntN(100); {
	case b.cookie == "":
		u.login(b, g)
	case n < 40:
		u.ask(b, g, http.MethodGet, "/app/read")
	case n < 75:
		u.write(b, g)
	case n < 88:
		u.writeTogether(b)
	case n < 97:
		u.logout(g, "/auth/logout", b)
	default:
		u.logout(g, "/auth/logout-all", &u.browsers[0], &u.browsers[1])
	}
}

func (u *sessionsUser) login(b *browser, g int) {
	a, ok := u.world.send(g, http.MethodPost, "/auth/login?user="+u.name, "")
	if ok && a.status == http.StatusOK {
		*b = browser{cookie: a.cookie}
		u.world.count(&u.world.row.Logins)
	}
}

func (w *sessionsWorld) count(field *int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	*field++
}

// ask makes a request of a live session, and judges what the application got.
func (u *sessionsUser) ask(b *browser, g int, method, path string) (a sessionsAnswer, ok bool) {
	w := u.world
	a, ok = w.send(g, method, path, b.cookie)
	switch {
	case !ok:
		return a, false
	case a.status == http.StatusUnauthorized:
		w.find("denied", &w.row.Denied, "%s %s of %s at gateway %d", method, path, u.name, g)
		*b = browser{}
		return a, false
	case a.status != http.StatusOK:
		return a, false
	}
	if a.cookie != "" {
		b.cookie, b.older = a.cookie, b.cookie
	}
	user, count := counted(a.seen.Cookies["n"])
	switch {
	case a.seen.User != u.name || user != u.name:
		w.find("strangers", &w.row.Strangers, "%s was %q with the cookies of %q at gateway %d", u.name, a.seen.User, user, g)
	case count < b.count || count > b.count+b.doubt:
		w.find("lost writes", &w.row.Lost, "%s had %d writes and %d unanswered, gateway %d knows %d", u.name, b.count, b.doubt, g, count)
	}
	b.count, b.doubt = count, 0
	return a, true
}

// write has the application count one more.
func (u *sessionsUser) write(b *browser, g int) {
	if _, ok := u.ask(b, g, http.MethodPost, "/app/write"); ok {
		b.count++
	} else {
		b.doubt++
	}
}

// writeTogether has a page write three cookies at once, through any gateways. What they answer must be in the session,
// unless a fault was played meanwhile: gateways that are cut off from each other keep one of their versions.
func (u *sessionsUser) writeTogether(b *browser) {
	w, began, calm := u.world, time.Now(), u.world.broken.Load()
	value := fmt.Sprint(u.random.Uint32())
	var mu sync.Mutex
	var answers []sessionsAnswer // in the order in which the browser gets them
	var all sync.WaitGroup
	names := []string{"a", "b", "c"}
	for _, name := range names {
		g := w.any(u.random)
		all.Go(func() {
			if a, ok := w.send(g, http.MethodPost, "/app/set?name="+name+"&value="+value, b.cookie); ok && a.status == http.StatusOK && a.cookie != "" {
				mu.Lock()
				defer mu.Unlock()
				answers = append(answers, a)
			}
		})
	}
	all.Wait()
	if len(answers) == 0 {
		return
	}
	b.cookie, b.older = answers[len(answers)-1].cookie, b.cookie
	a, ok := u.ask(b, w.any(u.random), http.MethodGet, "/app/read")
	if !ok || len(answers) < len(names) || calm%2 != 0 || w.broken.Load() != calm {
		return
	}
	for _, name := range names {
		if a.seen.Cookies[name] != value && w.steady(began) {
			w.find("lost writes", &w.row.Lost, "%s wrote a, b and c at once, gateway %d does not know %s", u.name, a.gateway, name)
		}
	}
}

// logout ends the sessions of browsers by one request, and leaves copies of their cookies.
func (u *sessionsUser) logout(g int, path string, browsers ...*browser) {
	i := 0
	for browsers[i].cookie == "" {
		i++
	}
	a, ok := u.world.send(g, http.MethodPost, path, browsers[i].cookie)
	for _, b := range browsers {
		if ok && a.status == http.StatusOK {
			u.world.ended(g, b.cookie, b.older)
		}
		*b = browser{} // without an answer nobody knows whether it lives
	}
	if ok {
		u.world.count(&u.world.row.Logouts)
	}
}
