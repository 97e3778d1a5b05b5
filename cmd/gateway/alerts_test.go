package main

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jewgo/gateway/test/env"
)

// alertsFile are the rules that users get.
const alertsFile = "../../configs/observability/alerts.yaml"

// startPrometheus scrapes gateways, by the name that their label gateway gets, with the rules of
// alertsFile, which fire at once. It returns its URL.
func startPrometheus(t *testing.T, gateways map[string]*gatewayProcess) string {
	t.Helper()
	rules, err := os.ReadFile(alertsFile)
	if err != nil {
		t.Fatal(err)
	}
	dir, addr := t.TempDir(), "127.0.0.1:"+env.FreePort(t)
	config := "global: {scrape_interval: 500ms, scrape_timeout: 400ms, evaluation_interval: 500ms}\nrule_files: [alerts.yaml]\n" +
		"scrape_configs:\n  - job_name: gateway\n    static_configs:\n"
	for _, name := range slices.Sorted(maps.Keys(gateways)) {
		config += fmt.Sprintf("      - {targets: [%q], labels: {gateway: %s}}\n", strings.TrimPrefix(gateways[name].admin, "http://"), name)
	}
	writePolicy(t, filepath.Join(dir, "prometheus.yaml"), config)
	writePolicy(t, filepath.Join(dir, "alerts.yaml"), regexp.MustCompile(`for: \d+\w`).ReplaceAllString(string(rules), "for: 0s"))
	env.Start(t, exec.Command("prometheus", "--config.file="+filepath.Join(dir, "prometheus.yaml"),
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+addr,
		"--enable-feature=native-histograms"))
	return "http://" + addr
}

// firing are the alerts that fire, by the label gateway and name, with their summaries.
func firing(prometheus string) (map[string]string, error) {
	res, err := http.Get(prometheus + "/api/v1/alerts")
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	var got struct {
		Data struct {
			Alerts []struct {
				State               string
				Labels, Annotations map[string]string
			}
		}
	}
	if err := json.NewDecoder(res.Body).Decode(&got); err != nil {
		return nil, err
	}
	all := map[string]string{}
	for _, a := range got.Data.Alerts {
		if a.State == "firing" {
			all[a.Labels["gateway"]+" "+a.Labels["alertname"]] = a.Annotations["summary"]
		}
	}
	return all, nil
}

// Each alert fires by its cause, and none without one.
func TestAlerts(t *testing.T) {
	t.Parallel()
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			time.Sleep(300 * time.Millisecond)
		}
		body := make([]byte, 40<<10)
		_, _ = rand.Read(body) // never fails
		_, _ = w.Write(body)
	}))
	defer slow.Close()
	reader, logs, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = logs.Close() }()
	files := env.NewCA(t).Issue(t, "localhost")
	redis, full, kept := env.Redis(t), env.Redis(t, "--maxmemory", "2mb"), env.Redis(t, "--appendonly", "yes")
	gateways, folders := map[string]*gatewayProcess{}, map[string]string{}
	begin := func(name, policy string, set func(*exec.Cmd)) {
		folders[name] = filepath.Join(t.TempDir(), "gateway.yaml")
		writePolicy(t, folders[name], "version: 1\n"+policy+"\nroutes:\n  - {name: slow, match: {path: /slow}, upstream: slow}\n"+
			"  - {name: lists, match: {methods: [GET], path: \"/lists/{id}\"}, upstream: slow, cache: {ttl: 1h, encode: false}}\n"+
			"  - {name: rest, match: {path: \"/{rest...}\"}, upstream: app}\n")
		gateways[name] = startAs(t, set, "run", "--config", folders[name])
	}
	backends := func(target string) string {
		return fmt.Sprintf("\nupstreams:\n  app: {targets: [%q], health: {path: /, interval: 200ms, unhealthy_after: 1}}\n"+
			"  slow: {targets: [%q], concurrency: {min: 1, max: 1, wait: 0s}}", target, slow.URL)
	}
	same := func(*exec.Cmd) {}
	begin("well", "redis: {url: "+kept.URL+", budget: 2s}"+backends(slow.URL), same)
	begin("killed", backends(slow.URL), same)
	begin("redis", "redis: {url: "+redis.URL+"}\ncache: {redis_url: "+full.URL+"}"+backends(slow.URL), same)
	begin("upstream", "server: {timeouts: {lame_duck: 100s}}"+backends("http://127.0.0.1:1"), func(cmd *exec.Cmd) { cmd.Stdout = logs })
	begin("process", fmt.Sprintf("server: {tls: {certificates: [{cert_file: %q, key_file: %q}]}}", files.Cert, files.Key)+backends(slow.URL),
		func(cmd *exec.Cmd) { cmd.Env = append(cmd.Env, "GOMEMLIMIT=2MiB") })
	prometheus := startPrometheus(t, gateways)
	query := func(q string) string {
		res, err := http.Get(prometheus + "/api/v1/query?query=" + url.QueryEscape(q))
		if err != nil {
			return err.Error()
		}
		defer func() { _ = res.Body.Close() }()
		var got struct {
			Data struct{ Result []struct{ Value [2]any } }
		}
		if err := json.NewDecoder(res.Body).Decode(&got); err != nil || len(got.Data.Result) == 0 {
			return fmt.Sprint("no result: ", err)
		}
		return fmt.Sprint(got.Data.Result[0].Value[1])
	}
	env.Until(t, "all gateways are scraped", func() bool { return query("sum(up)") == fmt.Sprint(len(gateways)) })

	_ = reader.Close()
	gateways["killed"].signal(syscall.SIGKILL)
	gateways["upstream"].signal(syscall.SIGTERM)
	writePolicy(t, folders["process"], "version: 2\n")
	redis.Do("OK", "FLUSHALL")
	env.Until(t, "the loss is noticed", func() bool { return gateways["redis"].metric(t, `gateway_redis_losses_total{redis="redis"}`) > 0 })
	redis.Kill()

	want := []string{
		"killed GatewayDown",
		"process GatewayCertificateExpires", "process GatewayMemoryScarce", "process GatewayPolicyRefused",
		"redis GatewayCacheWritesStopped", "redis GatewayRedisAway", "redis GatewayRedisLostData", "redis GatewayRedisWarnings",
		"upstream GatewayErrors", "upstream GatewayLogDropped", "upstream GatewayNotReady", "upstream GatewayTargetDown", "upstream GatewayUpstreamDown", "upstream GatewayUpstreamOverloaded",
	}
	n := 0
	env.Eventually(t, 2*env.Patience, func() error {
		for range 4 {
			go func() { // it is refused, or takes its time
				if res, err := http.Get(gateways["upstream"].base + "/slow"); err == nil {
					_ = res.Body.Close()
				}
			}()
			n++
			gateways["upstream"].get("/broken")
			gateways["redis"].get(fmt.Sprintf("/lists/%d", n))
			gateways["well"].get(fmt.Sprintf("/lists/%d", n))
		}
		got, err := firing(prometheus)
		if err != nil {
			return err
		}
		for _, alert := range want {
			if _, fires := got[alert]; !fires {
				return fmt.Errorf("%s does not fire; those that do: %q", alert, slices.Sorted(maps.Keys(got)))
			}
		}
		return nil
	})
	got, err := firing(prometheus)
	if err != nil {
		t.Fatal(err)
	}
	for alert, summary := range got {
		if strings.HasPrefix(alert, "well ") || summary == "" || strings.Contains(summary, "<error") {
			t.Errorf("%s: %q", alert, summary)
		}
	}
	if p99 := query(`histogram_quantile(0.99, gateway_request_duration_seconds{gateway="well",route="lists"})`); !regexp.MustCompile(`^\d+(\.\d+)?$`).MatchString(p99) {
		t.Errorf("the p99 by the native histogram is %s", p99)
	}
	check := exec.Command("promtool", "check", "metrics")
	check.Stdin = strings.NewReader(gateways["redis"].get(gateways["redis"].admin + "/metrics").body)
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("promtool: %v: %s", err, out)
	}
	rules, err := os.ReadFile(alertsFile)
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile(`- alert: (\w+)`).FindAllStringSubmatch(string(rules), -1)
	for _, name := range names {
		if !slices.ContainsFunc(want, func(one string) bool { return strings.HasSuffix(one, " "+name[1]) }) {
			t.Errorf("nothing shows that %s fires", name[1])
		}
	}
}
