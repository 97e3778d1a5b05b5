package policy

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v4"
)

const schemaFile = "../configs/gateway.schema.json"

func TestSchemaIsTheCommittedOne(t *testing.T) {
	if *update {
		if err := os.WriteFile(schemaFile, Schema(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	committed, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(committed), string(Schema())); diff != "" {
		t.Errorf("%s is stale; write it again with: go test ./policy -run Schema -update\n%s", schemaFile, diff)
	}
}

func TestSchemaAcceptsWhatLoads(t *testing.T) {
	schema := compileSchema(t)
	for _, file := range append(files(t, "testdata/good_*.yaml"), gatewayFile) {
		if err := schema.Validate(readYAML(t, file)); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// TestSchemaRefusesWrongStructure takes the broken policies whose mistakes are
// of structure; what only the whole policy tells is not the schema's.
func TestSchemaRefusesWrongStructure(t *testing.T) {
	schema := compileSchema(t)
	for _, name := range []string{"unknown_key", "types", "values", "enum", "nothing", "version", "no_version", "routes_typo"} {
		if schema.Validate(readYAML(t, "testdata/bad_"+name+".yaml")) == nil {
			t.Errorf("bad_%s.yaml is accepted", name)
		}
	}
	if schema.Validate(map[string]any{"version": json.Number("1"), "limits": map[string]any{"a": map[string]any{"rate": "often"}}}) == nil {
		t.Error("a rate without a number is accepted")
	}
}

func compileSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("gateway.schema.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("gateway.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// readYAML gives a file as an editor's schema checker sees it.
func readYAML(t *testing.T, file string) any {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var v any
	if err := yaml.Load(data, &v); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return doc
}
