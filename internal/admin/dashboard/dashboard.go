// Package dashboard is the admin API for browsers: pages that work without JavaScript, and follow what
// happens with it. All that it shows and changes goes through the API, so both say the same.
package dashboard

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"time"
)

// Page is one page of the listener. The caller guards it.
type Page struct {
	Method, Path string
	Secret       bool // it needs the token
	Change       bool // it changes something
	Serve        http.HandlerFunc
}

// Noter is the ResponseWriter of a change, whose audit line says what it was about.
type Noter interface{ Note(what string) }

//go:embed templates static
var files embed.FS

// dashboard serves the pages.
type dashboard struct {
	api     http.Handler // the admin API, without its guards
	form    string       // a secret in each form: whoever sends it has seen a page of this process
	streams chan struct{}
	now     func() time.Time
}

// view is a page that shows something.
type view struct {
	path, name string
	live       []string // fragments of the page that change
	load       func(ctx context.Context, d *dashboard, query url.Values) (map[string]any, error)
}

// views are in the order of the navigation.
var views = []view{
	{"/", "Overview", []string{"tiles", "charts", "redis", "upstreams", "limited"}, overview},
	{"/routes", "Routes", []string{"routes"}, routes},
	{"/cache", "Cache", nil, cachePage},
	{"/limits", "Limits", nil, limits},
	{"/sessions", "Sessions", nil, sessions},
	{"/explain", "Explain", nil, explain},
	{"/config", "Config", nil, config},
}

// common are the fragments of every page that change.
var common = []string{"state", "banner", "announce", "clock"}

// Pages returns the pages of the dashboard in front of an API whose handler needs no guard.
func Pages(api http.Handler) []Page {
	d := &dashboard{api: api, form: rand.Text(), streams: make(chan struct{}, maxStreams), now: time.Now}
	pages := []Page{
		{Method: http.MethodGet, Path: "/events", Serve: d.events},
		{Method: http.MethodGet, Path: "/static/{file}", Serve: d.static},
	}
	for i := range views {
		v, path := &views[i], views[i].path
		if path == "/" {
			path = "/{$}"
		}
		pages = append(pages, Page{Method: http.MethodGet, Path: path, Serve: func(w http.ResponseWriter, r *http.Request) { d.show(w, r, v) }})
	}
	for i := range changes {
		c := &changes[i]
		pages = append(pages,
			Page{Method: http.MethodGet, Path: c.path, Secret: true, Serve: func(w http.ResponseWriter, r *http.Request) { d.confirm(w, r, c) }},
			Page{Method: http.MethodPost, Path: c.path, Change: true, Serve: func(w http.ResponseWriter, r *http.Request) { d.carryOut(w, r, c) }})
	}
	return pages
}

// templates are those of pages, by the file's name without .html.
var templates = parse()

func parse() map[string]*template.Template {
	layout := template.Must(template.New("layout.html").Funcs(functions).ParseFS(files, "templates/layout.html", "templates/parts.html"))
	all := map[string]*template.Template{}
	names := []string{"confirm", "done"}
	for _, v := range views {
		names = append(names, v.template())
	}
	for _, name := range names {
		all[name] = template.Must(template.Must(layout.Clone()).ParseFS(files, "templates/"+name+".html"))
	}
	return all
}

// template is the name of the view's.
func (v *view) template() string {
	if v.path == "/" {
		return "overview"
	}
	return v.path[1:]
}

// show answers with a view.
func (d *dashboard) show(w http.ResponseWriter, r *http.Request, v *view) {
	data, status, err := d.load(r.Context(), v, r.URL.Query())
	if err != nil {
		data["Problem"] = err.Error()
	}
	d.render(w, status, v.template(), data)
}

// load returns the data of a view. With an error, it is what can be shown all the same.
func (d *dashboard) load(ctx context.Context, v *view, query url.Values) (data map[string]any, status int, err error) {
	data = map[string]any{}
	if v.load != nil {
		if data, err = v.load(ctx, d, query); data == nil {
			data = map[string]any{}
		}
	}
	data["Title"], data["Path"], data["Views"], data["Query"], data["Now"], data["Live"] = v.name, v.path, views, query, d.now().UTC(), len(v.live) > 0
	if now, wrong := d.ask(ctx, http.MethodGet, "/v1/status", nil); wrong == nil {
		data["Status"] = now
	} else {
		err = cmp.Or(err, wrong)
	}
	return data, statusOf(err), err
}

// statusOf is the status of a page with an error of the API, or without.
func statusOf(err error) int {
	if failed := (*apiError)(nil); errors.As(err, &failed) {
		return failed.status
	}
	if err != nil {
		return http.StatusBadGateway
	}
	return http.StatusOK
}

// Name and Path are for the navigation.
func (v view) Name() string { return v.name }
func (v view) Path() string { return v.path }

// headers of every page: nothing but this listener's own files, and no frame around it.
var headers = map[string]string{
	"Content-Security-Policy":    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
	"X-Content-Type-Options":     "nosniff",
	"X-Frame-Options":            "DENY",
	"Referrer-Policy":            "same-origin",
	"Cross-Origin-Opener-Policy": "same-origin",
	"Cache-Control":              "no-store",
}

// head sets the headers; contentType "": that of the file.
func head(w http.ResponseWriter, contentType string) {
	for field, value := range headers {
		w.Header().Set(field, value)
	}
	if contentType != "" {
		w.Header().Set("Content-Type", contentType)
	}
}

func (d *dashboard) render(w http.ResponseWriter, status int, name string, data map[string]any) {
	var page bytes.Buffer
	if err := templates[name].ExecuteTemplate(&page, "layout.html", data); err != nil {
		http.Error(w, "the page has a mistake: "+err.Error(), http.StatusInternalServerError)
		return
	}
	head(w, "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(page.Bytes()) // it fails only if the client has gone
}

// static serves the style and the script.
func (d *dashboard) static(w http.ResponseWriter, r *http.Request) {
	head(w, "")
	http.ServeFileFS(w, r, files, "static/"+r.PathValue("file"))
}

// apiError is an answer of the API that is not the one hoped for.
type apiError struct {
	status int
	detail string
}

func (e *apiError) Error() string { return e.detail }

// ask asks the API, and returns its JSON, or its text.
func (d *dashboard) ask(ctx context.Context, method, path string, body any) (any, error) {
	content, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("dashboard: %w", err)
	}
	r, err := http.NewRequestWithContext(ctx, method, path, bytes.NewReader(content))
	if err != nil {
		return nil, fmt.Errorf("dashboard: %w", err)
	}
	answer := &recorder{header: http.Header{}, status: http.StatusOK}
	answer.noter, _ = ctx.Value(noterKey{}).(Noter)
	d.api.ServeHTTP(answer, r)
	if answer.status/100 == 3 { // the path of a name such as ".."
		answer.status = http.StatusNotFound
	}
	if answer.status >= http.StatusBadRequest {
		var p struct{ Title, Detail string }
		if err := json.Unmarshal(answer.body.Bytes(), &p); err != nil {
			p.Detail = http.StatusText(answer.status)
		}
		return nil, &apiError{answer.status, p.Detail}
	}
	var v any
	if json.Unmarshal(answer.body.Bytes(), &v) != nil {
		return answer.body.String(), nil
	}
	return v, nil
}

// noterKey is the context key of the Noter of a change.
type noterKey struct{}

// recorder is the ResponseWriter of the API's answers.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
	noter  Noter // nil: nobody
}

func (a *recorder) Header() http.Header         { return a.header }
func (a *recorder) WriteHeader(status int)      { a.status = status }
func (a *recorder) Write(b []byte) (int, error) { return a.body.Write(b) }

// Note implements Noter.
func (a *recorder) Note(what string) {
	if a.noter != nil {
		a.noter.Note(what)
	}
}
