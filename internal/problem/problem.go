// Package problem writes errors to clients as RFC 9457 problem documents, so
// that every error of the gateway's own has one shape. What an error means,
// and which status it has, is decided where it arises.
package problem

import (
	"encoding/json"
	"maps"
	"net/http"
	"strconv"
)

// Problem is one error towards a client (RFC 9457, 3.1).
type Problem struct {
	Status     int
	Type       string         // URI reference; "": about:blank
	Title      string         // "": the status's text
	Detail     string         // for a person; never an internal error
	Extensions map[string]any // further members
}

// Write sends p, with headers already set on w kept. It forbids caching, since
// an error says nothing about the resource.
func Write(w http.ResponseWriter, p Problem) {
	doc := map[string]any{}
	maps.Copy(doc, p.Extensions)
	doc["type"], doc["title"], doc["status"] = p.Type, p.Title, p.Status
	if p.Type == "" {
		doc["type"] = "about:blank"
	}
	if p.Title == "" {
		doc["title"] = http.StatusText(p.Status)
	}
	if p.Detail != "" {
		doc["detail"] = p.Detail
	}
	body, err := json.Marshal(doc)
	if err != nil { // an extension that JSON cannot hold is a programmer's mistake
		panic("problem: " + err.Error())
	}
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Content-Length", strconv.Itoa(len(body)+1))
	h.Set("Cache-Control", "no-store")
	h.Del("Content-Encoding")
	h.Del("ETag")
	w.WriteHeader(p.Status)
	_, _ = w.Write(append(body, '\n')) // a client that is gone cannot be told
}
