package dashboard

import (
	"context"
	"net/http"
	"net/url"
	"slices"
)

func overview(ctx context.Context, d *dashboard, _ url.Values) (map[string]any, error) {
	history, err := d.ask(ctx, http.MethodGet, "/v1/history", nil)
	return map[string]any{"History": history}, err
}

func routes(ctx context.Context, d *dashboard, _ url.Values) (map[string]any, error) {
	all, err := d.ask(ctx, http.MethodGet, "/v1/routes", nil)
	return map[string]any{"Routes": all}, err
}

// cachePage does not ask Redis unless the query says so: it may take long, or be away.
func cachePage(ctx context.Context, d *dashboard, query url.Values) (map[string]any, error) {
	all, err := d.ask(ctx, http.MethodGet, "/v1/cache?here=true", nil)
	data := map[string]any{"Cache": all}
	if id := query.Get("purge"); id != "" && err == nil {
		data["Purge"], err = d.ask(ctx, http.MethodGet, "/v1/purges/"+url.PathEscape(id), nil)
	}
	if text := query.Get("url"); text != "" && err == nil {
		data["Found"], err = d.ask(ctx, http.MethodGet, "/v1/cache/entries?url="+url.QueryEscape(text)+here(query), nil)
	}
	return data, err
}

// here asks for what the gateway knows by itself, unless a query wants everything.
func here(query url.Values) string {
	if query.Get("everywhere") != "" {
		return ""
	}
	return "&here=true"
}

func limits(ctx context.Context, d *dashboard, query url.Values) (map[string]any, error) {
	all, err := d.ask(ctx, http.MethodGet, "/v1/limits", nil)
	data := map[string]any{"Limits": all, "Parts": partsOf(all, query.Get("limit"), query["key"])}
	if name := query.Get("limit"); name != "" && query.Has("key") && err == nil {
		data["Bucket"], err = d.ask(ctx, http.MethodGet, "/v1/limits/"+url.PathEscape(name)+"?"+url.Values{"key": query["key"]}.Encode(), nil)
	}
	return data, err
}

// part is one part of a limit's key, in a form.
type part struct {
	Number      int
	Name, Value string
	Whole       bool // the whole key may stand here
}

// partsOf are those of the key of a limit; nil: there is no such limit.
func partsOf(limits any, name string, key []string) (all []part) {
	for _, l := range list(field(limits, "limits")) {
		if field(l, "name") != name {
			continue
		}
		names := list(field(l, "key"))
		for i, of := range names {
			text, _ := of.(string)
			p := part{Number: i, Name: text, Whole: len(names) == 1}
			if len(key) == len(names) { // else it is a whole key
				p.Value = key[i]
			}
			all = append(all, p)
		}
	}
	return all
}

func sessions(ctx context.Context, d *dashboard, query url.Values) (data map[string]any, err error) {
	routes, err := d.ask(ctx, http.MethodGet, "/v1/routes", nil)
	data = map[string]any{"None": err == nil && !slices.ContainsFunc(list(field(routes, "routes")), func(r any) bool { return field(r, "session") != nil })}
	if query.Has("user") {
		data["Found"], err = d.ask(ctx, http.MethodGet, "/v1/sessions?user="+url.QueryEscape(query.Get("user"))+here(query), nil)
	}
	return data, err
}

func explain(ctx context.Context, d *dashboard, query url.Values) (data map[string]any, err error) {
	data = map[string]any{}
	if query.Get("url") != "" {
		question := url.Values{"format": {"text"}}
		for name, values := range query {
			for _, value := range values {
				if value != "" {
					question.Add(name, value)
				}
			}
		}
		data["Explanation"], err = d.ask(ctx, http.MethodGet, "/v1/explain?"+question.Encode(), nil)
	}
	return data, err
}

func config(ctx context.Context, d *dashboard, _ url.Values) (map[string]any, error) {
	policy, err := d.ask(ctx, http.MethodGet, "/v1/config", nil)
	return map[string]any{"Policy": policy}, err
}
