# Needs make, a shell and Python 3.11 or newer; `make setup` sees to the rest. PYTHON=python3.12 chooses another Python.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
JARS := .venv/.jars
PLAIN_WORKER := examples/plain_worker
NODE_PACKAGES := $(PLAIN_WORKER)/node_modules/.installed
ROOMS := $(wildcard libs/* services/* clients/python examples benchmarks) tests
ROUNDS ?= 20
BENCHMARKS := latency starts restore steps timers takeover idle
ERLANG_SOURCES := $(wildcard erlang/apps/*/src/*.erl)
ERLANG_PACKAGES := erlang-base erlang-dev erlang-eunit erlang-syntax-tools erlang-crypto

.DEFAULT_GOAL := help
.PHONY: help setup erlang demo test check sim chaos mutants bench

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(INSTALLED) erlang $(JARS) $(NODE_PACKAGES) ## Install everything into .venv, and Erlang if it is missing
	@$(BIN)/python -m aion_beam.host_build

demo: setup ## Orders with activities: new code under them, kill -9 in between, on a real broker and real Erlang VMs
	@$(BIN)/python examples/order_fulfillment/demo.py

test: check ## Check, then run every test; ARGS="tests/core -k start" runs some
	@$(BIN)/python -m pytest $(ARGS)

check: setup ## Lint, format, types, who may import whom, house rules, Erlang warnings
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(ROOMS)
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/architecture
	@out=$$(mktemp -d) && trap 'rm -rf "$$out"' EXIT && \
	  erlc +warnings_as_errors +deterministic -o "$$out" $(ERLANG_SOURCES) && echo "erlc: no warnings"

chaos: setup ## Kill and stop everything under load; ROUNDS=20 SEED=7 BROKERS=3, JSON at the end
	@PYTHONPATH=tests $(BIN)/python -m chaos --rounds $(ROUNDS) --seed $(or $(SEED),1) --brokers $(or $(BROKERS),1)

mutants: setup ## Switch mechanisms off and see that their tests die; ARGS="unload fencing" tries some
	@PYTHONPATH=tests $(BIN)/python -m mutants $(ARGS)

bench: setup ## Measure: latency, starts, restore, steps, timers, take-over, idle runs; JSON, a line each
	@for name in $(BENCHMARKS); do $(BIN)/python benchmarks/$$name.py || exit 1; done

sim: setup ## Live through simulated clusters full of faults: SEEDS=5000 of them, or one again with SEED=7
	@PYTHONPATH=tests $(BIN)/python -m simulation $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),600))

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed, $(PYTHON) is not: make PYTHON=/path/to/python3.11 setup" >&2; exit 1; }
	@$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]' -c constraints.txt
	@touch $@

# Fetched once and kept in the user's cache, so that brokers start without a network.
$(JARS): $(INSTALLED) services/server/aion_server/broker.py services/server/aion_server/java.py
	@$(BIN)/python -c 'import asyncio; from aion_server import broker, java; asyncio.run(java.find_java()); \
	  [asyncio.run(java.find_jars(version)) for version in (broker.KAFKA_VERSION, *broker.OLDER_KAFKA_VERSIONS)]'
	@touch $@

# Node itself comes with the Python packages: the example is run in the tests.
$(NODE_PACKAGES): $(INSTALLED) $(PLAIN_WORKER)/package.json $(PLAIN_WORKER)/package-lock.json
	@cd $(PLAIN_WORKER) && PATH="$(CURDIR)/$(BIN):$$PATH" npm ci --silent && touch node_modules/.installed

erlang:
	@if command -v erl >/dev/null && command -v erlc >/dev/null; then exit 0; fi; \
	if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
	  apt-get update -qq && apt-get install -y -qq --no-install-recommends $(ERLANG_PACKAGES); \
	elif command -v apt-get >/dev/null && command -v sudo >/dev/null; then \
	  sudo apt-get update -qq && sudo apt-get install -y -qq --no-install-recommends $(ERLANG_PACKAGES); \
	elif command -v brew >/dev/null; then brew install erlang; \
	else echo "Erlang/OTP 25 or newer is needed. Install erl and erlc, on Debian or Ubuntu the packages" \
	  "$(ERLANG_PACKAGES), then run make again." >&2; exit 1; fi
