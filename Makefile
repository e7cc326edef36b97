# make run     build and start the embedded default on 127.0.0.1:8000
# make test    build, then every test
# make verify  what must hold before a change lands; writes nothing in the checkout
# make bench   the benchmark against a server started for it (ARGS="…" is passed on)
# make chaos   crashes, power cuts, damaged files, fuzzing and timing at full length, and faults of every kind in a deployment of containers
# make up      three coordinators and three shard nodes in containers; says where they are when they are ready
# make down    takes them away again, data included; the image stays
# make image   the container image, as SEALDEX_IMAGE (sealdex:latest)
# make deps    what the above need from outside: Debian packages, a Rust toolchain, Python environments of the tests
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Outside the checkout, so that a fresh clone builds on what another one has built.
export CARGO_TARGET_DIR ?= $(HOME)/.cache/sealdex/target
export SEALDEX_VENVS ?= $(HOME)/.cache/sealdex
export SEALDEX_IMAGE ?= sealdex:latest
# Where rustup puts what it installs. Last: what the user has found another way to comes first.
export PATH := $(PATH):$(or $(CARGO_HOME),$(HOME)/.cargo)/bin

# RocksDB and the TLS library are C and C++: a compiler, cmake, and libclang for their bindings. What the server's card has one try: curl
# and Python.
PACKAGES := build-essential cmake libclang-dev pkg-config ca-certificates curl python3 python3-venv
TEST_PACKAGES := e2fsprogs xfsprogs
RUST := $(shell sed -n 's/^rust-version = "\(.*\)"$$/\1/p' Cargo.toml)
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
MISSING = $(shell for p in $(1); do dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || echo $$p; done)

# All features of all members, so that run, test and verify build every crate once and alike.
BUILD := cargo build --release --workspace --bins --locked

.PHONY: help
help:
	@sed -n 's/^# //p' $(firstword $(MAKEFILE_LIST)) | sed '/^Outside/,$$d'

.PHONY: run
run: deps-build
	$(BUILD)
	exec $(CARGO_TARGET_DIR)/release/sealdex serve $(ARGS)

.PHONY: build
build: deps-build
	$(BUILD)

.PHONY: test
test: deps build
	cargo test --release --workspace --locked --no-fail-fast -- --show-output --test-threads=2

.PHONY: chaos
chaos: deps build
	SEALDEX_CRASH_ROUNDS=$${SEALDEX_CRASH_ROUNDS:-200} SEALDEX_POWER_ROUNDS=$${SEALDEX_POWER_ROUNDS:-200} SEALDEX_CUT_ROUNDS=$${SEALDEX_CUT_ROUNDS:-200} SEALDEX_FLIPS=$${SEALDEX_FLIPS:-1000} SEALDEX_ROTATION_ROUNDS=$${SEALDEX_ROTATION_ROUNDS:-50} SEALDEX_ERASURE_ROUNDS=$${SEALDEX_ERASURE_ROUNDS:-100} SEALDEX_FUZZ_EXAMPLES=$${SEALDEX_FUZZ_EXAMPLES:-400} \
	SEALDEX_TIMING_REQUESTS=$${SEALDEX_TIMING_REQUESTS:-50000} SEALDEX_LEASE_EXPIRY=1 \
		cargo test --release --workspace --locked --test crash --test power --test power_cut --test corruption --test rotation --test adversary --test compat --test timing --test memory -- --nocapture --test-threads=2
	$(MAKE) chaos-deployment

# Containers: what `make up` starts, and all that its clients see while nodes are killed, paused, cut off, restarted, emptied and joined.
.PHONY: chaos-deployment
chaos-deployment: deps image
	SEALDEX_RUNBOOKS=1 cargo test --release --workspace --locked --test containers -- --nocapture --test-threads=1
	SEALDEX_CHAOS_DEPLOYMENT=compose SEALDEX_CHAOS_SECONDS=$${SEALDEX_CHAOS_SECONDS:-900} SEALDEX_CHAOS_WRITES_MIN=$${SEALDEX_CHAOS_WRITES_MIN:-100000} \
		cargo test --release --workspace --locked --test chaos no_client -- --nocapture

.PHONY: bench
bench: build
	exec $(CARGO_TARGET_DIR)/release/sealdex bench $(ARGS)

.PHONY: image
image: deps-deploy build
	context=$$(mktemp -d) && trap 'rm -rf "$$context"' EXIT && \
	deploy/docker/context.sh $(CARGO_TARGET_DIR)/release/sealdex $$context/image && docker build -q -t $(SEALDEX_IMAGE) $$context/image

.PHONY: up
up: image
	deploy/compose/deployment.sh up

.PHONY: down
down: deps-deploy
	deploy/compose/deployment.sh down

.PHONY: fmt
fmt:
	cargo fmt --all

.PHONY: verify
verify: deps
	cargo fmt --all --check
	cargo clippy --release --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --release --workspace --no-deps --locked
	@if command -v cargo-deny >/dev/null; then cargo fetch --locked && cargo deny --offline check bans licenses sources; \
	else echo "cargo-deny is not installed (make deps-verify): the dependency rules were checked by the architecture test alone"; fi
	$(MAKE) test

.PHONY: deps
deps: deps-build deps-test

.PHONY: deps-build
deps-build:
	@missing="$(call MISSING,$(PACKAGES))"; \
	if [ -n "$${missing// /}" ]; then echo "installing: $$missing"; $(SUDO) apt-get update -q && $(SUDO) apt-get install -y -q $$missing; fi
	@has=$$(cargo --version 2>/dev/null | cut -d' ' -f2) || has=; \
	if [ -n "$$has" ]; then \
		printf '%s\n' $(RUST) "$$has" | sort -VC && exit 0; \
		echo "cargo is of Rust $$has, and $(RUST) or later is needed: update it (rustup update), or remove it, and make installs one"; exit 1; \
	fi; \
	if ! command -v rustup >/dev/null; then \
		$(SUDO) apt-get update -q; \
		if [[ $$(LC_ALL=C apt-cache policy rustup) == *"Candidate: "[0-9]* ]]; then echo "installing: rustup"; $(SUDO) apt-get install -y -q rustup; fi; \
	fi; \
	if command -v rustup >/dev/null; then \
		echo "installing: Rust $(RUST), for this user"; rustup toolchain install --profile minimal $(RUST); rustup default $(RUST); \
	else \
		echo "installing: Rust $(RUST), for this user, by https://sh.rustup.rs"; \
		curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal --default-toolchain $(RUST); \
	fi

.PHONY: deps-deploy
deps-deploy:
	@missing="$(call MISSING,ca-certificates)"; \
	if [ -n "$${missing// /}" ]; then echo "installing: $$missing"; $(SUDO) apt-get update -q && $(SUDO) apt-get install -y -q $$missing; fi
	@docker version >/dev/null || { echo "Docker is missing, or this user may not use it: install it, start it, join the group docker"; exit 1; }
	@docker compose version >/dev/null 2>&1 || docker-compose version >/dev/null 2>&1 || { echo "installing: docker-compose"; $(SUDO) apt-get update -q && $(SUDO) apt-get install -y -q docker-compose; }

.PHONY: deps-test
deps-test:
	@missing="$(call MISSING,$(TEST_PACKAGES))"; \
	if [ -n "$${missing// /}" ]; then echo "installing: $$missing"; $(SUDO) apt-get update -q && $(SUDO) apt-get install -y -q $$missing; fi
	@for list in tests/compat/requirements-*.txt; do \
		name=$${list##*requirements-}; venv=$(SEALDEX_VENVS)/venv-$${name%.txt}; \
		cmp -s $$list $$venv/installed.txt && continue; \
		echo "making $$venv"; rm -rf $$venv; mkdir -p $(SEALDEX_VENVS); \
		/usr/bin/python3 -m venv $$venv; \
		$$venv/bin/python -m pip install -q --disable-pip-version-check -r $$list; \
		cp $$list $$venv/installed.txt; \
	done

.PHONY: deps-verify
deps-verify:
	command -v cargo-deny >/dev/null || cargo install --locked cargo-deny
