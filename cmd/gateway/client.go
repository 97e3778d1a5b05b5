package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/jewgo/gateway/internal/admin"
	"github.com/jewgo/gateway/internal/atomicfile"
	"github.com/jewgo/gateway/policy"
)

var errNoGateway = errors.New("no gateway")

// adminClient speaks to a running gateway.
type adminClient struct {
	config, address, tokenFile string
	byDefault                  bool // the address is the default one, since the policy could not be read
}

func (c *adminClient) flags(cmd *cobra.Command) {
	configFlag(cmd, &c.config)
	cmd.Flags().StringVar(&c.address, "admin", "", "the gateway's admin address (default: the policy's server.admin)")
	cmd.Flags().StringVar(&c.tokenFile, "token-file", "", "file with the admin token (environment: GATEWAY_ADMIN_TOKEN; default: the gateway's own)")
}

// locate completes the flags and returns the token, or why there is none; the gateway then refuses
// calls that need it. A policy that cannot be read is no error here, since the gateway may still run
// an earlier version of it.
func (c *adminClient) locate() (token string, why error) {
	server, read := policy.LoadServer(c.config, new(environment).get)
	if c.address == "" {
		c.byDefault = !read
		c.address = server.Admin
	}
	if token := strings.TrimSpace(os.Getenv("GATEWAY_ADMIN_TOKEN")); c.tokenFile == "" && token != "" {
		return token, nil
	}
	if c.tokenFile == "" {
		c.tokenFile = tokenFile(&server)
	}
	text, why := atomicfile.ReadSecret(c.tokenFile)
	return strings.TrimSpace(string(text)), why
}

// tokenFile is where a gateway with that policy keeps its admin token.
func tokenFile(s *policy.Server) string {
	if s.AdminTokenFile != "" {
		return s.AdminTokenFile
	}
	return filepath.Join(s.DataDir, "admin.token")
}

// call makes one request and returns the text of the response. A status of 400 or
// above is an error with that text.
func (c *adminClient) call(ctx context.Context, method, path string, body []byte) (string, error) {
	byPolicy := c.address == ""
	token, noToken := c.locate()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if strings.HasPrefix(c.address, "systemd:") {
		return "", fmt.Errorf("%w: name its address by --admin: the policy has a socket of systemd, %s", errNoGateway, c.address)
	}
	host, transport := c.address, &http.Transport{DisableKeepAlives: true}
	if socket, ok := strings.CutPrefix(c.address, "unix:"); ok {
		host = "localhost"
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+host+path, bytes.NewReader(body))
	if err != nil {
		return "", fmt.Errorf("admin address %q: %w", c.address, err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := transport.RoundTrip(req)
	if err != nil {
		err = fmt.Errorf("%w at %s: %w", errNoGateway, c.address, err)
		switch {
		case c.byDefault:
			err = fmt.Errorf("%w; that is the default address, since the policy %s cannot be read: set --config or --admin", err, c.config)
		case byPolicy:
			err = fmt.Errorf("%w; that is server.admin of %s. A gateway that was started with another address keeps it until a restart: name that by --admin", err, c.config)
		}
		return "", err
	}
	defer func() { _ = res.Body.Close() }() // it has been read
	answer, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return "", fmt.Errorf("read the gateway's answer: %w", err)
	}
	text := strings.TrimSpace(string(answer))
	switch err = refusal(res, text); {
	case err == nil:
	case errors.Is(err, errNoPage):
		err = fmt.Errorf("%s has no page %s: it is not the admin address of a gateway, or of another version than this command, %s", c.address, path, versionText())
	case res.StatusCode == http.StatusUnauthorized && noToken != nil:
		err = fmt.Errorf("%w: %w; set --token-file or GATEWAY_ADMIN_TOKEN", err, noToken)
	case res.StatusCode == http.StatusUnauthorized:
		err = fmt.Errorf("%w: it is in the gateway's server.admin_token_file, else in admin.token in its data_dir; set --token-file or GATEWAY_ADMIN_TOKEN", err)
	}
	return text, err
}

// ask calls the gateway and reads its answer into v.
func (c *adminClient) ask(ctx context.Context, method, path string, body, v any) error {
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return err
		}
	}
	answer, err := c.call(ctx, method, path, text)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(answer), v); err != nil {
		return fmt.Errorf("%s answered what no gateway of this version, %s, does: %.200q", c.address, versionText(), answer)
	}
	return nil
}

// errNoPage says that the address has no such page of the admin API.
var errNoPage = errors.New("no such page")

// refusal returns the error that a response is, in the words of its problem document, or nil.
func refusal(res *http.Response, text string) error {
	var p struct{ Title, Detail string }
	isProblem := res.Header.Get("Content-Type") == "application/problem+json" && json.Unmarshal([]byte(text), &p) == nil
	switch unknown := res.StatusCode == http.StatusNotFound || res.StatusCode == http.StatusMethodNotAllowed; {
	case res.StatusCode < 400:
		return nil
	case unknown && (!isProblem || p.Detail == admin.NoPage):
		return errNoPage
	case !isProblem:
		return fmt.Errorf("%s: %.200s", res.Status, text)
	}
	if p.Detail == "" {
		return errors.New(p.Title)
	}
	return fmt.Errorf("%s: %s", p.Title, p.Detail)
}

// adminCommand completes a command that calls a running gateway once and prints the
// response.
func adminCommand(cmd *cobra.Command, method, path string) *cobra.Command {
	var c adminClient
	cmd.Args = cobra.NoArgs
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		text, err := c.call(cmd.Context(), method, path, nil)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(), text)
		return err
	}
	c.flags(cmd)
	return cmd
}

func newHealthcheck() *cobra.Command {
	return adminCommand(&cobra.Command{
		Use:   "healthcheck",
		Short: "Ask a running gateway whether it is ready",
		Long:  "Ask a running gateway whether it is ready. Exit status: 0 if it is ready, also when degraded; 1 if it is not, or does not answer.",
	}, http.MethodGet, "/readyz")
}

func newReload() *cobra.Command {
	cmd := adminCommand(&cobra.Command{
		Use:   "reload",
		Short: "Make a running gateway read its policy again",
		Long: "Make a running gateway read its policy again. If the policy has a mistake, it is reported as by\n" +
			"validate, and the old policy stays in force.",
	}, http.MethodPost, "/v1/reload")
	ask := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		file, addressed := cmd.Flag("config").Value.String(), cmd.Flag("admin").Changed
		_, wrong := loadPolicy(file)
		if _, sound := policy.LoadServer(file, new(environment).get); wrong != nil && !sound && !addressed {
			return wrong // the policy does not even tell the address of the gateway
		}
		err := ask(cmd, args)
		if errors.Is(err, errNoGateway) && !addressed {
			err = errors.Join(wrong, err)
		}
		return err
	}
	return cmd
}

// confirm asks a question on the terminal.
func confirm(cmd *cobra.Command, question string) error {
	in, isFile := cmd.InOrStdin().(*os.File)
	if isFile {
		info, err := in.Stat()
		isFile = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	answer, err := "", io.EOF
	if isFile {
		_, _ = fmt.Fprint(cmd.ErrOrStderr(), question+" [y/N] ") // a terminal that is gone answers nothing either
		_, err = fmt.Fscanln(in, &answer)
	}
	if errors.Is(err, io.EOF) { // /dev/null looks like a terminal, too
		return usage(errors.New("there is no terminal to ask on: say --yes"))
	}
	if a := strings.ToLower(answer); a != "y" && a != "yes" {
		return errors.New("nothing was done")
	}
	return nil
}

// printJSON prints a value for scripts.
func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
