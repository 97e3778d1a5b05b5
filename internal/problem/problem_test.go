package problem_test

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"testing"

	"github.com/jewgo/gateway/internal/problem"
)

func ExampleWrite() {
	w := httptest.NewRecorder()
	problem.Write(w, problem.Problem{Status: 429, Detail: "wait", Violated: []string{"login"}})
	fmt.Println(w.Code, w.Header().Get("Content-Type"), w.Header().Get("Cache-Control"))
	fmt.Print(w.Body)
	// Output:
	// 429 application/problem+json no-store
	// {"detail":"wait","status":429,"title":"Too Many Requests","type":"about:blank","violated-policies":["login"]}
}

// Headers about an upstream's or an earlier layer's body are replaced.
func TestWriteReplacesWhatSpeaksOfAnotherBody(t *testing.T) {
	w := httptest.NewRecorder()
	for name, v := range map[string]string{"Etag": `"x"`, "Content-Encoding": "gzip", "Content-Length": "9", "Cache-Control": "public", "Retry-After": "3"} {
		w.Header().Set(name, v)
	}
	problem.Write(w, problem.Problem{Status: 503})
	h := w.Result().Header
	if h.Get("Etag") != "" || h.Get("Content-Encoding") != "" || h.Get("Content-Length") != fmt.Sprint(w.Body.Len()) || h.Get("Cache-Control") != "no-store" {
		t.Errorf("header %v", h)
	}
	if h.Get("Retry-After") != "3" {
		t.Error("the caller's header is gone")
	}
}

// Missing members are left out, and special characters in strings are escaped.
func TestWriteMembers(t *testing.T) {
	for _, tc := range []struct {
		problem problem.Problem
		want    string
	}{
		{problem.Problem{Status: 400, Title: `"T"`}, `{"status":400,"title":"\"T\"","type":"about:blank"}`},
		{problem.Problem{Status: 400, Detail: "a\\b\n<\xff>"}, `{"detail":"a\\b\n\u003c\ufffd\u003e","status":400,"title":"Bad Request","type":"about:blank"}`},
		{
			problem.Problem{Status: 429, Type: "/t", Violated: []string{"a", "é"}},
			`{"status":429,"title":"Too Many Requests","type":"/t","violated-policies":["a","é"]}`,
		},
	} {
		w := httptest.NewRecorder()
		problem.Write(w, tc.problem)
		if got := w.Body.String(); got != tc.want+"\n" {
			t.Errorf("got  %s\nwant %s", got, tc.want)
		}
		if !json.Valid(w.Body.Bytes()) {
			t.Error("no JSON")
		}
	}
}
