# `make help` lists the targets; .ci/run calls nothing that is not one of them.

SHELL := /bin/bash
.DEFAULT_GOAL := help

# Nothing here downloads a Go toolchain: the one that is installed is used.
export GOTOOLCHAIN := local

TOOLS := $(CURDIR)/bin/tools
GOLANGCI_LINT_VERSION := v2.15.0
GOFUMPT_VERSION := v0.12.0
GOLANGCI_LINT := $(TOOLS)/golangci-lint-$(GOLANGCI_LINT_VERSION)
GOFUMPT := $(TOOLS)/gofumpt-$(GOFUMPT_VERSION)

# What may be set on the command line.
ARGS ?=
PACKAGES ?= ./...
TEST_TIMEOUT ?= 15m
FUZZTIME ?= 20s
SOAK ?= 10m
SLOW ?= 30s
RESTARTS ?= 20
VERSION ?=
PLATFORMS ?= linux/amd64 linux/arm64

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build bin/gateway, statically linked
	CGO_ENABLED=0 go build -trimpath -o bin/gateway ./cmd/gateway

.PHONY: release
release: ## Build the static binaries of a release into bin/release, with checksums (VERSION=v1.2.3)
	@scripts/release.sh '$(VERSION)' $(PLATFORMS)

# The drill is not part of the product, and not of its image.
.PHONY: build-drill
build-drill: build
	CGO_ENABLED=0 go build -trimpath -o bin/gateway-drill ./cmd/gateway-drill

.PHONY: build-bench
build-bench: build
	CGO_ENABLED=0 go build -trimpath -o bin/gateway-bench ./cmd/gateway-bench

.PHONY: run
run: build ## Start the demo on :8080 (needs Go alone; ARGS="--listen :8081" and the like)
	@exec ./bin/gateway demo $(ARGS)

.PHONY: deps
deps: ## Install what the tests need, or say what to install
	@scripts/deps.sh test

# The packages that run whole gateways, under load, run when nothing else does.
.PHONY: test
test: deps ## Run all tests with the race detector (PACKAGES=./policy/... narrows them)
	@failed=; all=$$(go list $(PACKAGES)) && \
	for packages in "$$(echo "$$all" | grep -v '/cmd/gateway\(-drill\)\?$$')" $$(echo "$$all" | grep '/cmd/gateway\(-drill\)\?$$'); do \
		[ -z "$$packages" ] || go test -race -shuffle=on -timeout $(TEST_TIMEOUT) $$packages || failed=1; \
	done; [ -z "$$failed" ]

.PHONY: lint
lint: $(GOLANGCI_LINT) ## Check style, imports and common mistakes
	$(GOLANGCI_LINT) run ./...

.PHONY: fmt
fmt: $(GOFUMPT) ## Format the Go files
	$(GOFUMPT) -w .

.PHONY: drill
drill: build-drill deps ## Break Redis in every way under traffic, in front of the real Flask (ARGS="--for 20s")
	@GATEWAY_COOKIE_NAME=gw GATEWAY_COOKIE_SECURE=false ./bin/gateway-drill redis --config configs/gateway.yaml --flask $(ARGS)

.PHONY: drill-limits
drill-limits: build-drill deps ## Break Redis under three gateways, and count what their limits let through (ARGS="--for 20s --seed 1")
	@./bin/gateway-drill limits $(ARGS)

.PHONY: drill-sessions
drill-sessions: build-drill deps ## Break Redis and restart gateways under users who log in and out, and count whose sessions break (ARGS="--for 20s --seed 1")
	@./bin/gateway-drill sessions $(ARGS)

.PHONY: soak
soak: deps ## Ten minutes of random faults and a log that is read now and then: no failure, and neither heap nor goroutines grow (SOAK=10m)
	GATEWAY_SOAK=$(SOAK) go test -count=1 -v -timeout 30m -run '^TestSoak$$' ./cmd/gateway

.PHONY: restarts
restarts: deps ## Restart gateways under load, behind a balancer and by socket activation: no request fails, nobody is logged out (RESTARTS=20)
	GATEWAY_RESTARTS=$(RESTARTS) go test -race -count=1 -v -timeout 30m -parallel 1 -run '^TestRestarts' ./cmd/gateway

.PHONY: conformance
conformance: build ## HTTP cache conformance (CACHECONF_DIR=the cases and their runner; ARGS="-fails")
	@scripts/conformance.sh $(ARGS)

# Nothing else should run meanwhile. Servers that are not installed are left out.
.PHONY: bench
bench: build-bench deps ## Measure the gateway beside net/http, nginx, HAProxy, Varnish and Caddy (ARGS="--only hit --rounds 3")
	@scripts/deps.sh field
	@./bin/gateway-bench $(ARGS)

.PHONY: bench-parts
bench-parts: deps ## What parts cost on their own, as ratios: limits, HTTPS, metrics, the dashboard (ARGS="-strict" fails where a target is missed)
	GATEWAY_BENCH=1 go test -count=1 -v -timeout 10m -parallel 1 -run '^(TestBench|TestBenchHTTPS|TestBenchDashboard|TestHTTP2FloodsHarmNobodyElse)$$' ./cmd/gateway -args $(ARGS)

.PHONY: slow
slow: deps ## Three attacks of slowhttptest: other clients have no failure and a p99 below 50 ms (SLOW=30s)
	@scripts/deps.sh slow
	GATEWAY_SLOW=$(SLOW) go test -count=1 -v -timeout 10m -run '^(TestSlowHTTPTest|TestMemoryRunsOut)$$' ./cmd/gateway

.PHONY: fuzz
fuzz: ## Run every fuzz test for FUZZTIME each, a million requests against werkzeug, and ten thousand explained
	@scripts/fuzz.sh $(FUZZTIME)

.PHONY: schema
schema: build ## Regenerate configs/gateway.schema.json from the policy's types
	@./bin/gateway schema > bin/schema.json
	@mv bin/schema.json configs/gateway.schema.json

.PHONY: docs
docs: ## Regenerate the import graph, and the references of the policy, the metrics and the commands
	go test -count=1 -run '^(TestImportGraph|TestMetricsInDocs)$$' ./internal/repotest -update
	go test -count=1 -run '^TestReferenceInDocs$$' ./policy -update
	go test -count=1 -run '^TestVerbsInDocs$$' ./cmd/gateway -update

.PHONY: pictures
pictures: deps ## Take the pictures in docs/images again
	go test -count=1 -run '^TestDashboard$$' ./cmd/gateway -update

.PHONY: image
image: ## Build the container image and run the end-to-end test inside it (as root)
	@scripts/image.sh

.PHONY: fresh
fresh: ## Try `make run`, docs/deploy.md and `make test` in a clean Debian, as root (ARGS="--worktree deploy")
	@scripts/fresh.sh $(ARGS)

.PHONY: clean
clean: ## Remove what was built
	rm -rf bin

# A tool's file carries its version, so that a new version is a new file.
$(GOLANGCI_LINT):
	GOBIN=$(TOOLS) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION)
	mv $(TOOLS)/golangci-lint $@

$(GOFUMPT):
	GOBIN=$(TOOLS) go install mvdan.cc/gofumpt@$(GOFUMPT_VERSION)
	mv $(TOOLS)/gofumpt $@
