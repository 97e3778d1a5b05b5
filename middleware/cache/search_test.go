package cache

import (
	"net/http"
	"strconv"
	"testing"

	"github.com/jewgo/gateway/internal/exchange"
	"github.com/jewgo/gateway/policy"
)

func TestSearchRulesAreBounded(t *testing.T) {
	var rules searchRules
	h := http.Header{"No-Vary-Search": {"params"}}
	ex := &exchange.Exchange{Route: &policy.Route{Name: "a"}}
	for i := range maxSearchRules + 10 {
		ex.View.Path = "/" + strconv.Itoa(i)
		rules.learn(ex, h)
	}
	if n := len(rules.rules); n != maxSearchRules {
		t.Errorf("%d paths are remembered, want %d", n, maxSearchRules)
	}
	if rules.get(ex).Default() {
		t.Error("the newest was forgotten")
	}
}
