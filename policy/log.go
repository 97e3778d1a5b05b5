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

// Redact names values that may be secret. A list in the policy replaces the default one.
type Redact struct {
	Headers StringList `yaml:"headers" check:"header" default:"Authorization,Cookie,Proxy-Authorization,X-Api-Key,X-Auth-Token,X-Csrf-Token,X-Xsrf-Token" jsonschema_description:"Of log.headers, those whose values are REDACTED."`
	Query   StringList `yaml:"query" default:"access_token,api_key,apikey,auth,client_secret,code,id_token,jwt,key,passwd,password,refresh_token,secret,sig,signature,token" jsonschema_description:"Query parameters, in any case, whose values are REDACTED, in Referer too."`
}

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
		Shares:  c.shares("log", def.Access, def.Sample),
		Headers: canonical(def.Headers), HiddenHeaders: set(canonical(def.Redact.Headers)), HiddenQuery: map[string]bool{},
	}
	if def.Format == "combined" {
		c.InvalidIf(len(def.Headers) > 0, "log.headers", "format: combined has no room for other headers")
		rule.Headers = []string{"Referer"}
	}
	for _, name := range def.Redact.Query {
		rule.HiddenQuery[strings.ToLower(name)] = true
	}
	samples := func(r RouteDef) bool { return r.Log != nil && r.Log.Access == "sampled" }
	c.InvalidIf(len(def.Sample) > 0 && def.Access != "sampled" && !slices.ContainsFunc(c.policy.Routes, samples), "log.sample", noSample)
	return rule
}

const noSample = "sample has no effect without access: sampled"

// routeLog compiles a route's own access log; without one, it has the policy's.
func (c *compiler) routeLog(path string, def *RouteLog, common *Shares) *Shares {
	switch {
	case def == nil:
		return common
	case len(def.Sample) == 0:
		return c.shares("", def.Access, c.policy.Log.Sample)
	}
	c.InvalidIf(def.Access != "sampled" && c.Given(path+".access"), path+".sample", noSample)
	return c.shares(path, def.Access, def.Sample)
}

// shares compiles an access log. Mistakes in the sample are reported if it is at path; "": it is
// elsewhere.
func (c *compiler) shares(path, access string, sample map[string]Percent) *Shares {
	if len(sample) == 0 {
		sample = sampled
	}
	all := &Shares{}
	for status := range all {
		all[status] = share(1)
	}
	single := map[Status]Percent{}
	for _, text := range keys(sample) {
		var s Status
		switch err := s.UnmarshalText([]byte(text)); {
		case err != nil && path != "":
			c.Invalid(path+".sample."+text, "%v", err)
		case err == nil && s >= 10:
			single[s] = sample[text]
		case err == nil:
			for status := range s.all() {
				all[status] = share(sample[text])
			}
		}
	}
	for s, part := range single {
		all[s] = share(part)
	}
	switch access {
	case "off":
		return &Shares{}
	case "sampled":
		return all
	}
	return nil
}

// share is the number below which a uniform one is with that probability.
func share(p Percent) uint32 { return uint32(float64(p) * math.MaxUint32) }
