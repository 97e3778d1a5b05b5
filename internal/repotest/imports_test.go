package repotest

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"
)

// layer is a row of packages that do not import each other. From this module they only import packages
// of the named layers.
type layer struct {
	name     string
	packages []string // a path, or a pattern of path.Match
	imports  []string
}

// layers are the module's layers from the bottom up; imports point down.
var layers = []layer{
	{name: "disk", packages: []string{"internal/atomicfile"}},
	{name: "pure", packages: []string{"internal/gcra", "internal/rfc9111", "internal/failover", "internal/journal", "internal/problem", "internal/redisurl", "internal/bounded", "internal/packed"}, imports: []string{"disk"}},
	{name: "yaml", packages: []string{"policy/yamlfile"}},
	{name: "policy", packages: []string{"policy"}, imports: []string{"yaml", "pure"}},
	{name: "exchange", packages: []string{"internal/exchange"}, imports: []string{"policy", "pure"}},
	{name: "wire", packages: []string{"internal/wire"}, imports: []string{"policy", "pure"}},
	{name: "chain", packages: []string{"middleware"}, imports: []string{"exchange", "policy", "pure"}},
	{name: "features", packages: []string{"middleware/*"}, imports: []string{"chain", "exchange", "policy", "pure", "disk"}},
	{name: "proxy", packages: []string{"proxy"}, imports: []string{"exchange", "policy", "pure"}},
	{name: "pages", packages: []string{"internal/admin/dashboard"}},
	{name: "peers", packages: []string{"internal/peers"}, imports: []string{"pure", "disk"}},
	{
		name:     "adapters",
		packages: []string{"internal/store/memory", "internal/store/redis", "internal/metrics", "internal/admin", "internal/reload", "internal/logwriter", "internal/certs"},
		imports:  []string{"pages", "proxy", "features", "chain", "exchange", "policy", "peers", "pure", "disk"},
	},
	{name: "demo", packages: []string{"internal/demo", "internal/starter", "internal/systemd", "internal/warm"}, imports: []string{"pure"}},
	{
		name: "product", packages: []string{"cmd/gateway"},
		imports: []string{"wire", "demo", "adapters", "peers", "proxy", "features", "chain", "exchange", "policy", "pure", "disk"},
	},
	{name: "servers of tests", packages: []string{"test/env"}},
	{
		name: "tests", packages: []string{"test/faultproxy", "test/storetest", "test/crashdisk", "test/acme", "internal/repotest"},
		imports: []string{"servers of tests", "features", "exchange", "policy", "pure", "disk"},
	},
	{name: "drills", packages: []string{"test/drill"}, imports: []string{"tests", "servers of tests", "demo", "policy", "pure"}},
	{name: "field", packages: []string{"test/field"}, imports: []string{"servers of tests"}},
	{name: "bench", packages: []string{"cmd/gateway-bench"}, imports: []string{"field", "drills", "servers of tests"}},
	{name: "drill", packages: []string{"cmd/gateway-drill"}, imports: []string{"drills", "servers of tests", "demo", "policy"}},
}

// speakers lists, for a library or one of our features, the only packages that may import it, tests
// aside. An empty list means only packages for tests.
var speakers = map[string][]string{
	"github.com/redis/go-redis":        {"internal/store/redis", "test/field"},
	"github.com/go-redis/redis_rate":   {"internal/store/redis", "test/field"},
	"github.com/rbcervilla/redisstore": {"internal/store/redis"},
	"github.com/prometheus":            {"internal/metrics"},
	"github.com/spf13/cobra":           {"cmd/gateway", "cmd/gateway-drill", "cmd/gateway-bench"},
	"go.yaml.in/yaml":                  {"policy/yamlfile", "test/drill"},
	"github.com/coreos/go-systemd":     {"internal/systemd", "internal/wire"},
	"github.com/caddyserver/certmagic": {"internal/certs"},
	"github.com/mholt/acmez":           {"internal/certs"},
	"go.uber.org/zap":                  {"internal/certs"},
	"github.com/pires/go-proxyproto":   {"internal/wire"},
	"github.com/google/go-cmp":         nil,
	"github.com/summerwind/h2spec":     nil,
	"github.com/tsenart/vegeta":        {"test/drill", "test/field"},
	"github.com/letsencrypt":           {"test/acme"},
	"go.uber.org/goleak":               nil,
	"pgregory.net/rapid":               nil,
	"github.com/santhosh-tekuri":       nil,
	"k8s.io":                           nil,
	"sigs.k8s.io":                      nil,

	// As docs/how-it-works/architecture.md says about changes: only the wiring and its stores import a feature.
	module + "/middleware/ratelimit": {"cmd/gateway", "internal/store/redis", "test/storetest"},
	module + "/middleware/session":   {"cmd/gateway", "internal/store/memory", "internal/store/redis", "test/storetest"},
	module + "/middleware/cache":     {"cmd/gateway", "internal/store/memory", "internal/store/redis", "test/storetest"},
	module + "/proxy":                {"cmd/gateway"},
	module + "/internal/peers":       {"cmd/gateway", "internal/store/redis"},
	module + "/internal/journal":     {"cmd/gateway", "internal/peers"},
}

func layerOf(p string) (layer, bool) {
	i := slices.IndexFunc(layers, func(l layer) bool {
		return slices.ContainsFunc(l.packages, func(pattern string) bool {
			ok, err := path.Match(pattern, p)
			return ok && err == nil
		})
	})
	if i < 0 {
		return layer{}, false
	}
	return layers[i], true
}

func checkImports(pkgs []pkg) (faults []string) {
	for _, p := range pkgs {
		from, ok := layerOf(p.path())
		if !ok {
			faults = append(faults, p.path()+" stands in no layer: add it to layers")
			continue
		}
		for _, imported := range p.Imports {
			if !own(imported) {
				continue
			}
			to, ok := layerOf(short(imported))
			if ok && !slices.Contains(from.imports, to.name) {
				faults = append(faults, fmt.Sprintf("%s imports %s: %s must not know %s", p.path(), short(imported), from.name, to.name))
			}
		}
	}
	return faults
}

func checkSpeakers(pkgs []pkg) (faults []string) {
	for _, p := range pkgs {
		from, _ := layerOf(p.path())
		for _, imported := range p.Imports {
			for library, allowed := range speakers {
				if imported != library && !strings.HasPrefix(imported, library+"/") {
					continue
				}
				if allowed == nil && from.name != "tests" {
					faults = append(faults, fmt.Sprintf("%s imports %s, which is for tests alone", p.path(), imported))
				}
				if allowed != nil && !slices.Contains(allowed, p.path()) {
					faults = append(faults, fmt.Sprintf("%s imports %s, which is for %s alone", p.path(), imported, strings.Join(allowed, " and ")))
				}
			}
		}
	}
	return faults
}

func checkComments(pkgs []pkg) (faults []string) {
	for _, p := range pkgs {
		want := "Package " + p.Name + " "
		if p.Name == "main" {
			want = "Command " + path.Base(p.ImportPath) + " "
		}
		if !strings.HasPrefix(p.Doc, want) {
			faults = append(faults, fmt.Sprintf("%s: its comment must begin with %q, not %q", p.path(), want, p.Doc))
		}
	}
	return faults
}

func TestImportDirections(t *testing.T) { report(t, checkImports(packages(t))) }

func TestLibrariesHaveOneImporter(t *testing.T) { report(t, checkSpeakers(packages(t))) }

func TestPackageComments(t *testing.T) { report(t, checkComments(packages(t))) }

func planted(from string, imports ...string) []pkg {
	return []pkg{{ImportPath: module + "/" + from, Imports: imports}}
}

func TestCheckImports(t *testing.T) {
	for _, c := range []struct{ why, from, to, fault string }{
		{"down is allowed", "middleware/cache", "internal/exchange", ""},
		{"a command may know an adapter", "cmd/gateway", "internal/store/redis", ""},
		{"up is not", "policy", "internal/exchange", "policy must not know exchange"},
		{"siblings", "middleware/cache", "middleware/session", "features must not know features"},
		{"the chain and a feature", "middleware", "middleware/cache", "chain must not know features"},
		{"the proxy and the chain", "proxy", "middleware", "proxy must not know chain"},
		{"a feature and the proxy", "middleware/cache", "proxy", "features must not know proxy"},
		{"an adapter and its neighbour", "internal/admin", "internal/store/redis", "adapters must not know adapters"},
		{"test servers in the product", "cmd/gateway", "test/env", "product must not know servers of tests"},
		{"the drill in the product", "cmd/gateway", "test/drill", "product must not know drills"},
		{"a package nobody placed", "internal/utils", "policy", "stands in no layer"},
	} {
		t.Run(c.why, func(t *testing.T) {
			var want []string
			if c.fault != "" {
				want = append(want, c.fault)
			}
			expect(t, checkImports(planted(c.from, module+"/"+c.to)), want...)
		})
	}
}

func TestCheckSpeakers(t *testing.T) {
	expect(t, checkSpeakers(planted("internal/store/redis", "github.com/redis/go-redis/v9")))
	expect(t, checkSpeakers(planted("middleware/session", "github.com/redis/go-redis/v9", "net/http")), "is for internal/store/redis and test/field alone")
	expect(t, checkSpeakers(planted("internal/admin", "github.com/prometheus/client_golang/prometheus")), "is for internal/metrics alone")
	expect(t, checkSpeakers(planted("test/storetest", "pgregory.net/rapid")))
	expect(t, checkSpeakers(planted("test/storetest", "github.com/redis/go-redis/v9")), "is for internal/store/redis and test/field alone")
	expect(t, checkSpeakers(planted("policy", "pgregory.net/rapid")), "is for tests alone")
	expect(t, checkSpeakers(planted("internal/admin", module+"/middleware/session")), "is for cmd/gateway and internal/store/memory")
}

func TestCheckComments(t *testing.T) {
	expect(t, checkComments([]pkg{
		{ImportPath: module + "/a", Name: "a", Doc: "Package a does it."},
		{ImportPath: module + "/cmd/g", Name: "main", Doc: "Command g runs it."},
	}))
	expect(t, checkComments([]pkg{
		{ImportPath: module + "/a", Name: "a"},
		{ImportPath: module + "/b", Name: "b", Doc: "Package a does it."},
		{ImportPath: module + "/cmd/g", Name: "main", Doc: "Package main runs it."},
	}), "a: its comment", "b: its comment", "cmd/g: its comment")
}
