# Everything that is needed to use and to develop fedpriv. `make help` lists it.

PYTHON ?= python3
ARGS ?=

VENV := .venv
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check --quiet
INPUTS := pyproject.toml constraints.txt
FAST := -m "not slow" --numprocesses=auto --maxprocesses=4 --dist=worksteal

PEERS := pfl fedlab flower
PEER_ENVS := benchmarks/.venvs

.PHONY: help install install-all run test test-slow check bench bench-peers clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## */\t/' | expand -t 14

install: $(VENV)/.core  ## make .venv with what running needs

install-all: $(VENV)/.all  ## make .venv with every extra and the test tools

run: $(VENV)/.core  ## run the default experiment; ARGS="seed=1 rounds=5" changes it
	$(VENV)/bin/fedpriv run $(ARGS)

test: $(VENV)/.test  ## fast tests; ARGS="-k ledger" chooses some
	$(VENV)/bin/python -m pytest $(FAST) $(ARGS)

test-slow: $(VENV)/.all  ## the tests that `make test` leaves out
	$(VENV)/bin/python -m pytest -m slow $(ARGS)

check: $(VENV)/.test  ## lint, types and fast tests
	$(VENV)/bin/python -m ruff check .
	$(VENV)/bin/python -m mypy
	$(VENV)/bin/python -m pytest $(FAST) $(ARGS)

bench: $(VENV)/.core  ## speed beside a bare loop; WORKLOADS=W2,W3 PAIRS=3 narrow it, ARGS=--profile says where time goes
	$(VENV)/bin/python -m benchmarks $(ARGS)

bench-peers: $(VENV)/.core  ## the same with pfl, FedLab and Flower on Ray, each in a venv that this makes
	-$(MAKE) --keep-going $(PEERS:%=$(PEER_ENVS)/%/.installed)
	$(VENV)/bin/python -m benchmarks --peers $(ARGS)

clean:  ## remove .venv and caches; runs in outputs/ stay
	rm -rf $(VENV) $(PEER_ENVS) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

# Stamps: a step is done again when what it depends on has changed.
$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
		{ echo "fedpriv needs Python 3.11 to 3.13, and $(PYTHON) is not: make PYTHON=python3.11 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

# torch goes first, by itself: resolved together with the rest, pip may fetch several builds of it, gigabytes each.
$(VENV)/.core: $(VENV)/.python $(INPUTS)
	$(PIP) install -c constraints.txt torch
	$(PIP) install -c constraints.txt -e .
	@touch $@

$(VENV)/.test: $(VENV)/.core
	$(PIP) install -c constraints.txt -e ".[huggingface,sweeps,test]"
	@touch $@

$(VENV)/.all: $(VENV)/.test
	$(PIP) install -c constraints.txt -e ".[art,mlflow,ray,tensorboard,wandb]"
	@touch $@

# FedLab asks for packages that it does not need here: its own file names the others.
$(PEER_ENVS)/%/.installed: benchmarks/peers/%.txt constraints.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip --disable-pip-version-check --quiet install -c constraints.txt torch
	$(@D)/bin/python -m pip --disable-pip-version-check --quiet install -r $<
	$(if $(filter fedlab,$*),$(@D)/bin/python -m pip --disable-pip-version-check --quiet install --no-deps fedlab==1.3.0)
	@touch $@
