package main

import (
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// configFlag adds --config; GATEWAY_CONFIG is its default.
func configFlag(cmd *cobra.Command, file *string) {
	preset := strings.TrimSpace(os.Getenv("GATEWAY_CONFIG"))
	if preset == "" {
		preset = "gateway.yaml"
	}
	cmd.Flags().StringVarP(file, "config", "c", preset, "the policy file (environment: GATEWAY_CONFIG)")
}

// addresses adds --listen, --https and --admin, which override the policy.
func addresses(cmd *cobra.Command, s *service) {
	cmd.Flags().StringVar(&s.listen, "listen", "", "address to listen on, overrides server.listen; port 0 takes any free port")
	cmd.Flags().BoolVar(&s.https, "https", false, "for development: HTTPS with a certificate for localhost, made in data_dir")
	cmd.Flags().StringVar(&s.admin, "admin", "", "admin address, overrides server.admin")
}
