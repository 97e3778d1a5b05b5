package proxy

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Where a stream may end, marked by |.
func TestEventPositions(t *testing.T) {
	for _, marked := range []string{
		"|data: 1\n\n|data: 2\n\n|",
		"|data: 1\r\n\r|\n|data: 2\r\r|",
		"|id: 7\ndata: 1\ndata: 2\n\n|event",
		"|: a comment\n|\n|: another\r|\n|data: 1\n: within\n\n|",
		"|data\n",
		"|\n|\r|\n|",
		"|:\r|:\n|",
	} {
		text := strings.ReplaceAll(marked, "|", "")
		var p eventPosition
		got := "|"
		for i := range len(text) {
			p.step(text[i])
			got += text[i : i+1]
			if p.between() {
				got += "|"
			}
		}
		if got != marked {
			t.Errorf("%q, want %q", got, marked)
		}
	}
}

// events serves what is sent to it, until the client is gone.
func events(kind string, sent <-chan string, gone chan<- struct{}) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		defer close(gone)
		w.Header().Set("Content-Type", kind)
		_ = http.NewResponseController(w).Flush()
		for {
			select {
			case text, more := <-sent:
				if !more {
					return
				}
				_, _ = io.WriteString(w, text)
				_ = http.NewResponseController(w).Flush()
			case <-r.Context().Done():
				return
			}
		}
	}
}

// A gateway that leaves ends a stream of events between two of them: at once if its client reconnects, at the end of
// drain if it may not, and others not at all.
func TestEventsEndBetweenTwo(t *testing.T) {
	const reconnects, other, never = "EndEvents", "Leave", "" // which of the two ends it
	for _, tc := range []struct {
		sentence, method, kind, accept string
		before, after                  string // what the upstream sends before and after EndEvents
		want                           string // what the client gets
		ends                           string
	}{
		{"before the first event", "GET", "text/event-stream", "text/event-stream", "", "", "", reconnects},
		{"after an event", "GET", "text/event-stream; charset=utf-8", "text/html, Text/Event-Stream", "data: 1\n\n", "", "data: 1\n\n", reconnects},
		{"within an event", "GET", "text/event-stream", "text/event-stream", "data: 1\nda", "ta: 2\n\ndata: 3\n\n", "data: 1\ndata: 2\n\n", reconnects},
		{"whose client may not reconnect", "GET", "text/event-stream", "*/*", "data: 1\n\n", "", "data: 1\n\n", other},
		{"an answer to a POST comes once", "POST", "text/event-stream", "text/event-stream", "data: 1\n\n", "data: 2\n\n", "data: 1\n\ndata: 2\n\n", never},
		{"another type has no events", "GET", "text/plain", "text/event-stream", "data: 1\n\n", "data: 2\n\n", "data: 1\n\ndata: 2\n\n", never},
	} {
		t.Run(tc.sentence, func(t *testing.T) {
			sent, gone := make(chan string, 1), make(chan struct{})
			e := newEdge(t, setup{app: one(backend(t, events(tc.kind, sent, gone)))})
			req := request(t, tc.method, e.URL, nil)
			req.Header.Set("Accept", tc.accept)
			resp, err := e.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			r := bufio.NewReader(resp.Body)
			if tc.before != "" {
				sent <- tc.before
				if _, err := r.Peek(len(tc.before)); err != nil {
					t.Fatal(err)
				}
			}
			e.handler.EndEvents()
			if tc.after != "" {
				sent <- tc.after
			}
			switch tc.ends {
			case other:
				select {
				case <-gone:
					t.Error("it has ended too early")
				case <-time.After(100 * time.Millisecond):
				}
				e.handler.Leave(t.Context())
			case never:
				close(sent)
			}
			got, err := io.ReadAll(r)
			if err != nil || string(got) != tc.want {
				t.Errorf("%q, %v, want %q", got, err, tc.want)
			}
			select {
			case <-gone:
			case <-time.After(patience):
				t.Error("the upstream still sends")
			}
			if facts := e.done(t); (facts.Reason == ReasonLeaving) != (tc.ends != never) {
				t.Errorf("reason %q", facts.Reason)
			}
		})
	}
}

// A stream that breaks off within an event is not made whole by leaving.
func TestBrokenEventsStayBroken(t *testing.T) {
	breaks := make(chan struct{})
	e := newEdge(t, setup{app: one(backend(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: 1\nda")
		_ = http.NewResponseController(w).Flush()
		<-breaks
		panic(http.ErrAbortHandler)
	}))})
	req := request(t, http.MethodGet, e.URL, nil)
	req.Header.Set("Accept", "text/event-stream")
	resp, err := e.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadFull(resp.Body, make([]byte, len("data: 1\nda"))); err != nil {
		t.Fatal(err)
	}
	e.handler.EndEvents()
	close(breaks)
	if got, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("a whole body: %q", got)
	}
}
