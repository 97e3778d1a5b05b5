package demo

import (
	"net/http"
	"strings"
	"time"

	"golang.org/x/net/websocket"
)

// endpoint is one row of the table below.
type endpoint struct {
	pattern string // of http.ServeMux; {family} stands for the name of each family
	role    string // "": anyone; "writer", "remover": defined by the family
	serve   func(*server, *request) reply
}

const v5 = "/api/v5"

// endpoints are all endpoints except /socket.io/, which does not have a single response.
var endpoints = []endpoint{
	{"GET " + v5 + "/{family}", "", (*server).list},
	{"GET " + v5 + "/{family}/{$}", "", (*server).list},
	{"POST " + v5 + "/{family}", "writer", (*server).write},
	{"POST " + v5 + "/{family}/{$}", "writer", (*server).write},
	{"GET " + v5 + "/{family}/filter-options", "", func(*server, *request) reply { return success(filterOptions()) }},
	{"GET " + v5 + "/{family}/{id}", "", (*server).detail},
	{"PUT " + v5 + "/{family}/{id}", "writer", (*server).write},
	{"PATCH " + v5 + "/{family}/{id}", "writer", (*server).write},
	{"DELETE " + v5 + "/{family}/{id}", "remover", (*server).remove},
	{"POST " + v5 + "/{family}/{id}/{action}", "", (*server).act},
	{"POST " + v5 + "/{family}/{id}/claim", "user", (*server).act},
	{"POST " + v5 + "/{family}/{id}/redeem", "editor", (*server).act},
	{"GET " + v5 + "/search/{what...}", "", (*server).suggest},

	{"POST " + v5 + "/auth/login", "", (*server).login},
	{"POST " + v5 + "/auth/logout", "", (*server).logout},
	{"GET " + v5 + "/auth/csrf", "", (*server).csrf},
	{"GET " + v5 + "/auth/profile", "user", (*server).profile},
	{"GET " + v5 + "/auth/me", "user", (*server).profile},
	{"GET " + v5 + "/auth/.well-known/jwks.json", "", jwks},

	{"GET /healthz", "", healthy},
	{"GET /readyz", "", healthy},
	{"GET /health", "", healthy},
	{v5 + "/debug/{rest...}", "", debug},
	{"POST /webhook/{rest...}", "", accept},
	{"POST " + v5 + "/webhook/{rest...}", "", accept},
	{v5 + "/admin/{rest...}", "admin", accept},
	{v5 + "/monitoring/{rest...}", "admin", accept},
}

func healthy(*server, *request) reply {
	return answer(map[string]any{"status": "healthy", "version": "5.0"})
}

// debug is open to everyone; a gateway must close it.
func debug(*server, *request) reply {
	return success(map[string]any{"database_url": "postgres://demo:secret@db/demo"})
}

// accept answers requests meant for the backend only, and does nothing here.
func accept(_ *server, r *request) reply {
	return success(map[string]any{"method": r.Method, "target": r.RequestURI})
}

// jwks returns an empty key set, which anyone may cache for five minutes.
func jwks(*server, *request) reply {
	return answer(map[string]any{"keys": []any{}}).with("Cache-Control", public)
}

// echoSocket sends every message of a WebSocket back. It disconnects a client that is silent for
// five minutes.
func echoSocket(w http.ResponseWriter, r *http.Request) {
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		write(w, failure(http.StatusBadRequest, "WebSocket expected"))
		return
	}
	websocket.Server{
		// Any origin: the gateway decides which origins may connect.
		Handshake: func(*websocket.Config, *http.Request) error { return nil },
		Handler: func(c *websocket.Conn) {
			c.MaxPayloadBytes = 64 << 10
			var message string
			for {
				if c.SetDeadline(time.Now().Add(5*time.Minute)) != nil ||
					websocket.Message.Receive(c, &message) != nil || websocket.Message.Send(c, message) != nil {
					return
				}
			}
		},
	}.ServeHTTP(w, r)
}
