# Each task of the project. `make` lists them; CI runs the same ones.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON := .venv/bin/python
SOURCES := contract numerics agent hub compression training client
# Programs that scripts/setup unpacked where it could not install them, then the environment's own.
export PATH := $(CURDIR)/.cache/bin:$(CURDIR)/.venv/bin:$(PATH)

.PHONY: help
help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup:  ## install what a hub and the demo need: Mosquitto, .venv with pinned packages
	@scripts/setup

.PHONY: setup-test
setup-test:  ## the same and what the tests need: PostgreSQL, Redis, SoftHSM, libfaketime, iptables, promtool
	@scripts/setup test

.PHONY: demo
demo: setup  ## one model from training to a fleet and back; KEEP=1 leaves the hub and its agents running
	@$(PYTHON) -m examples.first_light

.PHONY: examples
examples: setup  ## four pipelines on real data, from raw files to agents that answer; some minutes
	@$(PYTHON) -m examples.pipelines

.PHONY: check
check: setup  ## lint, formatting, types (3.11, and 3.10 for what runs on devices), import rules, shell scripts
	ruff check .
	ruff format --check .
	mypy
	mypy --python-version 3.10 contract numerics agent
	lint-imports
	@if command -v shellcheck >/dev/null; then \
	    echo shellcheck scripts/setup .ci/run; shellcheck scripts/setup .ci/run; \
	else \
	    echo "shellcheck is not installed: the shell scripts were not checked"; \
	fi

.PHONY: format
format: setup  ## put the code into the house's form
	ruff check --fix .
	ruff format .

.PHONY: test
test: setup-test  ## the fast suite: real Mosquitto, real PostgreSQL, real agents; about 20 minutes
	pytest -n 4 -m "not slow" --durations=60 --durations-min=3

.PHONY: test-slow
test-slow: setup-test  ## the long tests: the demo, kills in a rollout, the wheel on Python 3.10; about 40 minutes
	pytest -n 3 --dist loadfile -m slow

.PHONY: fuzz
fuzz: setup-test  ## a coverage-guided fuzzer on the device's endpoint for 12 minutes; the corpus is kept
	@$(PYTHON) -m tests.fuzz 240

.PHONY: test-py310
test-py310: setup-test  ## of these, the wheel alone: its size and the device's tests on Python 3.10
	pytest -m slow tests/packaging

.PHONY: power-cut-matrix
power-cut-matrix: setup-test  ## what a device serves after a power cut at each disk operation of each update, as a table
	@$(PYTHON) -m tests.agent.simulators.power_cut_matrix

.PHONY: kill-matrix
kill-matrix: setup-test  ## kill -9 of hub, broker and devices amid 200 + 20 rollouts, as a table; about 15 minutes
	@$(PYTHON) -m tests.simulators.kills

.PHONY: tuf-conformance
tuf-conformance:  ## the TUF project's own conformance suite against `shoal-agent tuf`; SUITE=a checkout of it
	@[ -f "$(SUITE)/tuf_conformance/conftest.py" ] || { echo "tuf-conformance: SUITE='$(SUITE)' holds no" \
	    "tuf_conformance/conftest.py. The suite is on no package index: clone" \
	    "https://github.com/theupdateframework/tuf-conformance and name its folder in SUITE=." >&2; exit 1; }
	@scripts/setup test
	@[ -x .cache/tuf-conformance/bin/python ] || $(PYTHON) -m venv .cache/tuf-conformance
	@.cache/tuf-conformance/bin/python -m pip install --quiet --disable-pip-version-check "$(SUITE)"
	@.cache/tuf-conformance/bin/pytest -ra -p no:cacheprovider "$(SUITE)/tuf_conformance" \
	    --entrypoint "$(CURDIR)/.venv/bin/shoal-agent tuf"

.PHONY: bench
bench: setup-test  ## every figure of benchmarks/, as JSON lines
	@for script in benchmarks/*.py; do echo "== $$script" >&2; $(PYTHON) "$$script"; done

.PHONY: docs
docs: setup  ## bring docs/reference up to date with the code; the tests compare them
	$(PYTHON) scripts/docs_reference.py

.PHONY: clean
clean:  ## remove what was built, installed and unpacked here
	rm -rf .venv .cache build dist demo-report.json .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find $(SOURCES) tests -name __pycache__ -type d -prune -exec rm -rf {} +
