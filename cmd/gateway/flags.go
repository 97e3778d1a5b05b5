package main

import (
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// configFlag adds --config, which the environment may preset.
func configFlag(cmd *cobra.Command, file *string) {
	preset := strings.TrimSpace(os.Getenv("GATEWAY_CONFIG"))
	if preset == "" {
		preset = "configs/gateway.yaml"
	}
	cmd.Flags().StringVarP(file, "config", "c", preset, "the policy file (environment: GATEWAY_CONFIG)")
}

// addresses adds --listen and --admin, which go over what the policy says.
func addresses(cmd *cobra.Command, s *service) {
	cmd.Flags().StringVar(&s.listen, "listen", "", "address to listen on, over the policy's server.listen; port 0: any free one")
	cmd.Flags().StringVar(&s.admin, "admin", "", "admin address, over the policy's server.admin")
}
