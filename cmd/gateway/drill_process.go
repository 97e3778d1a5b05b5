package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/jewgo/gateway/internal/failover"
)

// drillProcess is a gateway process that a drill has started: this program once
// more.
type drillProcess struct {
	cmd        *exec.Cmd
	log        string // file with what it says
	url, admin string
	ended      chan struct{} // closed when it has ended
}

// startGatewayProcess runs a policy in a folder of its own, made for it, and
// waits until it is served.
func startGatewayProcess(dir string, text []byte, vars map[string]string) (*drillProcess, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "gateway.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return nil, err
	}
	g := &drillProcess{cmd: exec.Command(program, "run", "--config", file), log: filepath.Join(dir, "log"), ended: make(chan struct{})}
	g.cmd.Env = os.Environ()
	for name, value := range vars {
		g.cmd.Env = append(g.cmd.Env, name+"="+value)
	}
	log, err := os.Create(g.log)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }() // the process has its own
	g.cmd.Stderr = log
	if err := g.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(g.ended) // soon after end at the latest
		_ = g.cmd.Wait()     // what went wrong is in its log
	}()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if g.locate() {
			return g, nil
		}
		select {
		case <-g.ended:
			return nil, fmt.Errorf("a gateway ended: %s", g.lastWords())
		default:
		}
	}
	g.end()
	return nil, fmt.Errorf("a gateway does not serve: %s", g.lastWords())
}

// end ends the process, and with it all that its clients had under way.
func (g *drillProcess) end() {
	_ = g.cmd.Process.Kill() // it holds nothing that is worth saving
	<-g.ended
}

// locate reads the addresses from the log line that tells them.
func (g *drillProcess) locate() bool {
	text, err := os.ReadFile(g.log)
	if err != nil {
		return false
	}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		var m struct{ Msg, URL, Admin string }
		if json.Unmarshal(lines.Bytes(), &m) == nil && m.Msg == "serving" {
			g.url, g.admin = m.URL, m.Admin
			return true
		}
	}
	return false
}

// lastWords are the end of its log.
func (g *drillProcess) lastWords() string {
	text, _ := os.ReadFile(g.log) // no log says nothing
	text = bytes.TrimSpace(text[max(0, len(text)-1000):])
	return strings.TrimSpace(string(text[bytes.LastIndexByte(text, '\n')+1:]))
}

var drillClient = &http.Client{Timeout: 5 * time.Second}

// status asks the gateway how it does with its Redis.
func (g *drillProcess) status() (s failover.Status, err error) {
	res, err := drillClient.Get(g.admin + "/v1/redis")
	if err != nil {
		return s, fmt.Errorf("a gateway does not answer: %w: %s", err, g.lastWords())
	}
	defer func() { _ = res.Body.Close() }() // it has been read
	read, err := decodeStatus(res.Body)
	if err != nil {
		return s, err
	}
	states := map[string]failover.State{}
	for _, state := range []failover.State{failover.Down, failover.Rejoining, failover.Up} {
		states[state.String()] = state
	}
	s.State = states[read.State]
	for _, c := range read.History {
		s.History = append(s.History, failover.Change{At: c.At, To: states[c.To]})
	}
	return s, nil
}
