# Leveret: the commands that people and CI run. Needs git, a C compiler and Rust; what else a target needs it installs
# (Debian and Ubuntu, as root or with sudo) or fetches into target/tools.
#
#   make demo              build, then run both example workflows on this machine; no broker is needed
#   make demo LOG=PATH     the same, with an access log of your own
#   make cluster           the same on RabbitMQ, PostgreSQL, a scheduler and four workers, all on this machine
#   make bench             what a run of 10,000 items costs on RabbitMQ, by the size of its context
#   make bench-peers       the same work on Celery, Dramatiq, rusty-celery and Leveret, on one RabbitMQ; QUICK=1 only tries it
#   make test              every test, against private instances of RabbitMQ and PostgreSQL
#   make lint              formatting, lints, dependency rules, deployment files, scripts

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo cluster bench bench-peers test lint lint-rust lint-dependencies lint-deploy lint-scripts

help:
	@sed -n 's/^#   //p' Makefile

demo:
	@scripts/demo $(if $(LOG),'$(LOG)')

cluster:
	@scripts/cluster $(if $(LOG),'$(LOG)')

bench:
	cargo build --locked --release --package leveret --package leveret-benches
	cargo run --locked --release --package leveret-benches --bin fanout

bench-peers:
	cargo build --locked --release --package leveret --package leveret-benches
	benches/peers/run $(if $(QUICK),--quick)

test:
	@scripts/test

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
