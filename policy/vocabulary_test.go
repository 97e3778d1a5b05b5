package policy

import (
	"reflect"
	"strings"
	"testing"

	"github.com/jewgo/gateway/policy/yamlfile"
)

// What the vocabulary says is a key of the policy, or words.
func TestVocabulary(t *testing.T) {
	all := map[string]bool{}
	for _, paths := range yamlfile.KeysBelow(reflect.TypeFor[Policy]()) {
		for _, p := range paths {
			all[p] = true
		}
	}
	for name, meant := range vocabulary {
		if !strings.Contains(meant, " ") && !all[meant] {
			t.Errorf("%s: %s is no key of the policy", name, meant)
		}
	}
}
