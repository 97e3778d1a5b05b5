package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jewgo/gateway/test/acme"
	"github.com/jewgo/gateway/test/env"
)

// machine is an empty Debian in a folder, with a checkout in /src/gateway. It has no systemd: systemctl is played by the
// test, which starts the command of the installed unit as another user, with the sockets of the installed units.
type machine struct {
	*testing.T
	root      string
	listeners []net.Listener
	names     []string // of listeners
	g         *gatewayProcess
}

// inside is a command on the machine.
func (m *machine) inside(args ...string) *exec.Cmd {
	own := []string{m.root, "/usr/bin/env", "-i", "HOME=/root", "LANG=C.UTF-8", "PATH=/usr/local/go/bin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	for _, name := range []string{"GOPROXY", "GOSUMDB", "http_proxy", "https_proxy", "no_proxy"} {
		if value := os.Getenv(name); value != "" {
			own = append(own, name+"="+value)
		}
	}
	return exec.Command("chroot", append(own, args...)...)
}

// enter types lines into a shell there, in the checkout.
func (m *machine) enter(lines string) string {
	m.Helper()
	if words := strings.Fields(lines); words[0] == "systemctl" {
		m.systemctl(words[1:])
		return ""
	}
	out, err := m.inside("bash", "-e", "-o", "pipefail", "-c", "cd /src/gateway\n"+lines).CombinedOutput()
	if err != nil {
		m.Fatalf("%s: %v\n%s", lines, err, out)
	}
	return strings.ReplaceAll(string(out), "\r", "")
}

// unit reads the settings of an installed unit and its drop-ins.
func (m *machine) unit(name string) map[string]string {
	m.Helper()
	dir := filepath.Join(m.root, "etc/systemd/system")
	files, err := filepath.Glob(filepath.Join(dir, name+".d/*.conf"))
	if err != nil {
		m.Fatal(err)
	}
	settings := map[string]string{}
	for _, file := range append([]string{filepath.Join(dir, name)}, files...) {
		text, err := os.ReadFile(file)
		if err != nil {
			m.Fatal(err)
		}
		for _, found := range regexp.MustCompile(`(?m)^(\w+)=(.+)$`).FindAllStringSubmatch(string(text), -1) {
			settings[found[1]] = found[2]
		}
	}
	return settings
}

func (m *machine) systemctl(args []string) {
	m.Helper()
	switch args[0] {
	case "daemon-reload":
	case "enable":
		for name := range strings.FieldsSeq(m.unit("gateway.service")["Sockets"]) {
			socket := m.unit(name)
			l, err := net.Listen("tcp", ":"+socket["ListenStream"])
			if err != nil {
				m.Fatal(err)
			}
			m.Cleanup(func() { _ = l.Close() })
			m.listeners, m.names = append(m.listeners, l), append(m.names, socket["FileDescriptorName"])
		}
		m.start()
	case "restart":
		m.g.signal(syscall.SIGTERM)
		if code := m.g.wait(30 * time.Second); code != 0 {
			m.Errorf("exit status %d", code)
		}
		m.start()
	default:
		m.Fatalf("systemctl %v", args)
	}
}

// serviceUser is one of those that DynamicUser takes.
const serviceUser = 61184

// service is a command of the unit, run as its user.
func (m *machine) service(key string) *exec.Cmd {
	m.Helper()
	unit := m.unit("gateway.service")
	groups := strings.TrimSpace(m.enter("getent group " + unit["SupplementaryGroups"] + " | cut -d: -f3"))
	args := []string{
		m.root, "setpriv", fmt.Sprint("--reuid=", serviceUser), fmt.Sprint("--regid=", serviceUser), "--groups=" + groups,
		"--inh-caps=-all", "--bounding-set=-all", "--no-new-privs", "--",
	}
	return exec.Command("chroot", append(args, strings.Fields(unit[key])...)...)
}

// reloads checks what `systemctl reload` does: its exit status, and what it prints.
func (m *machine) reloads(well bool, says string) {
	m.Helper()
	if out, err := m.service("ExecReload").CombinedOutput(); (err == nil) != well || !strings.Contains(string(out), says) {
		m.Errorf("reload: %v\n%s", err, out)
	}
}

// start runs the unit's command as its user, until it serves.
func (m *machine) start() {
	m.Helper()
	state := filepath.Join(m.root, "var/lib", m.unit("gateway.service")["StateDirectory"])
	if err := os.MkdirAll(state, 0o700); err != nil {
		m.Fatal(err)
	}
	if err := os.Chown(state, serviceUser, serviceUser); err != nil {
		m.Fatal(err)
	}
	m.g = launchAs(m.T, func(cmd *exec.Cmd) {
		c := m.service("ExecStart")
		cmd.Path, cmd.Args = c.Path, c.Args
		passSockets(m.T, cmd, m.names, m.listeners...)
	})
	m.g.serving()
}

// writeFiles writes the files of a page: YAML that begins with a path.
func (m *machine) writeFiles(page string, policy *strings.Replacer) {
	m.Helper()
	for _, block := range regexp.MustCompile("(?s)```yaml\n(# (/\\S+)\n.*?)```").FindAllStringSubmatch(page, -1) {
		if err := os.WriteFile(filepath.Join(m.root, block[2]), []byte(policy.Replace(block[1])), 0o644); err != nil {
			m.Fatal(err)
		}
	}
}

// deployBlocks are the blocks of the section on systemd in docs/deploy.md: whole, language and content.
func deployBlocks(t *testing.T) [][]string {
	t.Helper()
	_, section, _ := strings.Cut(document(t, "deploy.md"), "## With systemd")
	section, _, _ = strings.Cut(section, "## With Compose")
	return regexp.MustCompile("(?s)```(sh|console|yaml)\n(.*?)```").FindAllStringSubmatch(section, -1)
}

// deployed are the sh blocks that TestDeployPage types.
func deployed(t *testing.T) (blocks []string) {
	t.Helper()
	for _, block := range deployBlocks(t) {
		if block[1] == "sh" {
			blocks = append(blocks, block[2])
		}
	}
	return blocks
}

// The section of docs/deploy.md on systemd, typed on an empty Debian, from the build to a purge over HTTPS, in front of
// the Flask example. `make fresh` runs it.
func TestDeployPage(t *testing.T) {
	m := &machine{T: t, root: os.Getenv("GATEWAY_FRESH_ROOT")}
	if m.root == "" {
		t.Skip("GATEWAY_FRESH_ROOT is not set; make fresh does that")
	}
	server := acme.Start(t, acme.Config{HTTPPort: 80, TLSPort: 443})
	trusted := filepath.Join(m.root, "usr/local/share/ca-certificates")
	for name, file := range map[string]string{"acme.crt": server.CAFile, "issued.crt": server.RootsFile()} {
		pem, err := os.ReadFile(file)
		if err == nil {
			err = os.WriteFile(filepath.Join(trusted, name), pem, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	m.enter("update-ca-certificates; echo 127.0.0.1 api.example.org >>/etc/hosts")
	m.enter("apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y python3-flask gunicorn python3-wsproto") // as docs/flask.md has it
	policy := strings.NewReplacer("email: ops@example.org}", `email: ops@example.org, directory: "`+server.Directory+`", ca_file: /usr/local/share/ca-certificates/acme.crt}`)

	commands, served := 0, false
	for _, block := range deployBlocks(t) {
		switch kind, lines := block[1], block[2]; kind {
		case "yaml":
			m.writeFiles(block[0], policy)
		case "sh":
			for line := range strings.Lines(lines) {
				if strings.HasPrefix(line, "gateway init") { // the application is there by now, with the group's keys
					m.flask()
				}
				m.enter(strings.TrimSpace(line))
				commands++
			}
			served = m.g != nil
		default:
			if served {
				env.Eventually(t, time.Minute, func() error {
					if ready := shell(t, t.TempDir(), "curl -s 'http://127.0.0.1:9901/readyz?verbose'"); !strings.Contains(ready, "api.example.org until") {
						return fmt.Errorf("%s", ready)
					}
					return nil
				})
			}
			commands += typed(t, lines, m.enter)
		}
	}
	if commands != 25 {
		t.Errorf("%d commands were typed", commands)
	}
	for _, line := range []string{"make build", "install bin/gateway /usr/local/bin/gateway", "systemctl restart gateway"} { // docs/upgrade.md
		m.enter(line)
	}
	m.enter("curl -sf -b cookies https://api.example.org/me")
	m.reloads(true, "reloaded")
	m.enter("echo 'mistake: 1' >>/etc/gateway/gateway.yaml")
	m.reloads(false, `unknown key "mistake"`)
}

// flask runs the example on the machine as a user of its own, in the group that reads the identity keys.
func (m *machine) flask() {
	m.Helper()
	group := strings.TrimSpace(m.enter("getent group gateway-keys | cut -d: -f3"))
	p := env.Start(m.T, m.inside("setpriv", "--reuid=1500", "--regid=1500", "--groups="+group, "env", "-C", "/src/gateway/examples/flask",
		"PYTHONDONTWRITEBYTECODE=1", "IDENTITY_KEYS=/etc/gateway/identity.keys", "gunicorn", "app:app"))
	if err := p.Await(func() error {
		conn, err := net.Dial("tcp", "127.0.0.1:5000")
		if err != nil {
			return err
		}
		return conn.Close()
	}); err != nil {
		m.Fatalf("gunicorn: %v\n%s", err, p.Output())
	}
}
