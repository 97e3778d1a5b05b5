package main

import (
	"github.com/spf13/cobra"

	"github.com/jewgo/gateway/test/field"
)

// newServe is the command by which the tool starts its own servers.
func newServe() *cobra.Command {
	parent := &cobra.Command{Use: "serve", Short: "Be one of the servers that are measured", Hidden: true}
	var o field.Options
	upstream := &cobra.Command{
		Use: "upstream", Short: "Serve /…/N: N bytes", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return field.ServeUpstream(cmd.Context(), cmd.OutOrStdout())
		},
	}
	static := &cobra.Command{
		Use: "static", Short: "Serve one answer", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return field.ServeStatic(cmd.Context(), cmd.OutOrStdout(), o)
		},
	}
	static.Flags().StringVar(&o.Answer, "answer", "", "file of the answer")
	static.Flags().StringVar(&o.Cert, "cert", "", "certificate; default: HTTP")
	static.Flags().StringVar(&o.Key, "key", "", "the certificate's key")
	proxy := &cobra.Command{
		Use: "proxy", Short: "Forward everything", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return field.ServeProxy(cmd.Context(), cmd.OutOrStdout(), o)
		},
	}
	proxy.Flags().StringVar(&o.To, "to", "", "URL of the upstream")
	proxy.Flags().StringVar(&o.Redis, "redis", "", "host:port of a Redis that limits; default: no limit")
	parent.AddCommand(upstream, static, proxy)
	return parent
}
