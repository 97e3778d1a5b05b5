package repotest

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/jewgo/gateway/policy"
)

// composeFile is what deploy/compose/compose.yaml uses of the Compose specification; other keys are mistakes.
type composeFile struct {
	Gateway  map[string]any            `yaml:"x-gateway"`
	Services map[string]composeService `yaml:"services"`
	Volumes  map[string]any            `yaml:"volumes"`
}

type composeService struct {
	Image, Build, Restart, User string
	Command, Ports, Volumes     []string
	Profiles                    []string
	StopGracePeriod             string `yaml:"stop_grace_period"`
	Environment, Sysctls        map[string]string
	DependsOn                   any `yaml:"depends_on"`
	Healthcheck                 map[string]any
}

const composeDir = "deploy/compose/"

// unset is a variable of Compose with its default.
var unset = regexp.MustCompile(`\$\{\w+:-(.*?)\}`)

// checkCompose checks that the files of deploy/compose are of one mind.
func checkCompose(files map[string]string) (faults []string) {
	var c composeFile
	decoder := yaml.NewDecoder(strings.NewReader(files[composeDir+"compose.yaml"]))
	decoder.KnownFields(true)
	if err := decoder.Decode(&c); err != nil {
		return []string{"compose.yaml: " + err.Error()}
	}
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	for name, s := range c.Services {
		for _, volume := range s.Volumes {
			from, _, _ := strings.Cut(volume, ":")
			_, named := c.Volumes[from]
			file := path.Join(composeDir, from)
			_, isFile := files[file]
			isDir := slices.ContainsFunc(slices.Collect(maps.Keys(files)), func(name string) bool { return strings.HasPrefix(name, file+"/") })
			if !named && !isFile && !isDir {
				fault("%s mounts %s, which is not there", name, from)
			}
		}
		if _, ok := files[path.Join(composeDir, s.Build, "Dockerfile")]; s.Build != "" && !ok {
			fault("%s is built in %s, which has no Dockerfile", name, s.Build)
		}
		if s.Environment["GATEWAY_NAME"] != "" {
			faults = append(faults, checkComposeGateway(name, s, files)...)
		}
	}
	return faults
}

// checkComposeGateway checks one gateway against its policy and the balancer.
func checkComposeGateway(name string, s composeService, files map[string]string) (faults []string) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(name+": "+format, args...)) }
	snapshot, err := policy.Parse("gateway.yaml", []byte(files[composeDir+"gateway.yaml"]), func(key string) string {
		return unset.ReplaceAllString(s.Environment[key], "$1")
	})
	if err != nil {
		return []string{err.Error()}
	}
	server := snapshot.Policy.Server
	if host, _, _ := strings.Cut(server.Peers, ":"); host != name {
		fault("the others reach it as %s", host)
	}
	grace, err := time.ParseDuration(s.StopGracePeriod)
	if least := server.Timeouts.LameDuck.Std() + server.Timeouts.Drain.Std() + 5*time.Second; err != nil || grace < least {
		fault("stop_grace_period %s, want %v", s.StopGracePeriod, least)
	}
	balancer := files[composeDir+"haproxy.cfg"]
	for _, want := range []string{"check port" + strings.Replace(server.Admin, ":", " ", 1), name + " " + name + server.Listen[0], name + " " + name + server.TLS.Redirect} {
		if !strings.Contains(balancer, want) {
			fault("haproxy.cfg lacks %q", want)
		}
	}
	return faults
}

func TestCompose(t *testing.T) {
	all := files(t)
	report(t, checkCompose(all))
	typeCompose(t, all["docs/deploy.md"])
}

// typeCompose types the commands that docs/deploy.md has before docker, where a pair of keys is made.
func typeCompose(t *testing.T, page string) {
	t.Helper()
	block := regexp.MustCompile("(?s)```sh\ncd deploy/compose\n(.*?)docker ").FindStringSubmatch(page)
	if block == nil {
		t.Fatal("docs/deploy.md has no commands for Compose")
	}
	lines := block[1]
	if os.Getuid() != 0 { // only root may give files away
		lines = regexp.MustCompile("(?m)^chgrp .*$").ReplaceAllString(lines, "")
	}
	dir := t.TempDir()
	cmd := exec.Command("bash", "-e", "-c", lines)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	info, err := os.Stat(filepath.Join(dir, "tls/tls.key"))
	if err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("tls.key: %v, %v", info, err)
	}
}

func TestCheckCompose(t *testing.T) {
	all := files(t)
	for _, tc := range []struct{ file, old, new, want string }{
		{"compose.yaml", "restart: unless-stopped", "restarts: unless-stopped", "restarts not found"},
		{"compose.yaml", "./haproxy.cfg:", "./nothing.cfg:", "mounts ./nothing.cfg"},
		{"compose.yaml", "../../examples/flask", "../../examples/nothing", "no Dockerfile"},
		{"compose.yaml", "GATEWAY_NAME: gateway-2", "GATEWAY_NAME: gateway-1", "gateway-2: the others reach it as gateway-1"},
		{"gateway.yaml", "drain: 20s", "drain: 40s", "stop_grace_period"},
		{"gateway.yaml", "lame_duck", "lame_goose", "unknown key"},
		{"haproxy.cfg", "port 9901", "port 9902", `lacks "check port 9901"`},
	} {
		planted := map[string]string{}
		maps.Copy(planted, all)
		planted[composeDir+tc.file] = strings.Replace(all[composeDir+tc.file], tc.old, tc.new, 1)
		if faults := checkCompose(planted); !slices.ContainsFunc(faults, func(f string) bool { return strings.Contains(f, tc.want) }) {
			t.Errorf("%s: %q is not among %q", tc.file, tc.want, faults)
		}
	}
}
