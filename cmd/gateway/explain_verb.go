package main

import (
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/jewgo/gateway/policy"
)

func newExplain() *cobra.Command {
	var c adminClient
	var asJSON bool
	asked := url.Values{}
	cmd := &cobra.Command{
		Use:   "explain METHOD URL",
		Short: "Tell what would happen to a request, and why",
		Long: "Tell what would happen to a request, and why: its route and the nearest others, its limits, session and cache, what would\n" +
			"go upstream, and the answer if Redis were down. The request is not made: nothing is counted, stored or sent.\n\n" +
			"A running gateway answers by what its stores have now. With --config alone, the policy answers by itself, as a gateway\n" +
			"would that has just started without Redis.\n\n" +
			"URL is an http:// or https:// URL, or a path on the first of server.hosts; without any, on localhost with the port of\n" +
			"server.listen. --status 502 shows what happens while the upstream fails.\n" +
			"Exit status: 0 if it is explained, whatever the answer; 1 if not; 2 if the command line is wrong.",
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			asked.Set("method", args[0])
			asked.Set("url", args[1])
			x, err := askExplanation(cmd, &c, asked)
			switch {
			case err != nil:
				return err
			case asJSON:
				return printJSON(cmd.OutOrStdout(), x)
			}
			return showExplanation(cmd.OutOrStdout(), x, asked.Get("redis") == "down")
		},
	}
	flags := cmd.Flags()
	var header, response []string
	texts := map[string]*string{}
	for name, usage := range map[string]string{
		"client":  "the client's address (default: 127.0.0.1)",
		"session": "the session, by the beginning of its ID; else the header's cookie counts",
		"at":      "when: +90s, or a time such as 2026-01-31T12:00:00Z (default: now)",
		"redis":   "down: as if Redis were",
		"status":  "the status that the upstream is assumed to answer (default: 200)",
	} {
		texts[name] = flags.String(name, "", usage)
	}
	flags.StringArrayVarP(&header, "header", "H", nil, "a field of the request, NAME: VALUE; may be repeated")
	flags.StringArrayVar(&response, "response", nil, "a field that the upstream is assumed to answer, NAME: VALUE; may be repeated")
	flags.BoolVar(&asJSON, "json", false, "print the explanation as JSON")
	c.flags(cmd)
	cmd.Flag("config").Usage = "the policy file; without --admin it answers alone, and no gateway is asked"
	cmd.PreRun = func(*cobra.Command, []string) {
		for name, text := range texts {
			if *text != "" {
				asked.Set(name, *text)
			}
		}
		if len(header) > 0 {
			asked["header"] = header
		}
		if len(response) > 0 {
			asked["response"] = response
		}
	}
	return cmd
}

// askExplanation asks a running gateway or, with --config alone, the policy.
func askExplanation(cmd *cobra.Command, c *adminClient, asked url.Values) (*explanation, error) {
	x := &explanation{}
	anywhere := &policy.Snapshot{Policy: &policy.Policy{Server: policy.Server{Listen: policy.StringList{":80"}}}}
	if _, err := parseQuestion(asked, anywhere, time.Now()); err != nil {
		return nil, usage(err)
	}
	if !cmd.Flag("config").Changed || cmd.Flag("admin").Changed {
		return x, c.ask(cmd.Context(), http.MethodGet, "/v1/explain?"+asked.Encode(), nil, x)
	}
	s, err := loadPolicy(c.config)
	if err != nil {
		return nil, err
	}
	q, err := parseQuestion(asked, s, time.Now())
	if err != nil {
		return nil, usage(err)
	}
	e, err := newExplainer(s)
	if err != nil {
		return nil, err
	}
	defer e.cache.Close()
	return e.explain(cmd.Context(), q)
}
