package repotest

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	kjson "sigs.k8s.io/json"
	kyaml "sigs.k8s.io/yaml"

	"github.com/jewgo/gateway/middleware/session"
	"github.com/jewgo/gateway/policy"
)

const kubernetesDir = "deploy/kubernetes/"

// kustomization is what deploy/kubernetes uses of a kustomization.yaml.
type kustomization struct {
	metav1.TypeMeta `json:",inline"`
	Resources       []string `json:"resources"`
	Images          []struct {
		Name    string `json:"name"`
		NewName string `json:"newName"`
		NewTag  string `json:"newTag"`
	} `json:"images"`
}

// manifests are the objects of deploy/kubernetes.
type manifests struct {
	kustomization kustomization
	gateways      appsv1.StatefulSet
	clients, pods corev1.Service // pods is the headless one
	policy        corev1.ConfigMap
	secret        corev1.Secret
	network       networkingv1.NetworkPolicy
	budget        policyv1.PodDisruptionBudget
}

// strictly decodes a document as the API server does with strict validation: keys that are unknown,
// written twice, or in another case are errors.
func strictly(document string, into any) error {
	text, err := kyaml.YAMLToJSONStrict([]byte(document))
	if err != nil {
		return err
	}
	wrong, err := kjson.UnmarshalStrict(text, into)
	return errors.Join(append(wrong, err)...)
}

// place returns where the object of a document belongs.
func (m *manifests) place(document string) (any, error) {
	var head struct {
		metav1.TypeMeta `json:",inline"`
		Metadata        struct{ Name string }
	}
	if err := kyaml.Unmarshal([]byte(document), &head); err != nil {
		return nil, err
	}
	what := head.APIVersion + " " + head.Kind + " " + head.Metadata.Name
	places := map[string]any{
		"kustomize.config.k8s.io/v1beta1 Kustomization ": &m.kustomization,
		"apps/v1 StatefulSet gateway":                    &m.gateways,
		"v1 Service gateway":                             &m.clients,
		"v1 Service gateway-pods":                        &m.pods,
		"v1 ConfigMap gateway":                           &m.policy,
		"v1 Secret gateway":                              &m.secret,
		"networking.k8s.io/v1 NetworkPolicy gateway":     &m.network,
		"policy/v1 PodDisruptionBudget gateway":          &m.budget,
	}
	if place, ok := places[what]; ok {
		return place, nil
	}
	return nil, fmt.Errorf("unexpected object %q", what)
}

func readManifests(files map[string]string) (m manifests, faults []string) {
	var names []string
	documents := 0
	for name, content := range files {
		base, ok := strings.CutPrefix(name, kubernetesDir)
		if !ok {
			continue
		}
		if base != "kustomization.yaml" {
			names = append(names, base)
		}
		for document := range strings.SplitSeq(content, "\n---\n") {
			documents++
			place, err := m.place(document)
			if err == nil {
				err = strictly(document, place)
			}
			if err != nil {
				faults = append(faults, fmt.Sprintf("%s: %v", base, err))
			}
		}
	}
	slices.Sort(names)
	if listed := slices.Sorted(slices.Values(m.kustomization.Resources)); !slices.Equal(listed, names) {
		faults = append(faults, fmt.Sprintf("kustomization.yaml lists %v, not %v", listed, names))
	}
	if documents != 8 {
		faults = append(faults, fmt.Sprintf("%d objects, want 8", documents))
	}
	return m, faults
}

// gateway returns the only container, whose Name is empty if there is another number of them.
func (m *manifests) gateway() corev1.Container {
	if c := m.gateways.Spec.Template.Spec.Containers; len(c) == 1 {
		return c[0]
	}
	return corev1.Container{}
}

// mount returns where a volume is mounted in the container.
func (m *manifests) mount(volume string) string {
	for _, v := range m.gateway().VolumeMounts {
		if v.Name == volume {
			return v.MountPath
		}
	}
	return "not mounted"
}

// secretFile reads a file of the secret's volume as the container would.
func (m *manifests) secretFile(path string) (string, error) {
	key, ok := strings.CutPrefix(path, m.mount("keys")+"/")
	text := m.secret.StringData[key]
	if !ok || text == "" {
		return "", fmt.Errorf("%s is no file of the secret", path)
	}
	return text, nil
}

// parsePolicy parses the policy in the environment of the container.
func (m *manifests) parsePolicy() (*policy.Snapshot, error) {
	environment := map[string]string{}
	var wrong error
	for _, e := range m.gateway().Env {
		environment[e.Name] = e.Value
		if from := e.ValueFrom; from != nil && from.FieldRef != nil && from.FieldRef.FieldPath == "status.podIP" {
			environment[e.Name] = "192.0.2.1"
		}
		if name, ok := strings.CutSuffix(e.Name, "_FILE"); ok {
			text, err := m.secretFile(e.Value)
			environment[name], wrong = text, errors.Join(wrong, err)
		}
	}
	args := m.gateway().Args
	if len(args) == 0 {
		return nil, errors.New("no arguments")
	}
	file := args[len(args)-1]
	text, ok := m.policy.Data[filepath.Base(file)]
	if !ok || filepath.Dir(file) != m.mount("policy") {
		return nil, fmt.Errorf("%s is no file of the ConfigMap", file)
	}
	s, err := policy.Parse(file, []byte(text), func(name string) string { return environment[name] })
	return s, errors.Join(wrong, err)
}

func checkKubernetes(files map[string]string) []string {
	m, faults := readManifests(files)
	if len(faults) > 0 {
		return faults
	}
	s, err := m.parsePolicy()
	if err != nil {
		return []string{err.Error()}
	}
	return slices.Concat(m.checkVolumes(s.Policy), m.checkPorts(s.Policy), m.checkLabels(), m.checkTimes(s.Policy), m.checkBounds(s.Policy))
}

// checkVolumes checks that the policy's paths are on the right volumes, and that the gateway may read
// and write there.
func (m *manifests) checkVolumes(p *policy.Policy) (faults []string) {
	must := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Sprintf(format, args...))
		}
	}
	pod := m.gateways.Spec.Template.Spec
	var volumes []string
	for _, v := range pod.Volumes {
		volumes = append(volumes, v.Name)
		if v.ConfigMap != nil {
			must(v.Name == "policy" && v.ConfigMap.Name == m.policy.Name, "volume %s has ConfigMap %q", v.Name, v.ConfigMap.Name)
		}
		if v.Secret != nil {
			must(v.Name == "keys" && v.Secret.SecretName == m.secret.Name, "volume %s has Secret %q", v.Name, v.Secret.SecretName)
			must(v.Secret.DefaultMode != nil && *v.Secret.DefaultMode == 0o440, "the secret's mode is not 0440")
		}
	}
	for _, v := range m.gateways.Spec.VolumeClaimTemplates {
		volumes = append(volumes, v.Name)
		must(p.Server.DataDir == m.mount(v.Name), "data_dir is %s, and the disk %s", p.Server.DataDir, m.mount(v.Name))
	}
	for _, v := range m.gateway().VolumeMounts {
		must(slices.Contains(volumes, v.Name), "no volume %s", v.Name)
		must(v.SubPath == "", "%s is mounted by subPath", v.Name)
	}
	must(slices.Equal(slices.Sorted(slices.Values(volumes)), []string{"data", "keys", "policy"}), "volumes %v", volumes)
	for _, file := range []string{p.Session.KeysFile, p.Session.Identity.KeysFile} {
		_, err := m.secretFile(file)
		must(err == nil, "%v", err)
	}
	c := pod.SecurityContext
	ok := c != nil && c.FSGroup != nil && c.RunAsUser != nil && c.RunAsGroup != nil && c.FSGroupChangePolicy != nil
	must(ok && *c.FSGroup == 65532 && *c.RunAsUser == 65532 && *c.RunAsGroup == 65532, "the container is not the image's 65532")
	must(ok && *c.FSGroupChangePolicy == corev1.FSGroupChangeOnRootMismatch, "each start would let the group write to admin.token")
	return faults
}

// checkPorts checks that the ports named anywhere are those at which the policy listens.
func (m *manifests) checkPorts(p *policy.Policy) (faults []string) {
	ports := map[string]string{}
	for _, port := range m.gateway().Ports {
		ports[port.Name] = strconv.Itoa(int(port.ContainerPort))
	}
	for name, address := range map[string]string{"http": p.Server.Listen[0], "admin": p.Server.Admin, "peers": p.Server.Peers} {
		if host, port, err := net.SplitHostPort(address); err != nil || port != ports[name] || name != "peers" && host != "" {
			faults = append(faults, fmt.Sprintf("the policy listens at %q, not at port %s of every address: %s", address, name, ports[name]))
		}
	}
	use := func(by string, port intstr.IntOrString) {
		_, named := ports[port.StrVal]
		numbered := slices.Contains(slices.Collect(maps.Values(ports)), strconv.Itoa(port.IntValue()))
		if !named && !numbered {
			faults = append(faults, fmt.Sprintf("%s: no port %q", by, port.String()))
		}
	}
	for _, service := range []corev1.Service{m.clients, m.pods} {
		for _, port := range service.Spec.Ports {
			use("Service "+service.Name, port.TargetPort)
		}
	}
	for _, rule := range m.network.Spec.Ingress {
		for _, port := range rule.Ports {
			use("NetworkPolicy", *port.Port)
		}
	}
	probes := map[string]*corev1.Probe{"startup": m.gateway().StartupProbe, "liveness": m.gateway().LivenessProbe, "readiness": m.gateway().ReadinessProbe}
	for name, probe := range probes {
		path := map[bool]string{true: "/readyz", false: "/livez"}[name == "readiness"]
		if probe == nil || probe.HTTPGet == nil || probe.HTTPGet.Path != path || probe.HTTPGet.Port.StrVal != "admin" {
			faults = append(faults, fmt.Sprintf("the %s probe does not ask %s of admin", name, path))
		}
	}
	return faults
}

// checkLabels checks that everything that selects gateways finds them.
func (m *manifests) checkLabels() (faults []string) {
	labels := m.gateways.Spec.Template.Labels
	check := func(by string, selector map[string]string) {
		for key, value := range selector {
			if labels[key] != value {
				faults = append(faults, fmt.Sprintf("%s selects %s=%s, which the pods are not", by, key, value))
			}
		}
		if len(selector) == 0 {
			faults = append(faults, by+" selects nothing, or all pods")
		}
	}
	check("StatefulSet", m.gateways.Spec.Selector.MatchLabels)
	check("Service gateway", m.clients.Spec.Selector)
	check("Service gateway-pods", m.pods.Spec.Selector)
	check("PodDisruptionBudget", m.budget.Spec.Selector.MatchLabels)
	check("NetworkPolicy", m.network.Spec.PodSelector.MatchLabels)
	for _, spread := range m.gateways.Spec.Template.Spec.TopologySpreadConstraints {
		check("topologySpreadConstraints", spread.LabelSelector.MatchLabels)
	}
	if m.pods.Spec.ClusterIP != corev1.ClusterIPNone || m.gateways.Spec.ServiceName != m.pods.Name {
		faults = append(faults, "serviceName is not the headless Service")
	}
	return faults
}

// checkTimes checks that the end of a pod leaves a gateway the time that its policy takes.
func (m *manifests) checkTimes(p *policy.Policy) (faults []string) {
	const late = 5 * time.Second // until all proxies know that a pod is not ready
	lameDuck, drain := p.Server.Timeouts.LameDuck.Std(), p.Server.Timeouts.Drain.Std()
	if grace := m.gateways.Spec.Template.Spec.TerminationGracePeriodSeconds; grace == nil || time.Duration(*grace)*time.Second < lameDuck+drain+5*time.Second {
		faults = append(faults, "terminationGracePeriodSeconds is less than lame_duck + drain + 5 s")
	}
	if probe := m.gateway().ReadinessProbe; probe != nil && lameDuck < time.Duration(probe.PeriodSeconds*probe.FailureThreshold)*time.Second+late {
		faults = append(faults, "lame_duck is over before the readiness probe is noticed")
	}
	return faults
}

// checkBounds checks the memory, and what the container must not be able to do.
func (m *manifests) checkBounds(p *policy.Policy) (faults []string) {
	var goLimit resource.Quantity
	for _, e := range m.gateway().Env {
		if e.Name == "GOMEMLIMIT" {
			goLimit, _ = resource.ParseQuantity(strings.TrimSuffix(e.Value, "B")) // else 0, which is too little
		}
	}
	limits := m.gateway().Resources.Limits
	if limit := limits.Memory(); goLimit.Value() > limit.Value()*9/10 || int64(p.Cache.Memory) > goLimit.Value()/2 {
		faults = append(faults, fmt.Sprintf("the cache has %d bytes, GOMEMLIMIT %s, the container %s", p.Cache.Memory, &goLimit, limit))
	}
	isTrue := func(b *bool) bool { return b != nil && *b }
	isFalse := func(b *bool) bool { return b != nil && !*b }
	pod, c := m.gateways.Spec.Template.Spec, m.gateway().SecurityContext
	if s := pod.SecurityContext; !isTrue(s.RunAsNonRoot) || s.SeccompProfile == nil || s.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault || !isFalse(pod.AutomountServiceAccountToken) {
		faults = append(faults, "the pod is not restricted")
	}
	if c == nil || !isFalse(c.AllowPrivilegeEscalation) || !isTrue(c.ReadOnlyRootFilesystem) || c.Capabilities == nil || !slices.Equal(c.Capabilities.Drop, []corev1.Capability{"ALL"}) {
		faults = append(faults, "the container is not restricted")
	}
	return faults
}

// The manifests of deploy/kubernetes have no key that Kubernetes does not know, and fit each other and
// the policy in them.
func TestKubernetes(t *testing.T) { report(t, checkKubernetes(files(t))) }

func TestCheckKubernetes(t *testing.T) {
	good := map[string]string{}
	for name, content := range files(t) {
		if strings.HasPrefix(name, kubernetesDir) {
			good[name] = content
		}
	}
	for _, c := range []struct{ why, file, old, planted, fault string }{
		{"an unknown key", "statefulset", "replicas:", "replica:", `unknown field "spec.replica"`},
		{"a key in another case", "services", "clusterIP: None", "clusterIp: None", `unknown field "spec.clusterIp"`},
		{"a key twice", "services", "clusterIP: None", "clusterIP: None\n  clusterIP: None", `"clusterIP" already set`},
		{"a file that is not listed", "kustomization", "  - secret.yaml\n", "", "kustomization.yaml lists"},
		{"a mistake in the policy", "configmap", "lame_duck: 10s", "lameduck: 10s", "lameduck"},
		{"a variable of the policy that is not set", "statefulset", "name: POD_IP", "name: POD", "POD_IP is not set"},
		{"a key file that is not in the secret", "configmap", "/keys/session.keys", "/keys/cookie.keys", "/keys/cookie.keys is no file"},
		{"the folder of generated files is not the disk", "configmap", "data_dir: /data", "data_dir: ./data", "data_dir is /etc/gateway/data"},
		{"a mount that never changes", "statefulset", "mountPath: /etc/gateway,", "mountPath: /etc/gateway, subPath: a,", "subPath"},
		{"a secret that others may read", "statefulset", "defaultMode: 0440", "defaultMode: 0444", "not 0440"},
		{"a group that may write the token", "statefulset", "fsGroupChangePolicy: OnRootMismatch", "fsGroupChangePolicy: Always", "admin.token"},
		{"another port of the policy", "configmap", `admin: ":9901"`, `admin: ":9900"`, `listens at ":9900"`},
		{"probes do not reach loopback", "configmap", `admin: ":9901"`, `admin: "127.0.0.1:9901"`, "not at port admin"},
		{"a Service of no port", "services", "targetPort: http", "targetPort: web", `no port "web"`},
		{"a NetworkPolicy of no port", "networkpolicy", "port: 9901", "port: 9900", `NetworkPolicy: no port "9900"`},
		{"labels that no pod has", "poddisruptionbudget", "matchLabels: {app.kubernetes.io/name: gateway}", "matchLabels: {app: gateway}", "PodDisruptionBudget selects app=gateway"},
		{"killed while it drains", "configmap", "drain: 20s", "drain: 40s", "terminationGracePeriodSeconds"},
		{"gone before it is noticed", "statefulset", "periodSeconds: 2", "periodSeconds: 5", "lame_duck is over"},
		{"a cache that does not fit", "configmap", "memory: 256MiB", "memory: 1GiB", "the cache has"},
		{"root", "statefulset", "runAsNonRoot: true", "runAsNonRoot: false", "the pod is not restricted"},
		{"a writable image", "statefulset", "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", "the container is not restricted"},
	} {
		t.Run(c.why, func(t *testing.T) {
			name, bad := kubernetesDir+c.file+".yaml", map[string]string{}
			maps.Copy(bad, good)
			bad[name] = strings.Replace(good[name], c.old, c.planted, 1)
			if bad[name] == good[name] {
				t.Fatalf("%s has no %q", name, c.old)
			}
			expect(t, checkKubernetes(bad), c.fault)
		})
	}
}

// A gateway reads keys from the secret's volume, where each file is a link through a link, and refuses
// the placeholders, which everybody knows.
func TestKubernetesKeys(t *testing.T) {
	m, faults := readManifests(files(t))
	report(t, faults)
	volume := t.TempDir()
	if err := os.Mkdir(filepath.Join(volume, "..2026"), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("..2026", filepath.Join(volume, "..data")); err != nil {
		t.Fatal(err)
	}
	file := func(name, text string) string {
		if err := os.WriteFile(filepath.Join(volume, "..2026", name), []byte(text), 0o440); err != nil {
			t.Fatal(err)
		}
		link := filepath.Join(volume, name)
		if err := os.Symlink(filepath.Join("..data", name), link); err != nil {
			t.Fatal(err)
		}
		return link
	}
	if _, err := session.LoadKeyring(file("good", "0a1b2c3d:"+strings.Repeat("A", 43)+"=\n")); err != nil {
		t.Error(err)
	}
	for name, text := range m.secret.StringData {
		if !strings.HasSuffix(name, ".keys") {
			continue
		}
		if _, err := session.LoadKeyring(file(name, text)); err == nil || !strings.Contains(err.Error(), "key REPLACE is not 32 bytes") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
