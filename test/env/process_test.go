package env

import (
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
)

func TestFlaskEndsWithItsTest(t *testing.T) {
	var base string
	t.Run("inner", func(t *testing.T) {
		base = Flask(t)
		resp, err := http.Get(base + "/api/v5/restaurants/1464")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("status %d", resp.StatusCode)
		}
	})
	if c, err := net.Dial("tcp", strings.TrimPrefix(base, "http://")); err == nil {
		c.Close()
		t.Error("the server outlived its test")
	}
}

// abandon names the variable that makes TestAbandon the dying test binary.
const abandon = "TESTENV_ABANDON"

func TestServersEndWithTheTestBinary(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs the parent-death signal of Linux")
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestAbandon$")
	cmd.Env = append(os.Environ(), abandon+"=1", "TMPDIR="+t.TempDir())
	out, err := cmd.Output()
	if err == nil || cmd.ProcessState.ExitCode() != 3 {
		t.Fatalf("the other test binary: %v\n%s", err, out)
	}
	for addr := range strings.FieldsSeq(string(out)) {
		Until(t, "the server at "+addr+" ends with the test binary", func() bool {
			c, err := net.Dial("tcp", addr)
			if err == nil {
				c.Close()
			}
			return err != nil
		})
	}
}

// TestAbandon starts servers and dies without cleaning up, as a panic does.
func TestAbandon(t *testing.T) {
	if os.Getenv(abandon) == "" {
		t.Skip("only as a process of TestServersEndWithTheTestBinary")
	}
	os.Stdout.WriteString(Redis(t).Addr + " " + strings.TrimPrefix(Flask(t), "http://") + "\n")
	os.Exit(3)
}
