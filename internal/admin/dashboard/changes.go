package dashboard

import (
	"context"
	"crypto/subtle"
	"net/http"
	"net/url"
	"strings"
)

// maxForm bounds a form, in bytes.
const maxForm = 64 << 10

// change is something that a form can do. It asks first.
type change struct {
	path string
	page string // the one that it was asked from
	// back is the query of that page, as it was; nil: none.
	back func(form url.Values) url.Values
	// ask says what will happen to whom, in one question, and what the button is called; "": the form
	// is not complete.
	ask func(form url.Values) (question, button string)
	// call is the request to the API.
	call func(form url.Values) (path string, body any)
	done func(answer any) string
}

var changes = []change{
	{
		path: "/purge", page: "/cache",
		back: func(f url.Values) url.Values {
			if f.Get("kind") == "url" {
				return url.Values{"url": {f.Get("value")}}
			}
			return nil
		},
		ask: func(f url.Values) (string, string) {
			what, value := purged[f.Get("kind")], f.Get("value")
			switch {
			case f.Get("kind") == "all": // whatever else the form says
			case what == "" || value == "":
				return "", ""
			default:
				what += value
			}
			if f.Get("soft") != "" {
				return "Make " + what + " stale, on all gateways?", "Make stale"
			}
			return "Remove " + what + " from the cache of all gateways?", "Purge"
		},
		call: func(f url.Values) (string, any) {
			body := map[string]any{}
			if kind := f.Get("kind"); kind == "all" {
				body[kind] = true
			} else {
				body[kind+"s"] = []string{f.Get("value")}
			}
			if f.Get("soft") != "" {
				body["soft"] = true
			}
			return "/v1/purges", body
		},
		done: func(answer any) string {
			if field(answer, "applied") == true {
				return "It is in force on all gateways that can be reached."
			}
			return "It is in force on this gateway, and not yet everywhere."
		},
	},
	{
		path: "/reset", page: "/limits",
		back: func(f url.Values) url.Values { return url.Values{"limit": f["limit"], "key": f["key"]} },
		ask: func(f url.Values) (string, string) {
			if f.Get("limit") == "" || f.Get("key") == "" {
				return "", ""
			}
			return "Give " + join(f["key"]) + " all tokens of the limit " + f.Get("limit") + " again?", "Reset"
		},
		call: func(f url.Values) (string, any) {
			return "/v1/limits/" + url.PathEscape(f.Get("limit")) + "/reset?" + url.Values{"key": f["key"]}.Encode(), nil
		},
		done: func(answer any) string {
			if field(answer, "redis") == true {
				return "The bucket is whole, on all gateways within a second."
			}
			return "The bucket is whole on this gateway. The others were not told: Redis is unavailable, or there is none."
		},
	},
	{
		path: "/revoke", page: "/sessions",
		back: func(f url.Values) url.Values {
			if f.Has("user") {
				return url.Values{"user": f["user"]}
			}
			return nil
		},
		ask: func(f url.Values) (string, string) {
			switch {
			case f.Get("id") != "":
				return "End the session " + f.Get("id") + "?", "End session"
			case f.Get("user") != "":
				return "End all sessions of the user " + f.Get("user") + ", on all devices?", "End sessions"
			case f.Get("all") != "":
				return "End the sessions of all users? Everyone will have to log in again.", "End all sessions"
			}
			return "", ""
		},
		call: func(f url.Values) (string, any) {
			body := map[string]any{}
			switch {
			case f.Get("id") != "":
				body["id"] = f.Get("id")
			case f.Get("user") != "":
				body["user"] = f.Get("user")
			default:
				body["all"] = true
			}
			return "/v1/sessions/revoke", body
		},
		done: func(answer any) string {
			if field(answer, "redis") == true {
				return "Whatever there was is ended, on all gateways."
			}
			return "Whatever there was is ended, here and on the gateways that can be reached; the others learn of it when Redis is back."
		},
	},
	{
		path: "/reload", page: "/config",
		ask: func(url.Values) (string, string) {
			return "Read the policy file again, and put it in force?", "Reload"
		},
		call: func(url.Values) (string, any) { return "/v1/reload", nil },
		done: func(any) string { return "The policy file is in force as it is now." },
	},
}

// purged says what a kind of purge removes; the value follows.
var purged = map[string]string{
	"tag": "all responses with the tag ", "url": "all responses of ", "route": "all responses of the route ",
	"group": "all responses of the cache group ", "all": "all responses",
}

// backTo is where the change was asked for.
func (c *change) backTo(form url.Values) string {
	if c.back == nil {
		return c.page
	}
	return strings.TrimSuffix(c.page+"?"+c.back(form).Encode(), "?")
}

// confirm asks before a change.
func (d *dashboard) confirm(w http.ResponseWriter, r *http.Request, c *change) {
	form := r.URL.Query()
	data, status, err := d.load(r.Context(), &view{path: c.page, name: "Sure?"}, form)
	question, button := c.ask(form)
	switch {
	case question == "":
		data["Problem"], status = "The form is not complete.", http.StatusBadRequest
	case err != nil:
		data["Problem"] = err.Error()
	}
	data["Question"], data["Button"], data["Action"], data["Form"], data["Back"] = question, button, c.path, d.form, c.backTo(form)
	d.render(w, status, "confirm", data)
}

// carryOut makes a change that was confirmed.
func (d *dashboard) carryOut(w http.ResponseWriter, r *http.Request, c *change) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	err := r.ParseForm()
	form := r.PostForm
	data, _, _ := d.load(r.Context(), &view{path: c.page, name: "Done"}, url.Values{}) // its state alone
	question, _ := c.ask(form)
	switch {
	case err != nil || question == "":
		err = &apiError{http.StatusBadRequest, "The form is not complete."}
	case subtle.ConstantTimeCompare([]byte(form.Get("form")), []byte(d.form)) != 1:
		err = &apiError{http.StatusForbidden, "The form is not of this process: the gateway has restarted, or another site sent it. Nothing was changed."}
	default:
		var answer any
		path, body := c.call(form)
		noter, _ := w.(Noter)
		answer, err = d.ask(context.WithValue(r.Context(), noterKey{}, noter), http.MethodPost, path, body)
		if err == nil {
			data["Done"], data["Purged"] = c.done(answer), field(answer, "id")
		}
	}
	if err != nil {
		data["Title"], data["Problem"] = "Not done", err.Error()
	}
	data["Back"] = c.backTo(form)
	d.render(w, statusOf(err), "done", data)
}
