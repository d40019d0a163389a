# `make demo` and `make test` do all the set-up they need; `make help` lists the rest.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
ADVRUN := $(BIN)/advrun
CONFIG ?= configs/gtsrb.yaml
ARGS ?=
INSTALLED := $(VENV)/.installed

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

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
	$(BIN)/python -m pytest $(ARGS)

test-all: $(INSTALLED) ## the slow tests too
	$(BIN)/python -m pytest -m "not bench" $(ARGS)

bench: $(INSTALLED) ## speed against the floor, on this machine
	$(BIN)/python -m pytest -m bench -s tests/benchmarks $(ARGS)

lint: $(INSTALLED) ## style and types; changes nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(INSTALLED) ## rewrite the code in the project's style
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## forget the environment and all results
	rm -rf $(VENV) results

.PHONY: help setup demo gtsrb train attack defend report test test-all bench lint format clean
