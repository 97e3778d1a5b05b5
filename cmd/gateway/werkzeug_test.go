package main

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jewgo/gateway/policy"
)

const (
	// werkzeugRequests is how many requests the test makes; GATEWAY_WERKZEUG makes it more.
	werkzeugRequests = 8_000
	// werkzeugRound is how many of them have one seed. Keys are compared within a round, which bounds
	// memory, and lets a failure be repeated by itself.
	werkzeugRound = 4_000
	// werkzeugBatch is how many requests werkzeug is asked about at once.
	werkzeugBatch = 1000
	werkzeugSeed  = 2026
)

// TestWerkzeugReadsWhatIsMatchedAndKeyed sends random targets through the chain, and asks werkzeug's
// routing about each one that passes: as it was sent upstream, and as it came. Endpoint, arguments and
// declared parameters must be those that the gateway matched and keyed, no request may reach a denied
// endpoint, and requests with one key must be one request upstream.
//
// GATEWAY_WERKZEUG is the number of requests, GATEWAY_WERKZEUG_SEED the first round's seed.
func TestWerkzeugReadsWhatIsMatchedAndKeyed(t *testing.T) {
	t.Parallel()
	requests, seed := numberFrom(t, "GATEWAY_WERKZEUG", werkzeugRequests), numberFrom(t, "GATEWAY_WERKZEUG_SEED", werkzeugSeed)
	for _, paths := range []string{"strict", "decode"} {
		t.Run(paths, func(t *testing.T) {
			t.Parallel()
			begun := time.Now()
			w := startWerkzeug(t)
			total := werkzeugTally{routes: map[string]int{}}
			for first := 0; first < requests/2 && !t.Failed(); first += werkzeugRound {
				r := &werkzeugRun{
					t: t, werkzeug: w, gate: newWerkzeugGate(t, paths), seed: seed + first/werkzeugRound,
					keys: map[string]werkzeugReading{}, tally: &total,
				}
				r.run(min(werkzeugRound, requests/2-first))
			}
			t.Logf("first seed %d, %s: %d requests, %d refused, %d denied, %d of cached routes with %d keys (%d of them asked for in more than one way), per route: %v",
				seed, time.Since(begun).Round(time.Millisecond), total.requests, total.refused, total.denied, total.cached, total.keys, total.shared, total.routes)
			if t.Failed() {
				return
			}
			if total.cached < total.requests*3/10 || total.refused < total.requests/20 || total.denied < total.requests/200 || total.shared < total.keys/20 {
				t.Error("the requests test too little: at least 30 % must reach a cached route, and some be refused, denied, or one key in two ways")
			}
			for _, r := range werkzeugRules {
				if !r.deny && total.routes[r.name] == 0 {
					t.Errorf("no request reached %s", r.name)
				}
			}
		})
	}
}

func numberFrom(t *testing.T, name string, otherwise int) int {
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// werkzeugTally counts what the requests tested.
type werkzeugTally struct {
	requests, refused, denied, cached, keys, shared int
	routes                                          map[string]int
}

// werkzeugRun is one round.
type werkzeugRun struct {
	t        *testing.T
	werkzeug *werkzeug
	gate     *werkzeugGate
	seed     int
	keys     map[string]werkzeugReading
	tally    *werkzeugTally
}

// werkzeugReading is what the first request with a key came to.
type werkzeugReading struct {
	from, sent, meaning string
	shared              bool
}

func (r *werkzeugRun) run(requests int) {
	targets := newTargets(rand.New(rand.NewPCG(uint64(r.seed), 0)))
	for done := 0; done < requests && !r.t.Failed(); done += werkzeugBatch {
		var passed []decided
		var questions [][2]string
		asked := map[[2]string]int{} // index in questions
		for range min(werkzeugBatch, requests-done) {
			r.tally.requests++
			if d := r.gate.decide(targets.next()); d.sent != "" {
				passed = append(passed, d)
				for _, q := range [][2]string{{d.method, d.sent}, {d.method, d.target}} {
					if _, known := asked[q]; !known {
						asked[q] = len(questions)
						questions = append(questions, q)
					}
				}
			} else if d.denied {
				r.tally.denied++
			} else {
				r.tally.refused++
			}
		}
		answers := r.werkzeug.ask(r.t, questions)
		for _, d := range passed {
			sent, original := answers[asked[[2]string{d.method, d.sent}]], answers[asked[[2]string{d.method, d.target}]]
			fault := d.compare(sent, original)
			if fault == "" {
				fault = r.keyed(d, original)
			}
			if fault != "" {
				r.t.Errorf("GATEWAY_WERKZEUG_SEED=%d: %s %s\nroute %s %q\nsent  %s\nwerkzeug on what was sent: %v\nwerkzeug on what came:     %v\n%s",
					r.seed, d.method, d.target, d.route, d.params, d.sent, sent, original, fault)
				return
			}
		}
	}
}

// keyed counts a request and compares it with others that have its key.
func (r *werkzeugRun) keyed(d decided, original reading) string {
	r.tally.routes[d.rule.name]++
	if d.key == "" {
		return ""
	}
	r.tally.cached++
	now := werkzeugReading{from: d.target, sent: d.sent, meaning: d.rule.meaning(original)}
	before, known := r.keys[d.key]
	switch {
	case !known:
		r.tally.keys++
	case before.sent != now.sent:
		return "one key, but " + before.from + " sent " + before.sent
	case before.meaning != now.meaning:
		return fmt.Sprintf("one key, but %s means %s, and this %s", before.from, before.meaning, now.meaning)
	case before.shared || before.from == now.from:
		return ""
	default:
		r.tally.shared++
		now.shared = true
	}
	r.keys[d.key] = now
	return ""
}

// decided is what the gateway made of a request.
type decided struct {
	method, target string
	rule           *werkzeugRule // of the matched route
	route          string
	params         policy.Params
	key            string // "": not of the cache
	sent           string // target of the request upstream; "": none
	denied         bool
}

// needlessEscape is an escape that another one, or an unreserved character, equals (RFC 3986, 6.2.2).
var needlessEscape = regexp.MustCompile(`%(.?[a-f]|3[0-9]|[46][1-9A-F]|[57][0-9A]|2[DE]|5F|7E)`)

// compare says how werkzeug disagrees, of what was sent and of what came.
func (d *decided) compare(sent, original reading) string {
	if fault := d.rule.disagrees(d.params, sent); fault != "" {
		return "the request that was sent: " + fault
	}
	if path, _, _ := strings.Cut(d.sent, "?"); needlessEscape.MatchString(path) {
		return "the path was sent, and keyed, in one of several ways to write it"
	}
	if sent.endpoint != original.endpoint || !maps.Equal(sent.arguments, original.arguments) {
		return "what came leads elsewhere than what was sent"
	}
	if d.key == "" {
		if !slices.Equal(sent.query, original.query) {
			return "the query was changed, though nothing is keyed"
		}
		return ""
	}
	for _, pair := range sent.query {
		if !d.rule.declares(pair[0]) {
			return fmt.Sprintf("the parameter %q was sent, but is not declared", pair[0])
		}
	}
	if a, b := d.rule.declared(sent), d.rule.declared(original); !maps.EqualFunc(a, b, slices.Equal) {
		return fmt.Sprintf("declared parameters were sent as %q, but came as %q", a, b)
	}
	return ""
}
