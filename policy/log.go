package policy

import (
	"math"
	"slices"
	"strings"
)

// Log configures the access log.
type Log struct {
	Access  string             `yaml:"access" default:"on" jsonschema:"enum=on,enum=off,enum=sampled" jsonschema_description:"One line a request: on, off, or sampled. A route may have its own."`
	Sample  map[string]Percent `yaml:"sample" jsonschema_description:"Where access is sampled, the share of requests with a line, by status or class, as in {2xx: 1%, 404: 10%}. A status overrides its class; those that are not named are all logged. Default: {2xx: 1%, 3xx: 1%, 4xx: 1%}."`
	Format  string             `yaml:"format" default:"json" jsonschema:"enum=json,enum=text,enum=combined" jsonschema_description:"json, text (key=value), or combined (Apache's, with fewer fields)."`
	Headers StringList         `yaml:"headers" check:"header" jsonschema_description:"Request headers that are logged too, in json and text."`
	Redact  Redact             `yaml:"redact" jsonschema_description:"What is not written out."`
}

// Redact names values that may be secret.
type Redact struct {
	Headers  StringList `yaml:"headers" check:"header" jsonschema_description:"Headers whose values are REDACTED where log.headers names them."`
	Query    StringList `yaml:"query" jsonschema_description:"Parameters of a query, in any case, whose values are REDACTED, in logged headers too."`
	Defaults bool       `yaml:"defaults" default:"true" jsonschema_description:"Also those that are secret by their usual names, such as Authorization, Cookie, token, password, code and key."`
}

// What is hidden by default.
var (
	secretHeaders = strings.Fields("Authorization Cookie Proxy-Authorization X-Api-Key X-Auth-Token X-Csrf-Token X-Xsrf-Token X-Amz-Security-Token")
	secretParams  = strings.Fields("access_token api_key apikey auth authorization client_secret code credential id_token jwt key otp passwd password pwd " +
		"refresh_token samlresponse secret session sessionid sid sig signature ticket token x-amz-credential x-amz-security-token x-amz-signature")
)

// RouteLog is a route's own access log.
type RouteLog struct {
	Access string             `yaml:"access" jsonschema:"required,enum=on,enum=off,enum=sampled" jsonschema_description:"As in log."`
	Sample map[string]Percent `yaml:"sample" jsonschema_description:"As in log; default: log's own, or its default."`
}

// LogRule is the compiled Log.
type LogRule struct {
	Shares        *Shares         // of requests without a route
	Headers       []string        // canonical names
	HiddenHeaders map[string]bool // canonical names
	HiddenQuery   map[string]bool // lower case
}

// Shares are the shares of requests that are logged, by status. Nil: all.
type Shares [maxStatus + 1]uint32

const maxStatus = 599

// Logs reports whether to log a request with that status, where uniform is drawn evenly from all
// numbers.
func (s *Shares) Logs(status int, uniform uint32) bool {
	if s == nil {
		return true
	}
	status = min(max(0, status), maxStatus) // an upstream may answer 999
	return s[status] == math.MaxUint32 || uniform < s[status]
}

// sampled is log.sample where the policy has none.
var sampled = map[string]Percent{"2xx": 0.01, "3xx": 0.01, "4xx": 0.01}

// log compiles the access log.
func (c *compiler) log() LogRule {
	def := &c.policy.Log
	rule := LogRule{
		Shares:  shares(def.Access, def.Sample),
		Headers: canonical(def.Headers), HiddenHeaders: map[string]bool{}, HiddenQuery: map[string]bool{},
	}
	headers, params := canonical(def.Redact.Headers), def.Redact.Query
	if def.Redact.Defaults {
		headers, params = append(headers, secretHeaders...), append(slices.Clip(params), secretParams...)
	}
	for _, name := range headers {
		rule.HiddenHeaders[name] = true
	}
	for _, name := range params {
		rule.HiddenQuery[strings.ToLower(name)] = true
	}
	if def.Format == "combined" {
		c.InvalidIf(len(def.Headers) > 0, "log.headers", "format: combined has no room for other headers")
		rule.Headers = []string{"Referer"}
	}
	c.sample("log.sample", def.Sample)
	samples := func(r RouteDef) bool { return r.Log != nil && r.Log.Access == "sampled" }
	c.InvalidIf(len(def.Sample) > 0 && def.Access != "sampled" && !slices.ContainsFunc(c.policy.Routes, samples), "log.sample", noSample)
	return rule
}

const noSample = "sample has no effect without access: sampled"

// routeLog compiles a route's own access log; without one, it has the policy's.
func (c *compiler) routeLog(path string, def *RouteLog, common *Shares) *Shares {
	if def == nil {
		return common
	}
	c.sample(path+".sample", def.Sample)
	c.InvalidIf(len(def.Sample) > 0 && def.Access != "sampled" && c.Given(path+".access"), path+".sample", noSample)
	if len(def.Sample) > 0 {
		return shares(def.Access, def.Sample)
	}
	return shares(def.Access, c.policy.Log.Sample)
}

// sample checks the statuses of a sample.
func (c *compiler) sample(path string, sample map[string]Percent) {
	for _, text := range keys(sample) {
		var s Status
		if err := s.UnmarshalText([]byte(text)); err != nil {
			c.Invalid(path+"."+text, "%v", err)
		}
	}
}

// shares compiles an access log. What is no status in its sample is left out.
func shares(access string, sample map[string]Percent) *Shares {
	switch {
	case access == "on":
		return nil
	case access == "off":
		return &Shares{}
	case len(sample) == 0:
		sample = sampled
	}
	all := &Shares{}
	for status := range all {
		all[status] = share(1)
	}
	for _, class := range []bool{true, false} { // a status overrides its class
		for text, part := range sample {
			var s Status
			if s.UnmarshalText([]byte(text)) == nil && (s < 10) == class {
				for status := range s.all() {
					all[status] = share(part)
				}
			}
		}
	}
	return all
}

// share is the number below which a uniform one is with that probability.
func share(p Percent) uint32 { return uint32(float64(p) * math.MaxUint32) }
