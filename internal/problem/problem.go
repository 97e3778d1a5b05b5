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

var (
	contentType  = []string{"application/problem+json"}
	cacheControl = []string{"no-store"}
)

// Write sends p, with headers already set on w kept. It forbids caching, since
// an error says nothing about the resource.
func Write(w http.ResponseWriter, p Problem) {
	if p.Type == "" {
		p.Type = "about:blank"
	}
	if p.Title == "" {
		p.Title = http.StatusText(p.Status)
	}
	body := p.appendJSON(make([]byte, 0, 256))
	h := w.Header()
	h["Content-Type"], h["Cache-Control"] = contentType, cacheControl // without capacity to spare: whoever appends gets a copy
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	delete(h, "Content-Encoding")
	delete(h, "Etag")
	w.WriteHeader(p.Status)
	_, _ = w.Write(body) // a client that is gone cannot be told
}

// appendJSON appends the document, and a line's end. It is written by hand since
// a refusal is to cost little, and the document has five members at most.
func (p *Problem) appendJSON(b []byte) []byte {
	b = append(b, '{')
	if p.Detail != "" {
		b = append(appendString(append(b, `"detail":`...), p.Detail), ',')
	}
	b = strconv.AppendInt(append(b, `"status":`...), int64(p.Status), 10)
	b = appendString(append(b, `,"title":`...), p.Title)
	b = appendString(append(b, `,"type":`...), p.Type)
	for i, name := range p.Violated {
		if i == 0 {
			b = append(b, `,"violated-policies":[`...)
		} else {
			b = append(b, ',')
		}
		b = appendString(b, name)
	}
	if len(p.Violated) > 0 {
		b = append(b, ']')
	}
	return append(b, "}\n"...)
}

// appendString appends a string in JSON.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			quoted, _ := json.Marshal(s) // a string always can be
			return append(b, quoted...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}
