// Package problem writes errors to clients as RFC 9457 problem documents, so
// that every error of the gateway's own has one shape. What an error means,
// and which status it has, is decided where it arises.
package problem

import (
	"encoding/json"
	"net/http"
	"strconv"
)

// Problem is one error towards a client (RFC 9457, 3.1).
type Problem struct {
	Status   int
	Type     string   // URI reference; "": about:blank
	Title    string   // "": the status's text
	Detail   string   // for a person; never an internal error
	Violated []string // names of the limits that refuse (draft-ietf-httpapi-ratelimit-headers); nil: none does
}

// document is a Problem in JSON.
type document struct {
	Detail   string   `json:"detail,omitempty"`
	Status   int      `json:"status"`
	Title    string   `json:"title"`
	Type     string   `json:"type"`
	Violated []string `json:"violated-policies,omitempty"`
}

// Write sends p, with headers already set on w kept. It forbids caching, since
// an error says nothing about the resource.
func Write(w http.ResponseWriter, p Problem) {
	doc := document{Detail: p.Detail, Status: p.Status, Title: p.Title, Type: p.Type, Violated: p.Violated}
	if p.Type == "" {
		doc.Type = "about:blank"
	}
	if p.Title == "" {
		doc.Title = http.StatusText(p.Status)
	}
	body, err := json.Marshal(&doc)
	if err != nil { // strings and numbers always can be
		panic("problem: " + err.Error())
	}
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Content-Length", strconv.Itoa(len(body)+1))
	h.Set("Cache-Control", "no-store")
	h.Del("Content-Encoding")
	h.Del("Etag")
	w.WriteHeader(p.Status)
	_, _ = w.Write(append(body, '\n')) // a client that is gone cannot be told
}
