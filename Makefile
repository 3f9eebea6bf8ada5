# supervisord: `make help` lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
GOLANGCI := tool -modfile=$(CURDIR)/tools/go.mod golangci-lint
FUZZTIME ?= 30s
PREFIX ?= /usr/local

.PHONY: help
help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

.PHONY: build
build: ## build the static binary bin/supervisord
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-X main.version=$(VERSION)" -o bin/supervisord ./cmd/supervisord

.PHONY: demo
demo: build ## see it work: speech to text through the socket, a crash survived, a job cancelled
	@scripts/demo.sh

.PHONY: test
test: deps check test-go test-python ## install what the tests need, and run them: some minutes

.PHONY: test-all
test-all: test ## what takes long, too: every test 20 times, fuzzing, every Python that is here
	SUPERVISORD_TEST_ALL=1 go test -race -shuffle=on -count=20 -timeout 180m ./...
	go test -run TestThousandCrashes ./internal/dispatch
	scripts/test-python.sh all
	scripts/fuzz.sh $(FUZZTIME)

.PHONY: deps
deps: ## install what the tests need, where that is possible
	@scripts/install-deps.sh test demo || { code=$$?; [ $$code -eq 3 ] && [ -z "$${CI:-}" ] || exit $$code; \
		echo "going on without: the tests that need it are skipped"; }

.PHONY: check
check: ## gofmt, vet, shellcheck, yamllint, mypy
	@scripts/check.sh

.PHONY: test-go
test-go:
	go test -race -shuffle=on ./...

.PHONY: test-python
test-python: build
	scripts/test-python.sh

.PHONY: race
race: test-go ## the Go tests under the race detector

.PHONY: lint
lint: ## golangci-lint with the import layering, and tidy modules
	@for dir in . bench; do \
		echo "lint $$dir"; \
		(cd $$dir && go $(GOLANGCI) run --config $(CURDIR)/.golangci.yml ./...); \
	done
	@for dir in . bench tools; do \
		echo "go mod tidy -diff in $$dir"; \
		(cd $$dir && go mod tidy -diff); \
	done

.PHONY: fuzz
fuzz: ## run each fuzz target for FUZZTIME (30s)
	scripts/fuzz.sh $(FUZZTIME)

.PHONY: bench
bench: build ## measure the daemon beside the bare relay (minutes)
	cd bench && go run . -binary ../bin/supervisord

.PHONY: bench-quick
bench-quick: build ## the same, one short round to see that it works
	cd bench && go run . -quick -binary ../bin/supervisord

.PHONY: install
install: ## install the binary, the Python package, the units and their user below PREFIX and DESTDIR (after make build, as root)
	test -x bin/supervisord
	install -D -m 0755 bin/supervisord $(DESTDIR)$(PREFIX)/bin/supervisord
	install -d $(DESTDIR)$(PREFIX)/share/supervisord/python/supervisord
	install -m 0644 sdk/python/supervisord/*.py sdk/python/supervisord/py.typed $(DESTDIR)$(PREFIX)/share/supervisord/python/supervisord/
	install -D -m 0644 README.md $(DESTDIR)$(PREFIX)/share/doc/supervisord/README.md
	install -D -m 0644 config.example.yaml $(DESTDIR)$(PREFIX)/share/doc/supervisord/config.example.yaml
	install -D -m 0644 packaging/systemd/supervisord.socket $(DESTDIR)/etc/systemd/system/supervisord.socket
	sed 's|/usr/local/|$(PREFIX)/|' packaging/systemd/supervisord.service > bin/supervisord.service
	install -D -m 0644 bin/supervisord.service $(DESTDIR)/etc/systemd/system/supervisord.service
	install -D -m 0644 packaging/systemd/supervisord.sysusers $(DESTDIR)/etc/sysusers.d/supervisord.conf

.PHONY: clean
clean: ## remove what was built
	rm -rf bin
	find . -name __pycache__ -o -name .mypy_cache | xargs rm -rf
