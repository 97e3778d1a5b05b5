package faultproxy

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/jewgo/gateway/test/env"
)

// TestClassesAreTheServers compares the table with that of a real server.
func TestClassesAreTheServers(t *testing.T) {
	t.Parallel()
	w := dial(t, env.Redis(t).Addr)
	flags := []struct {
		flag  string
		class Class
	}{
		{"write", Write}, {"denyoom", Grow}, {"loading", Early}, {"allow_busy", Unbusy}, {"no_auth", Open},
	}
	// Flags of their subcommands alone.
	containers := map[string]Class{
		"ACL": Early, "CLIENT": Early, "COMMAND": Early, "CONFIG": Early, "LATENCY": Early, "PUBSUB": Early,
		"FUNCTION": Write | Grow | Unbusy, "SCRIPT": Unbusy, "XGROUP": Write | Grow,
	}
	for name, want := range containers {
		if got := classOf(name) & (Write | Grow | Early | Unbusy | Open); got != want {
			t.Errorf("%s: class %b, want %b", name, got, want)
		}
	}
	names := w.do(t, "COMMAND", "LIST")
	for name := range strings.SplitSeq(names, "\r\n") {
		if name == "" || strings.ContainsAny(name[:1], "*$") {
			continue
		}
		upper := strings.ToUpper(name)
		if _, ok := containers[upper]; ok || strings.Contains(name, "|") {
			continue
		}
		info := w.do(t, "COMMAND", "INFO", name)
		// *1 *10 $6 append :3 *3 +write +denyoom +fast :1 …
		own := strings.SplitN(info, "\r\n:", 3)[1] + "\r\n"
		for _, f := range flags {
			if got, want := classOf(upper)&f.class != 0, strings.Contains(own, "+"+f.flag+"\r\n"); got != want {
				t.Errorf("%s is %s: %v, want %v", name, f.flag, got, want)
			}
		}
		keyed := strings.Contains(own, "+movablekeys\r\n") || strings.Contains(info, "begin_search")
		if got := classOf(upper)&Keyed != 0; got != keyed && !hasSubcommands(info) {
			t.Errorf("%s has keys: %v, want %v", name, got, keyed)
		}
	}
}

// hasSubcommands reports whether COMMAND INFO says so in its last part.
func hasSubcommands(info string) bool { return !strings.HasSuffix(info, "*0\r\n") }

const writer = "return redis.call('SET', KEYS[1], 'v')"

// asked is what both servers are asked, in this order; a script may be told more.
var asked = []struct {
	command string
	script  bool
}{
	{"PING", false},
	{"GET k", false},
	{"SET k v", false},
	{"DEL k", false},
	{"EXPIRE k 10", false},
	{"SORT l", false},
	{"LPOP l", false},
	{"EXISTS k", false},
	{"FLUSHDB", false},
	{"ECHO x", false},
	{"SELECT 0", false},
	{"HELLO", false},
	{"TIME", false},
	{"DBSIZE", false},
	{"PUBLISH c m", false},
	{"CLIENT ID", false},
	{"CONFIG GET port", false},
	{"COMMAND COUNT", false},
	{"ROLE", false},
	{"WATCH k", false},
	{"UNWATCH", false},
	{"EVAL " + strings.ReplaceAll(writer, " ", "\x00") + " 1 k", true},
	{"EVALSHA 0123456789012345678901234567890123456789 1 k", true},
	{"MULTI", false},
	{"SET k v", false},
	{"GET k", false},
	{"EXEC", false},
	{"GET k", false},
}

// TestRefusalsAreTheServers breaks a real server in every way in which it can be
// broken, and compares what it says with the proxy in front of a healthy one.
func TestRefusalsAreTheServers(t *testing.T) {
	t.Parallel()
	healthy := env.Redis(t)
	p := between(t, healthy.Addr)
	for _, tt := range []struct {
		fault string
		args  []string
		spoil []string // commands, sent without waiting for the last one's reply
		fix   string
		skip  string // a command that the proxy leaves to the server
	}{
		{fault: "readonly", spoil: []string{"REPLICAOF 127.0.0.1 1"}},
		{fault: "oom", spoil: []string{"SETRANGE ballast 2000000 x", "CONFIG SET maxmemory-policy noeviction", "CONFIG SET maxmemory 1mb"}},
		{
			fault: "misconf", args: []string{"--enable-protected-configs", "yes"},
			spoil: []string{"CONFIG SET dbfilename .", "CONFIG SET save 3600\x001", "BGSAVE"},
		},
		{fault: "noreplicas", spoil: []string{"CONFIG SET min-replicas-to-write 1"}},
		{fault: "masterdown", spoil: []string{"CONFIG SET replica-read-only no", "CONFIG SET replica-serve-stale-data no", "REPLICAOF 127.0.0.1 1"}},
		{
			fault: "loading", args: []string{"--enable-debug-command", "yes", "--rdbcompression", "no"},
			spoil: []string{
				"EVAL for\x00i=1,200\x00do\x00redis.call('SET',i,string.rep('x',1000))\x00end 0",
				"CONFIG SET loading-process-events-interval-bytes 1024", "CONFIG SET key-load-delay 50000", "DEBUG RELOAD",
			},
		},
		{
			fault: "busy", spoil: []string{"CONFIG SET busy-reply-threshold 50", "EVAL while\x00true\x00do\x00end 0"},
			fix: "SCRIPT KILL",
		},
		{fault: "noauth", spoil: []string{"CONFIG SET requirepass x"}, skip: "HELLO"},
		{fault: "noperm", spoil: []string{"ACL SETUSER default -@write -eval -evalsha"}},
		{fault: "clusterdown", args: []string{"--cluster-enabled", "yes"}},
		{fault: "noscript"},
	} {
		t.Run(tt.fault, func(t *testing.T) {
			server := env.Redis(t, tt.args...)
			f := catalogued(t, tt.fault)
			spoiler := dial(t, server.Addr)
			for i, c := range tt.spoil {
				if _, err := io.WriteString(spoiler, words(c)); err != nil {
					t.Fatal(err)
				}
				if i == len(tt.spoil)-1 {
					break
				}
				if reply, err := spoiler.read(); err != nil || reply[0] == '-' {
					t.Fatalf("%s: %q, %v", c, reply, err)
				}
			}
			code, _, _ := strings.Cut(f.Reply.Error, " ")
			env.Until(t, "the real server says "+code, func() bool {
				w := dial(t, server.Addr)
				defer w.Close()
				return strings.HasPrefix(w.do(t, "EVALSHA", strings.Repeat("0", 40), "1", "k"), "-"+code+" ") ||
					strings.HasPrefix(w.do(t, "SET", "k", "v"), "-"+code+" ")
			})
			set(t, p, f)
			defer set(t, p, Fault{})
			refused := compare(t, dial(t, server.Addr), dial(t, p.Addr()), "-"+code+" ", tt.skip)
			if !refused {
				t.Error("nothing was refused")
			}
			if tt.fix != "" {
				_, _ = io.WriteString(dial(t, server.Addr), words(tt.fix))
				_, _ = spoiler.read()
			}
		})
	}
}

// words makes a command of words, in which \x00 stands for a space.
func words(s string) string {
	args := strings.Fields(s)
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], "\x00", " ")
	}
	return command(args...)
}

// compare asks both servers the same and reports whether they refused anything.
func compare(t *testing.T, server, proxied *wire, code, skip string) (refused bool) {
	for _, a := range asked {
		if a.command == skip {
			continue
		}
		var replies [2]string
		for i, w := range []*wire{server, proxied} {
			if _, err := io.WriteString(w, words(a.command)); err != nil {
				t.Fatalf("%s: %v", a.command, err)
			}
			reply, err := w.read()
			if err != nil {
				t.Fatalf("%s: %v", a.command, err)
			}
			replies[i] = reply
			if reply[0] != '-' {
				replies[i] = "an answer"
			}
		}
		want, got := replies[0], replies[1]
		refused = refused || strings.HasPrefix(got, code)
		if a.script && strings.HasPrefix(want, code) {
			// The server tells of which script it speaks, or that it is one.
			want, got = code, got[:min(len(got), len(code))]
		}
		if a.script && strings.HasPrefix(a.command, "EVALSHA") && strings.HasPrefix(want, "-NOSCRIPT") {
			continue // it has looked for the script before it met its fault
		}
		if got != want {
			t.Errorf("%s: %q, the server %q", strings.ReplaceAll(a.command, "\x00", " "), got, want)
		}
	}
	return refused
}

func TestRefusalsInATransaction(t *testing.T) {
	t.Parallel()
	p := between(t, env.Redis(t).Addr)
	w := dial(t, p.Addr())
	w.do(t, "SET", "k", "before")
	set(t, p, catalogued(t, "readonly"))
	for _, tt := range []struct{ command, want string }{
		{"MULTI", "+OK"},
		{"GET k", "+QUEUED"},
		{"SET k after", "-" + ErrReadOnly},
		{"EXEC", "-" + errExecAbort},
		{"GET k", "$6\r\nbefore"}, // out of the transaction
		{"MULTI", "+OK"},
		{"SET k after", "-" + ErrReadOnly},
		{"DISCARD", "+OK"},
		{"MULTI", "+OK"},
		{"GET k", "+QUEUED"},
		{"EXEC", "*1\r\n$6\r\nbefore"}, // nothing was refused in this one
	} {
		if _, err := io.WriteString(w, words(tt.command)); err != nil {
			t.Fatal(err)
		}
		if got, err := w.read(); got != tt.want+"\r\n" || err != nil {
			t.Errorf("%s: %q, %v; want %q", tt.command, got, err, tt.want)
		}
	}
	if got := p.Stats().Hits; got != 2 {
		t.Errorf("%d hits, want 2", got)
	}
}

func TestRefusalsKeepTheirPlace(t *testing.T) {
	t.Parallel()
	p := between(t, env.Redis(t).Addr)
	w := dial(t, p.Addr())
	set(t, p, catalogued(t, "oom"))
	big := strings.Repeat("x", 3*bufSize)
	pipeline := command("ECHO", "1") + command("SET", "k", big) + command("ECHO", "2") + command("LPUSH", "k", "v") + command("DEL", "k")
	if _, err := io.WriteString(w, pipeline); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"$1\r\n1", "-" + ErrOOM, "$1\r\n2", "-" + ErrOOM, ":0"} {
		if got, err := w.read(); got != want+"\r\n" || err != nil {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
	}
}

// TestEvery counts over connections.
func TestEvery(t *testing.T) {
	t.Parallel()
	p := between(t, env.Redis(t).Addr)
	set(t, p, Fault{Reply: Reply{Do: Refuse, Error: ErrReadOnly, Only: Writes, Every: 3}})
	conns := []*wire{dial(t, p.Addr()), dial(t, p.Addr())}
	var got strings.Builder
	for i := range 9 {
		w := conns[i%2]
		w.do(t, "GET", "k") // not of those that count
		got.WriteByte(w.do(t, "SET", "k", "v")[0])
	}
	if got.String() != "++-++-++-" {
		t.Error(got.String())
	}
}

func TestFaultsThatMakeNoSense(t *testing.T) {
	p := between(t, "127.0.0.1:1")
	for _, f := range []Fault{
		{Link: Blackhole + 1},
		{Delay: -1},
		{Flap: Flap{Up: time.Second}},
		{Reply: Reply{Do: Refuse}},
		{Reply: Reply{Do: Refuse, Error: "A\r\nB"}},
		{Reply: Reply{Do: Garble + 1}},
		{Reply: Reply{Do: Drop, Every: -1}},
	} {
		if err := p.Set(f); err == nil {
			t.Errorf("%+v was set", f)
		}
	}
	if p.Fault() != (Fault{}) {
		t.Errorf("%+v", p.Fault())
	}
}
