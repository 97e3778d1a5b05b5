package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

var update = flag.Bool("update", false, "rewrite docs/verbs.md, and the pictures in docs/images")

// verbsPage writes the reference of all commands.
func verbsPage(root *cobra.Command) string {
	var b strings.Builder
	b.WriteString("# Commands\n\nMade from the program by `make docs`. `gateway VERB --help` prints the same.\n")
	var each func(cmd *cobra.Command)
	each = func(cmd *cobra.Command) {
		if cmd != root && !cmd.HasSubCommands() {
			writeVerb(&b, cmd)
		}
		for _, sub := range cmd.Commands() {
			each(sub)
		}
	}
	each(root)
	return b.String()
}

func writeVerb(b *strings.Builder, cmd *cobra.Command) {
	long := cmd.Long
	if long == "" {
		long = cmd.Short + "."
	}
	_, _ = fmt.Fprintf(b, "\n## %s\n\n```text\n%s\n\n%s\n```\n", cmd.CommandPath(), cmd.UseLine(), strings.TrimSpace(long)) // a Builder takes everything
	rows := ""
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		name := "--" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", " + name
		}
		if kind := f.Value.Type(); kind != "bool" {
			name += " " + strings.ToUpper(kind)
		}
		rows += fmt.Sprintf("| `%s` | %s |\n", name, strings.ReplaceAll(f.Usage, "|", "\\|"))
	})
	if rows != "" {
		b.WriteString("\n| Flag | Means |\n|---|---|\n" + rows)
	}
}

// docs/verbs.md is what the program says of itself.
func TestVerbsInDocs(t *testing.T) {
	const file = "../../docs/verbs.md"
	want := verbsPage(newRoot())
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil || string(got) != want {
		t.Errorf("docs/verbs.md is not what the program says (%v): run `make docs`", err)
	}
}
