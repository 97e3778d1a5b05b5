package dashboard

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

const (
	// liveEvery is how often a page is brought up to date, maxStreams how many pages are.
	liveEvery, maxStreams = 2 * time.Second, 16
	// liveWrite is how long a browser may take to read an update.
	liveWrite = 10 * time.Second
)

// events sends the fragments of ?page= that changed, again and again, as server-sent events (HTML,
// 9.2): a JSON object with their HTML by ID.
func (d *dashboard) events(w http.ResponseWriter, r *http.Request) {
	var v *view
	for i := range views {
		if views[i].path == r.URL.Query().Get("page") {
			v = &views[i]
		}
	}
	if v == nil {
		http.Error(w, "no such page", http.StatusNotFound)
		return
	}
	select {
	case d.streams <- struct{}{}:
		defer func() { <-d.streams }()
	default:
		w.Header().Set("Retry-After", "60")
		http.Error(w, "too many pages are open", http.StatusServiceUnavailable)
		return
	}
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Time{}) // the request has been read; where there is no deadline, there is none to lift
	head(w, "text/event-stream")
	turns := time.NewTicker(liveEvery)
	defer turns.Stop()
	for sent := map[string]string{}; ; {
		changed := d.changed(r.Context(), v, sent)
		_ = control.SetWriteDeadline(time.Now().Add(liveWrite)) // as above
		if _, err := fmt.Fprintf(w, "data: %s\n\n", changed); err != nil || control.Flush() != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-turns.C:
		}
	}
}

// changed returns the fragments of a view that differ from those that were sent, and remembers them.
func (d *dashboard) changed(ctx context.Context, v *view, sent map[string]string) []byte {
	shown := v
	if len(v.live) == 0 {
		shown = &view{path: v.path} // the state alone
	}
	data, _, _ := d.load(ctx, shown, url.Values{}) // what fails is left out
	news := map[string]string{}
	for _, names := range [][]string{common, v.live} {
		for _, name := range names {
			var html bytes.Buffer
			before, known := sent[name] // at first everything is sent, also what is empty now
			if templates[v.template()].ExecuteTemplate(&html, name, data) == nil && (!known || html.String() != before) {
				news[name], sent[name] = html.String(), html.String()
			}
		}
	}
	text, err := json.Marshal(news)
	if err != nil {
		return []byte("{}") // strings cannot fail
	}
	return text
}
