package policy

import (
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/jewgo/gateway/policy/yamlfile"
)

const (
	referenceFile  = "../docs/config.md"
	referenceBegin = "<!-- reference: begin -->\n"
	referenceEnd   = "<!-- end -->"
)

// reference describes every key of the policy, an example and a table for each section, out of what the
// schema is made from too.
func reference(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	for f := range reflect.TypeFor[Policy]().Fields() {
		if f.Type.Kind() == reflect.Int {
			continue // version, which is always 1
		}
		fmt.Fprintf(&b, "## %s\n\n%s\n\n", f.Tag.Get("yaml"), f.Tag.Get("jsonschema_description"))
		example, err := os.ReadFile("testdata/examples/" + f.Tag.Get("yaml") + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "```yaml\n%s```\n\n", example)
		if f.Type.Kind() == reflect.Slice && f.Type.Elem().Kind() != reflect.Struct {
			continue // it has no keys
		}
		b.WriteString("| Key | Default | Meaning |\n|---|---|---|\n")
		switch f.Type.Kind() {
		case reflect.Map:
			referenceRows(&b, f.Type.Elem(), "NAME.")
		case reflect.Slice:
			referenceRows(&b, f.Type.Elem(), "")
		default:
			referenceRows(&b, f.Type, "")
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func referenceRows(b *strings.Builder, t reflect.Type, prefix string) {
	defaults := reflect.New(t).Elem()
	yamlfile.ApplyDefaults(defaults)
	fields := yamlfile.FieldsOf(t)
	for i := range t.NumField() {
		f := t.Field(i)
		below, more := yamlfile.Below(f.Type)
		name := f.Tag.Get("yaml")
		standard := ""
		if value := defaultText(defaults.Field(i)); value != nil {
			standard = "`" + strings.Trim(fmt.Sprint(value), "[]") + "`"
		}
		if fields[name].Required {
			standard = "required"
		}
		fmt.Fprintf(b, "| `%s%s` | %s | %s |\n", prefix, name, standard, f.Tag.Get("jsonschema_description"))
		if below.Kind() == reflect.Struct && !yamlfile.ReadsItself(below) {
			referenceRows(b, below, prefix+name+more+".")
		}
	}
}

func TestReferenceInDocs(t *testing.T) {
	document, err := os.ReadFile(referenceFile)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(document), referenceBegin)
	_, after, ok2 := strings.Cut(rest, referenceEnd)
	if !ok || !ok2 {
		t.Fatalf("%s lacks the marks %s and %s", referenceFile, strings.TrimSpace(referenceBegin), referenceEnd)
	}
	want := before + referenceBegin + reference(t) + referenceEnd + after
	if want == string(document) {
		return
	}
	if !*update {
		t.Fatalf("%s does not describe the policy as it is: run `make docs`", referenceFile)
	}
	if err := os.WriteFile(referenceFile, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}
