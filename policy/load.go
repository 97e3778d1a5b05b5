package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
)

// Load reads and compiles the policy file at path. getenv answers ${VAR} and
// the variables that Parse lists; os.Getenv is one, nil knows none. A file that
// cannot be read is an ordinary error, everything wrong in it is an Errors.
func Load(path string, getenv func(string) string) (*Snapshot, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("load policy: %w", err)
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("load policy: %w", err)
	}
	return Parse(path, data, getenv)
}

// Parse compiles a policy from its text. name stands for the file in messages,
// and relative paths in the policy start at its folder. Any error is an Errors
// with all that is wrong.
//
// Keys that the file leaves out are filled from the variables that JewGo's
// backend is configured by, so that the gateway fits into its environment:
//
//   - redis.url from the first of REDIS_URL; REDIS_CLUSTER_HOSTS;
//     REDIS_SENTINEL_HOSTS with REDIS_SENTINEL_SERVICE; REDIS_HOST, each with
//     REDIS_PORT, REDIS_DB, REDIS_PASSWORD and REDIS_SSL where they fit; and
//     SESSION_REDIS, unless SESSION_TYPE says that sessions are not in Redis.
//   - cache.redis_url from CACHE_REDIS_URL, or memory:// where CACHE_TYPE says
//     that the cache is not in Redis.
//   - cache.default_ttl from CACHE_DEFAULT_TIMEOUT, in bare seconds.
func Parse(name string, data []byte, getenv func(string) string) (*Snapshot, error) {
	if getenv == nil {
		getenv = func(string) string { return "" }
	}
	root, bad := parseTree(name, data)
	if bad != nil {
		return nil, Errors{*bad}
	}
	doc, p := newDocument(name), &Policy{}
	applyDefaults(reflect.ValueOf(p).Elem())
	(&decoder{document: doc, getenv: getenv}).value(root, reflect.ValueOf(p).Elem(), "", rules{})
	fillFromEnvironment(doc, p, getenv)
	resolvePaths(p, filepath.Dir(name))
	s := &Snapshot{Policy: p, File: name, Digest: digest(data)}
	if len(doc.errs) <= maxErrors && !slices.Contains(doc.bad, "") {
		compile(doc, s)
	}
	if len(doc.errs) > 0 {
		return nil, doc.errs.sorted()
	}
	return s, nil
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])[:12]
}

// resolvePaths makes the policy's paths absolute, starting at the file's folder,
// and places the keyrings in the data folder where nothing else is said.
func resolvePaths(p *Policy, folder string) {
	resolve := func(path *string) {
		if *path == "" || filepath.IsAbs(*path) {
			return
		}
		*path = filepath.Join(folder, *path)
		if abs, err := filepath.Abs(*path); err == nil { // it fails in a deleted working folder; relative still works
			*path = abs
		}
	}
	resolve(&p.Server.DataDir)
	resolve(&p.Server.AdminTokenFile)
	resolve(&p.Session.KeysFile)
	resolve(&p.Session.Identity.KeysFile)
	for _, address := range []*string{&p.Server.Listen, &p.Server.Admin} {
		if socket, ok := strings.CutPrefix(*address, "unix:"); ok && socket != "" {
			resolve(&socket)
			*address = "unix:" + socket
		}
	}
	if p.Session.KeysFile == "" {
		p.Session.KeysFile = filepath.Join(p.Server.DataDir, "session.keys")
	}
	if p.Session.Identity.KeysFile == "" {
		p.Session.Identity.KeysFile = filepath.Join(p.Server.DataDir, "identity.keys")
	}
}
