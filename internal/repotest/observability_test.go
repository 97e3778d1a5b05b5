package repotest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

const (
	observability = "configs/observability/"
	alertsPage    = "docs/alerts.md"
	runbook       = "https://github.com/jewgo/gateway/blob/main/" + alertsPage + "#"
)

// grafanaDashboard is what is checked of Grafana's format.
type grafanaDashboard struct {
	Templating, Annotations struct {
		List []struct{ Name, Query, Expr, TitleFormat string }
	}
	Panels []struct {
		ID      int
		Title   string
		Type    string
		Targets []struct{ Expr, LegendFormat string }
	}
}

type alertRules struct {
	Groups []struct {
		Name  string
		Rules []struct {
			Alert, Expr, For    string
			Labels, Annotations map[string]string
		}
	}
}

// metricLabels are the families of docs/metrics.md, which lists those of the code, and their labels.
func metricLabels(page string) map[string][]string {
	all := map[string][]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(gateway_[a-z_]+)` \\| ([^|]*) \\|").FindAllStringSubmatch(page, -1) {
		all[m[1]] = strings.Split(strings.ReplaceAll(m[2], "`", ""), ", ")
	}
	return all
}

var (
	seriesName = regexp.MustCompile(`\bgateway_[a-z_]+`)
	labelUse   = regexp.MustCompile(`(?:[{,] *|\{\{ ?\$labels\.|\{\{)([a-z]+)(?:=|!=| ?\}\})`)
	labelList  = regexp.MustCompile(`(?:by|without) \(([a-z, ]+)\)`)
)

// checkQuery checks the names in a query, and in a text that shows its result, such as a legend.
func checkQuery(query, shown string, families map[string][]string) (faults []string) {
	known := []string{"instance"} // which Prometheus adds
	for _, series := range seriesName.FindAllString(query, -1) {
		name := series
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			if base, cut := strings.CutSuffix(series, suffix); cut && strings.HasSuffix(base, "_seconds") {
				name = base
				known = append(known, "le")
			}
		}
		labels, ok := families[name]
		if !ok {
			faults = append(faults, "no metric "+series)
		}
		known = append(known, labels...)
	}
	var used []string
	for _, m := range labelUse.FindAllStringSubmatch(query+shown, -1) {
		used = append(used, m[1])
	}
	for _, m := range labelList.FindAllStringSubmatch(query, -1) {
		used = append(used, strings.Split(m[1], ", ")...)
	}
	for _, label := range used {
		if strings.Contains(query, "gateway_") && !slices.Contains(known, label) {
			faults = append(faults, fmt.Sprintf("no label %s in %s", label, query))
		}
	}
	return faults
}

// grafanaQueries are the queries of a dashboard in Prometheus' own language, and what is wrong.
func grafanaQueries(text string, families map[string][]string) (queries, faults []string) {
	var d grafanaDashboard
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		return nil, []string{err.Error()}
	}
	plain := strings.NewReplacer("$__rate_interval", "5m", "$__interval", "5m", "$instance", ".+")
	add := func(where, query, shown string) {
		query = plain.Replace(query)
		queries = append(queries, query)
		for _, fault := range checkQuery(query, shown, families) {
			faults = append(faults, where+": "+fault)
		}
	}
	ids := map[int]bool{}
	for _, p := range d.Panels {
		if ids[p.ID] {
			faults = append(faults, p.Title+": the number of another panel")
		}
		ids[p.ID] = true
		if p.Type != "row" && len(p.Targets) == 0 {
			faults = append(faults, p.Title+": no query")
		}
		for _, target := range p.Targets {
			add(p.Title, target.Expr, target.LegendFormat)
		}
	}
	for _, a := range d.Annotations.List {
		add(a.Name, a.Expr, a.TitleFormat)
	}
	return queries, faults
}

// checkAlerts checks alerts against the metrics and the page that explains them.
func checkAlerts(text, page string, families map[string][]string) (faults []string) {
	var rules alertRules
	if err := yaml.Unmarshal([]byte(text), &rules); err != nil {
		return []string{err.Error()}
	}
	explained := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^## (Gateway\w+)$`).FindAllStringSubmatch(page, -1) {
		explained[m[1]] = true
	}
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			for _, fault := range checkQuery(r.Expr, r.Annotations["summary"], families) {
				faults = append(faults, r.Alert+": "+fault)
			}
			if r.Annotations["runbook_url"] != runbook+strings.ToLower(r.Alert) {
				faults = append(faults, r.Alert+": the runbook is at "+r.Annotations["runbook_url"])
			}
			if !explained[r.Alert] {
				faults = append(faults, r.Alert+" is not explained")
			}
			delete(explained, r.Alert)
		}
	}
	for name := range maps.Keys(explained) {
		faults = append(faults, name+" is explained, and there is no such alert")
	}
	return faults
}

func TestAlertRules(t *testing.T) {
	all := files(t)
	report(t, checkAlerts(all[observability+"alerts.yaml"], all[alertsPage], metricLabels(all["docs/metrics.md"])))
	if out, err := exec.Command("promtool", "check", "config", filepath.Join("../..", observability, "prometheus.yaml")).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// Each query of the dashboard is one that Prometheus understands, of metrics that exist.
func TestGrafanaDashboard(t *testing.T) {
	all := files(t)
	queries, faults := grafanaQueries(all[observability+"grafana-dashboard.json"], metricLabels(all["docs/metrics.md"]))
	report(t, faults)
	var rules bytes.Buffer
	rules.WriteString("groups:\n- name: queries\n  rules:\n")
	for i, query := range queries {
		fmt.Fprintf(&rules, "  - {record: \"query:%d\", expr: %q}\n", i, query)
	}
	file := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(file, rules.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("promtool", "check", "rules", file).CombinedOutput(); err != nil || !strings.Contains(string(out), fmt.Sprint(len(queries))+" rules found") {
		t.Errorf("%v: %s", err, out)
	}
}

func TestCheckQueries(t *testing.T) {
	families := map[string][]string{"gateway_a_total": {"route"}, "gateway_b_seconds": {"redis"}}
	expect(t, checkQuery(`sum by (le, redis) (rate(gateway_b_seconds_bucket{instance=~"x"}[5m]))`, "{{redis}}", families))
	expect(t, checkQuery(`sum by (rute) (gateway_a_total{status="5"} + gateway_c)`, "{{ $labels.limit }}", families),
		"no metric gateway_c", "no label rute", "no label status", "no label limit")
	_, faults := grafanaQueries(`{"panels": [{"id": 1, "title": "A", "targets": [{"expr": "gateway_c"}]}, {"id": 1, "title": "B"}]}`, families)
	expect(t, faults, "A: no metric gateway_c", "B: the number", "B: no query")
	expect(t, checkAlerts("groups: [{rules: [{alert: A, expr: gateway_a_total}]}]", "## GatewayB\n", families), "A: the runbook", "A is not explained", "GatewayB is explained")
}
