// Package problem writes errors to clients as RFC 9457 problem documents, so that all errors of the
// gateway have the same form. The code where an error arises decides its meaning and status.
package problem

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
)

// Problem is one error for a client (RFC 9457, 3.1).
type Problem struct {
	Status   int
	Type     string   // URI reference; "": about:blank
	Title    string   // "": the status's text
	Detail   string   // for a person; never an internal error
	Violated []string // names of the refusing limits (draft-ietf-httpapi-ratelimit-headers); nil: none
}

type contextKey struct{}

// With returns the context of a request that is refused with p before its handler is called.
func With(ctx context.Context, p *Problem) context.Context {
	return context.WithValue(ctx, contextKey{}, p)
}

// From returns the problem for which a request is to be refused; nil: none.
func From(ctx context.Context) *Problem {
	p, _ := ctx.Value(contextKey{}).(*Problem)
	return p
}

var (
	contentType  = []string{"application/problem+json"}
	cacheControl = []string{"no-store"}
)

// Write sends p and keeps other headers already set on w. It forbids caching, since an error says
// nothing about the resource.
func Write(w http.ResponseWriter, p Problem) {
	if p.Type == "" {
		p.Type = "about:blank"
	}
	if p.Title == "" {
		p.Title = http.StatusText(p.Status)
	}
	body := p.appendJSON(make([]byte, 0, 256))
	h := w.Header()
	h["Content-Type"], h["Cache-Control"] = contentType, cacheControl // no spare capacity: an append copies them
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	delete(h, "Content-Encoding")
	delete(h, "Etag")
	w.WriteHeader(p.Status)
	_, _ = w.Write(body) // it fails only if the client has gone
}

// appendJSON appends the document and a newline. It is written by hand because a refusal should be
// cheap, and the document has at most five members.
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

// appendString appends a JSON string.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			quoted, _ := json.Marshal(s) // never fails for a string
			return append(b, quoted...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}
