# `make demo` and `make test` do all the set-up they need; `make help` lists the rest.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
ADVRUN := $(BIN)/advrun
CONFIG ?= configs/gtsrb.yaml
ARGS ?=
# One process more than there are cores, for tests also wait for processes of their own.
PYTEST := $(BIN)/python -m pytest -n $(shell $(PYTHON) -c 'import os; print(min(4, os.cpu_count() + 1))') --dist worksteal
INSTALLED := $(VENV)/.installed
PEERS := .venv-parity

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: $(INSTALLED) ## a virtual environment in .venv with everything in it
$(INSTALLED): setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: $(INSTALLED) ## the whole story on the built-in data set, in minutes
	$(ADVRUN) run configs/demo.yaml $(ARGS)

gtsrb: $(INSTALLED) ## the experiment of the paper on GTSRB (see data/README.md for the data)
	$(ADVRUN) run configs/gtsrb.yaml $(ARGS)

train attack defend report: $(INSTALLED) ## one stage of CONFIG (configs/gtsrb.yaml)
	$(ADVRUN) $@ $(CONFIG) $(ARGS)

test: $(INSTALLED) ## the tests, in under 10 minutes
	$(PYTEST) $(ARGS)

test-all: $(INSTALLED) ## the slow tests too
	$(PYTEST) -m "not bench" $(ARGS)

$(PEERS)/.installed: setup.cfg constraints.txt tests/benchmarks/peers.txt tests/benchmarks/peers-no-deps.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]' -r tests/benchmarks/peers.txt
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r tests/benchmarks/peers-no-deps.txt
	touch $@

parity: $(PEERS)/.installed ## every attack beside its peers, at the same budget: PARITY.md and SPEED.md in tests/benchmarks
	$(PEERS)/bin/python -m tests.benchmarks.compare $(ARGS)

envelope: $(PEERS)/.installed ## the closest examples of all our attacks beside those of all peers': ENVELOPE.md in tests/benchmarks
	$(PEERS)/bin/python -m tests.benchmarks.envelope $(ARGS)

bench: $(PEERS)/.installed ## the same, measured anew on this machine, and limits on the overhead of the core attacks
	$(PEERS)/bin/python -m tests.benchmarks.compare --fresh $(ARGS)
	$(PEERS)/bin/python -m tests.benchmarks.compare --default-tensorflow $(ARGS)
	$(PEERS)/bin/python -m pytest -m bench -s tests/benchmarks

lint: $(INSTALLED) ## style and types; changes nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(INSTALLED) ## rewrite the code in the project's style
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## forget the environments and what tools keep; results stay
	rm -rf $(VENV) $(PEERS) .pytest_cache .ruff_cache .mypy_cache .hypothesis

clean-results: ## delete results/, after asking
	@test -d results || { echo "there is no results/"; exit 0; }; \
	test -t 0 || { echo "results/ is kept: without a terminal nobody can be asked"; exit 1; }; \
	du -sh results; printf "Delete results/ with all models, examples and tables? [y/N] "; \
	read -r answer; case "$$answer" in y|Y|yes) rm -rf results; echo "deleted";; *) echo "kept";; esac

.PHONY: help setup demo gtsrb train attack defend report test test-all parity envelope bench lint format clean clean-results
