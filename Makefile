# Leveret: the commands that people and CI run. Needs git, make, a C compiler and Rust; what else a target needs it installs
# (Debian and Ubuntu, as root or with sudo) or fetches into target/tools.
#
#   make demo              build, then run both example workflows on this machine; no broker is needed
#   make demo LOG=PATH     the same, with an access log of your own
#   make cluster           the same on RabbitMQ, PostgreSQL, a scheduler and four workers, all on this machine
#   make bench             what the table of targets needs, on a private RabbitMQ where one is needed; ends with that table
#   make bench-micro       of these, what needs no broker: contexts, rendering, steps of runs
#   make bench-peers       the same work on Celery, Dramatiq, rusty-celery and Leveret, on one RabbitMQ; QUICK=1 only tries it
#   make test              every test, against private instances of RabbitMQ and PostgreSQL
#   make instructions      count what must stay cheap, and fail when it takes over 10 % more than is written down
#   make lint              formatting, lints, dependency rules, deployment files, scripts
#   make mutants           whether a test sees each change of the state machine; some hours

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo cluster bench bench-micro bench-peers test instructions mutants lint lint-rust lint-dependencies lint-deploy lint-scripts

help:
	@sed -n 's/^#   //p' Makefile

demo:
	@scripts/demo $(if $(LOG),'$(LOG)')

cluster:
	@scripts/cluster $(if $(LOG),'$(LOG)')

# All that these targets run, in one build. Another choice of packages and targets has other features, and half of it would
# be built once more; so each target builds somewhat more than it needs. What was built runs as it is.
packages := --locked --package leveret --package leveret-benches
benches := --bench context --bench machine
build_benches := cargo build --release $(packages) --bin leveret --bin endtoend --bin micro --bin table $(benches)
run_benches := cargo bench $(packages) $(benches)
built := $${CARGO_TARGET_DIR:-target}/release

bench:
	scripts/packages rabbitmq-server
	$(MAKE) bench-micro
	$(built)/endtoend
	$(built)/table

bench-micro:
	$(build_benches)
	$(run_benches)
	$(built)/micro

bench-peers:
	$(build_benches)
	benches/peers/run $(if $(QUICK),--quick)

test:
	@scripts/test

mutants:
	@scripts/mutants

instructions:
	@scripts/instructions

lint: lint-scripts lint-deploy lint-rust lint-dependencies

lint-rust:
	cargo fmt --check
	cargo clippy --locked --workspace --all-targets -- -D warnings

lint-dependencies:
	scripts/lint-dependencies

lint-deploy:
	scripts/lint-deploy

lint-scripts:
	scripts/lint-scripts
