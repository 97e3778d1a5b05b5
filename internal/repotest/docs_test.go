package repotest

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

var (
	makeTarget = regexp.MustCompile(`(?m)^([a-z][a-z-]*):`)
	makeUse    = regexp.MustCompile(`\bmake ([a-z][a-z-]*)`)
	codeBlock  = regexp.MustCompile("(?s)```.*?```|`[^`\n]+`")
	shellNote  = regexp.MustCompile(`(?m)^\s*#.*$`)
	setting    = regexp.MustCompile(`(?:\{|(?:get|getenv|Getenv)\()"([a-z_]+\.[a-z0-9_.]+|[A-Z_]+)"`)
	logField   = regexp.MustCompile(`(?:slog\.[A-Z][A-Za-z0-9]*|text)\("([a-z_]+)"`)
	heading    = regexp.MustCompile(`(?m)^#+ (.*)$`)
	link       = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	testRun    = regexp.MustCompile(`go test\b[^\n]* -run (\S+) \./(\S+)`)
	testName   = regexp.MustCompile("`(Test\\w+)`")
	testFunc   = regexp.MustCompile(`(?m)^func (Test\w+)\(t \*testing\.T\)`)
)

// checkTargets compares the make targets that a document or script calls with those of the Makefile. In
// a document only code counts.
func checkTargets(makefile string, callers map[string]string) (faults []string) {
	targets := map[string]bool{}
	for _, m := range makeTarget.FindAllStringSubmatch(makefile, -1) {
		targets[m[1]] = true
	}
	for name, content := range callers {
		if path.Ext(name) == ".md" {
			content = strings.Join(codeBlock.FindAllString(content, -1), "\n")
		}
		uses := makeUse.FindAllStringSubmatch(shellNote.ReplaceAllString(content, ""), -1)
		if len(uses) == 0 {
			faults = append(faults, name+" calls no target, or is missing")
		}
		for _, m := range uses {
			if !targets[m[1]] {
				faults = append(faults, fmt.Sprintf("%s calls make %s, which the Makefile lacks", name, m[1]))
			}
		}
	}
	return faults
}

// anchors are the names under which the headings of a page are reached, as GitHub makes them.
func anchors(page string) map[string]bool {
	found := map[string]bool{}
	for _, m := range heading.FindAllStringSubmatch(fenced.ReplaceAllString(page, ""), -1) {
		name := strings.Map(func(r rune) rune {
			switch {
			case unicode.IsLetter(r) || unicode.IsDigit(r) || r == '-' || r == '_':
				return unicode.ToLower(r)
			case r == ' ':
				return '-'
			}
			return -1
		}, target.ReplaceAllString(m[1], "]"))
		for n, free := 1, name; ; n++ {
			if !found[free] {
				found[free] = true
				break
			}
			free = fmt.Sprintf("%s-%d", name, n)
		}
	}
	return found
}

// checkLinks follows the relative links of the Markdown files, to headings too.
func checkLinks(files map[string]string) (faults []string) {
	dirs := map[string]bool{}
	for name := range files {
		for dir := path.Dir(name); !dirs[dir]; dir = path.Dir(dir) {
			dirs[dir] = true
		}
	}
	for name, content := range files {
		if path.Ext(name) != ".md" {
			continue
		}
		for _, m := range link.FindAllStringSubmatch(codeBlock.ReplaceAllString(content, ""), -1) {
			to, at, _ := strings.Cut(m[1], "#")
			if strings.Contains(to, "://") || strings.HasPrefix(to, "mailto:") {
				continue
			}
			file := path.Join(path.Dir(name), to)
			if to == "" {
				file = name
			}
			page, ok := files[file]
			if !ok && !dirs[file] || at != "" && !anchors(page)[at] {
				faults = append(faults, fmt.Sprintf("%s links to %s, which is not there", name, m[1]))
			}
		}
	}
	return faults
}

var sourceFile = regexp.MustCompile("`((?:[a-z0-9_-]+/)+[a-z0-9_]+\\.(?:go|sh|lua|yaml))`")

// checkSources checks that the files that a document names exist.
func checkSources(files map[string]string) (faults []string) {
	for name, content := range files {
		if path.Ext(name) != ".md" || name == "CHANGELOG.md" {
			continue
		}
		for _, m := range sourceFile.FindAllStringSubmatch(content, -1) {
			if _, ok := files[m[1]]; !ok {
				faults = append(faults, fmt.Sprintf("%s names %s, which is not there", name, m[1]))
			}
		}
	}
	return faults
}

func TestSources(t *testing.T) { report(t, checkSources(files(t))) }

func TestCheckSources(t *testing.T) {
	expect(t, checkSources(map[string]string{"a.md": "`policy/a.go`, `b.go`, `policy/c.go`", "policy/a.go": ""}), "names policy/c.go")
}

// checkTests checks that each go test -run in the code of a document finds a test in its package, and
// that tests named without a package exist.
func checkTests(files map[string]string) (faults []string) {
	byPackage := map[string][]string{}
	all := map[string]bool{}
	for name, content := range files {
		if !strings.HasSuffix(name, "_test.go") {
			continue
		}
		for _, m := range testFunc.FindAllStringSubmatch(content, -1) {
			byPackage[path.Dir(name)] = append(byPackage[path.Dir(name)], m[1])
			all[m[1]] = true
		}
	}
	for name, content := range files {
		if path.Ext(name) != ".md" {
			continue
		}
		for _, code := range codeBlock.FindAllString(content, -1) {
			for _, m := range testRun.FindAllStringSubmatch(code, -1) {
				pattern, pkg := strings.Trim(m[1], "'"), strings.TrimRight(m[2], "`")
				run, err := regexp.Compile(pattern)
				if err != nil || !slices.ContainsFunc(byPackage[pkg], run.MatchString) {
					faults = append(faults, fmt.Sprintf("%s runs %s, which %s lacks", name, pattern, pkg))
				}
			}
			if m := testName.FindStringSubmatch(code); m != nil && !all[m[1]] {
				faults = append(faults, fmt.Sprintf("%s names %s, which is not there", name, m[1]))
			}
		}
	}
	return faults
}

// checkNamed checks that a document names, in code, every match of a pattern in the files.
func checkNamed(document string, pattern *regexp.Regexp, files map[string]string) (faults []string) {
	for name, content := range files {
		found := pattern.FindAllStringSubmatch(content, -1)
		if len(found) == 0 {
			faults = append(faults, name+" has nothing to document, or is missing")
		}
		for _, m := range found {
			if !strings.Contains(document, "`"+m[1]+"`") {
				faults = append(faults, fmt.Sprintf("%s: %s is not documented", name, m[1]))
			}
		}
	}
	return faults
}

// Keys that need a restart, and environment variables.
func TestSettings(t *testing.T) {
	all := files(t)
	readers := map[string]string{}
	for _, name := range []string{"internal/reload/reload.go", "policy/environ.go", "cmd/gateway/client.go", "cmd/gateway/flags.go"} {
		readers[name] = all[name]
	}
	report(t, checkNamed(all["docs/config.md"], setting, readers))
}

func TestLogFields(t *testing.T) {
	const name = "middleware/accesslog.go"
	all := files(t)
	report(t, checkNamed(all["docs/metrics.md"], logField, map[string]string{name: all[name]}))
}

func TestCheckNamed(t *testing.T) {
	expect(t, checkNamed("`A_B` and `redis.url`", setting, map[string]string{"a.go": "e.get(\"A_B\", \"x\"); os.Getenv(\"A_B\")", "b.go": "{\"redis.url\", old}"}))
	expect(t, checkNamed("A_B", setting, map[string]string{"a.go": "getenv(\"A_B\")", "b.go": "{\"redis.url\", old}", "c.go": ""}),
		"A_B is not documented", "redis.url is not documented", "c.go has nothing")
}

func TestMakeTargets(t *testing.T) {
	all := files(t)
	callers := map[string]string{}
	for _, name := range []string{"README.md", "CONTRIBUTING.md", ".ci/run"} {
		callers[name] = all[name]
	}
	report(t, checkTargets(all["Makefile"], callers))
}

func TestTestsInDocs(t *testing.T) { report(t, checkTests(files(t))) }

func TestLinks(t *testing.T) { report(t, checkLinks(files(t))) }

func TestCheckTargets(t *testing.T) {
	const makefile = "test: deps\n\tgo test\nlint:\n"
	expect(t, checkTargets(makefile, map[string]string{
		"a.md": "We make sure: `make test`.\n```\nmake lint\n```\n",
		"run":  "# make nothing\nstep make test\n",
	}))
	expect(t, checkTargets(makefile, map[string]string{
		"a.md": "`make tets`",
		"b.md": "```sh\nmake test\nmake image\n```",
		"c.md": "make test, in prose",
		"run":  "step make go",
	}), "a.md calls make tets", "b.md calls make image", "c.md calls no target", "run calls make go")
}

func TestCheckTests(t *testing.T) {
	const test = "package a\n\nfunc TestOne(t *testing.T) {\n}\n"
	expect(t, checkTests(map[string]string{
		"a/a_test.go": test,
		"x.md":        "`go test -race -v -run '^TestOne$' ./a`, `go test -run TestO ./a`, beside `TestOne`, go test -run TestNone ./a",
	}))
	expect(t, checkTests(map[string]string{
		"a/a_test.go": test,
		"x.md":        "`go test -run TestTwo ./a`\n```sh\ngo test -run TestOne ./b\n```\n`TestThree`",
	}), "runs TestTwo, which a lacks", "runs TestOne, which b lacks", "names TestThree")
}

func TestCheckLinks(t *testing.T) {
	expect(t, checkLinks(map[string]string{
		"README.md":  "# Here\n[a](docs/a.md#the-top-its-end) [b](https://example.org/x) [c](#here) [d](docs) `[e](nowhere.md)`",
		"docs/a.md":  "[up](../README.md) [self](a.md)\n## The `top`: its [end](#x-1)\n## x\n## X\n",
		"docs/x.txt": "[no](markdown.md)",
	}))
	expect(t, checkLinks(map[string]string{"README.md": "[a](docs/a.md) [b](docs/b.md#c) [d](#d)", "docs/b.md": "[up](README.md)\n```\n# c\n```\n"}),
		"README.md links to docs/a.md", "README.md links to docs/b.md#c", "README.md links to #d", "docs/b.md links to README.md")
}
