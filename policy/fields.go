package policy

import "strings"

// untrusted are headers by which a client could speak in a proxy's name:
// addresses, targets and methods that backends prefer to the request's own, and
// Proxy, which CGI reads as a setting of its own.
var untrusted = map[string]bool{
	"Forwarded":                true,
	"X-Forwarded":              true,
	"X-Real-Ip":                true,
	"X-Client-Ip":              true,
	"X-Cluster-Client-Ip":      true,
	"True-Client-Ip":           true,
	"Client-Ip":                true,
	"Cf-Connecting-Ip":         true,
	"X-Original-Forwarded-For": true,
	"X-Original-Host":          true,
	"X-Original-Url":           true,
	"X-Original-Uri":           true,
	"X-Rewrite-Url":            true,
	"X-Host":                   true,
	"X-Http-Host-Override":     true,
	"X-Script-Name":            true,
	"X-Scheme":                 true,
	"X-Url-Scheme":             true,
	"Front-End-Https":          true,
	"X-Http-Method-Override":   true,
	"X-Http-Method":            true,
	"X-Method-Override":        true,
	"Proxy":                    true,
	"Http2-Settings":           true,
}

// StaysBehind reports whether the client's field of that canonical name never goes
// upstream, in the head or as a trailer: the gateway's own names, those by which a
// client could speak for a proxy, and those with an underscore, since WSGI servers
// cannot tell it from a hyphen.
func StaysBehind(name string) bool {
	return strings.HasPrefix(name, "X-Gw-") || strings.HasPrefix(name, "X-Forwarded-") || strings.Contains(name, "_") || untrusted[name]
}
