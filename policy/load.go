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
	data, err := read(path)
	if err != nil {
		return nil, err
	}
	return Parse(path, data, getenv)
}

// LoadServer gives the server section of the file at path as far as it can be
// read, and defaults for the rest, whatever is wrong there or elsewhere: a gateway
// may well run on the text before. sound reports whether the whole section, if
// there is one, could be read.
func LoadServer(path string, getenv func(string) string) (s Server, sound bool) {
	data, err := read(path)
	doc, p := decode(path, data, getenv)
	return p.Server, err == nil && doc.sound("server")
}

func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("load policy: %w", err)
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("load policy: %w", err)
	}
	return data, nil
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
	doc, p := decode(name, data, getenv)
	s := &Snapshot{Policy: p, File: name, Digest: digest(data)}
	if len(doc.errs) <= maxErrors && !slices.Contains(doc.bad, "") {
		compile(doc, s)
	}
	if len(doc.errs) > 0 {
		return nil, doc.errs.sorted()
	}
	return s, nil
}

// decode reads a policy's text, as much of it as can be read; doc holds the rest.
func decode(name string, data []byte, getenv func(string) string) (doc *document, p *Policy) {
	if getenv == nil {
		getenv = func(string) string { return "" }
	}
	doc, p = newDocument(name), &Policy{}
	applyDefaults(reflect.ValueOf(p).Elem())
	if root, bad := parseTree(name, data); bad != nil {
		doc.errs, doc.bad = Errors{*bad}, []string{""}
	} else {
		(&decoder{document: doc, getenv: getenv}).value(root, reflect.ValueOf(p).Elem(), "", rules{})
		fillFromEnvironment(doc, p, getenv)
	}
	resolvePaths(p, filepath.Dir(name))
	return doc, p
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
