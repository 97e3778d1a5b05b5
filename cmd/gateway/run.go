package main

import (
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/jewgo/gateway/internal/reload"
	"github.com/jewgo/gateway/policy"
)

func newRun() *cobra.Command {
	var s service
	cmd := &cobra.Command{
		Use:   "run [FILE]",
		Short: "Serve a policy until stopped",
		Long: "Serve a policy until stopped: FILE, --config, or gateway.yaml in this folder.\n" +
			"TERM or INT lets requests in flight end; a second INT stops at once.\n" +
			"HUP, or a change of the file, reloads the policy; if it has a mistake, the old one stays in force.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s.stdout, s.stderr = cmd.OutOrStdout(), cmd.ErrOrStderr()
			if len(args) == 1 {
				s.file = args[0]
			}
			loaded := false
			s.load = func() (*policy.Snapshot, error) {
				if loaded && reload.Once(s.file) {
					return nil, fmt.Errorf("%s cannot be read a second time", s.file)
				}
				loaded = true
				return loadPolicy(s.file)
			}
			return s.run(cmd.Context())
		},
	}
	configFlag(cmd, &s.file)
	addresses(cmd, &s)
	return cmd
}

//go:embed up.yaml
var upPolicy []byte

func newUp() *cobra.Command {
	var s service
	var to string
	cmd := &cobra.Command{
		Use:   "up --to URL",
		Short: "Serve one backend without a policy file",
		Long:  "Serve one backend without a policy file: everything is forwarded, and cached where the backend's headers allow it.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			backend, err := backendURL(to)
			if err != nil {
				return usage(err)
			}
			s.stdout, s.stderr = cmd.OutOrStdout(), cmd.ErrOrStderr()
			return runEmbedded(cmd, &s, "up.yaml", upPolicy, map[string]string{"UPSTREAM_URL": backend.String()})
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "the backend's URL")
	addresses(cmd, &s)
	return cmd
}

// runEmbedded serves a policy that is part of the binary. Its keys are kept in a
// temporary folder. vars override the environment.
func runEmbedded(cmd *cobra.Command, s *service, name string, text []byte, vars map[string]string) (err error) {
	dir, err := os.MkdirTemp("", "gateway-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	s.load = func() (*policy.Snapshot, error) {
		var e environment
		snapshot, err := policy.Parse(filepath.Join(dir, name), text, func(key string) string {
			if v, ok := vars[key]; ok {
				return v
			}
			return e.get(key)
		})
		return snapshot, errors.Join(append(e.problems, err)...)
	}
	return s.run(cmd.Context())
}
