package demo

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"maps"
	"net/http"
	"strings"
	"time"

	"golang.org/x/net/websocket"
)

// endpoint is one row of the table below.
type endpoint struct {
	pattern string // of http.ServeMux; {family} stands for the name of each family
	role    string // "": anyone; "writer", "remover": the family says which
	serve   func(*server, *request) reply
}

const v5 = "/api/v5"

// endpoints are all but /socket.io/, which is no request with one answer.
var endpoints = []endpoint{
	{"GET " + v5 + "/{family}", "", (*server).list},
	{"GET " + v5 + "/{family}/{$}", "", (*server).list},
	{"POST " + v5 + "/{family}", "writer", (*server).create},
	{"POST " + v5 + "/{family}/{$}", "writer", (*server).create},
	{"GET " + v5 + "/{family}/filter-options", "", (*server).options},
	{"GET " + v5 + "/{family}/{id}", "", (*server).detail},
	{"PUT " + v5 + "/{family}/{id}", "writer", (*server).update},
	{"PATCH " + v5 + "/{family}/{id}", "writer", (*server).update},
	{"DELETE " + v5 + "/{family}/{id}", "remover", (*server).remove},
	{"POST " + v5 + "/{family}/{id}/view", "", count("view_count")},
	{"POST " + v5 + "/{family}/{id}/share", "", (*server).detail},
	{"POST " + v5 + "/{family}/{id}/favorite", "", (*server).detail},
	{"POST " + v5 + "/{family}/{id}/unfavorite", "", (*server).detail},
	{"POST " + v5 + "/{family}/{id}/claim", "user", count("claims")},
	{"POST " + v5 + "/{family}/{id}/redeem", "editor", count("redemptions")},
	{"GET " + v5 + "/{family}/{type}/{entity}/stats", "", (*server).reviewStats},
	{"GET " + v5 + "/search", "", (*server).search},
	{"GET " + v5 + "/search/{what...}", "", (*server).search},

	{"POST " + v5 + "/auth/login", "", (*server).login},
	{"POST " + v5 + "/auth/logout", "", (*server).logout},
	{"GET " + v5 + "/auth/csrf", "", (*server).csrf},
	{"GET " + v5 + "/auth/profile", "user", (*server).profile},
	{"GET " + v5 + "/auth/me", "user", (*server).profile},
	{"GET " + v5 + "/auth/.well-known/jwks.json", "", jwks},

	{"GET /healthz", "", healthy},
	{"GET /readyz", "", healthy},
	{"GET /health", "", healthy},
	{"GET /__stats", "", (*server).stats},
	{v5 + "/echo", "", echo},
	{v5 + "/debug/{rest...}", "", debug},
	{"POST /webhook/{rest...}", "", echo},
	{"POST " + v5 + "/webhook/{rest...}", "", echo},
	{"/admin/{rest...}", "admin", echo},
	{v5 + "/admin/{rest...}", "admin", echo},
	{"/monitoring/{rest...}", "admin", echo},
	{v5 + "/monitoring/{rest...}", "admin", echo},
}

func healthy(*server, *request) reply {
	return answer(map[string]any{"status": "healthy", "version": "5.0"})
}

// stats tells how many requests have come, by method and path. It does not
// count itself.
func (s *server) stats(*request) reply {
	return answer(map[string]any{"requests": maps.Clone(s.counts)})
}

// debug is open to everyone, which a gateway must not be.
func debug(*server, *request) reply {
	return success(map[string]any{"database_url": "postgres://demo:secret@db/demo"})
}

// echo describes the request as it came in. Fields that came several times
// are joined with commas, as WSGI does.
func echo(_ *server, r *request) reply {
	headers := map[string]string{"Host": r.Host}
	for name, values := range r.Header {
		headers[name] = strings.Join(values, ",")
	}
	sum := sha256.Sum256(r.raw)
	return answer(map[string]any{
		"method": r.Method, "target": r.RequestURI, "headers": headers,
		"length": len(r.raw), "sha256": hex.EncodeToString(sum[:]),
	})
}

// jwks shows a key set of the real one's shape, which anyone may keep for five
// minutes; no token of this backend is signed with it.
func jwks(*server, *request) reply {
	n := base64.RawURLEncoding.EncodeToString([]byte(strings.Repeat("demo", 64)))
	key := map[string]any{"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "demo", "e": "AQAB", "n": n}
	return answer(map[string]any{"keys": []any{key}}).with("Cache-Control", public)
}

// echoSocket sends every message of a WebSocket back. A client that is silent
// for five minutes is let go.
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
