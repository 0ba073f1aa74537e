# make demo | test | lint | bench — each prepares .venv first, and is quick when that is done.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

.PHONY: demo test lint bench constraints

demo: $(VENV)/.ready
	$(BIN)/limner demo

test: lint
	$(BIN)/pytest -n 2 --dist loadscope

lint: $(VENV)/.ready-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports
	$(BIN)/pyright

bench: $(VENV)/.ready-dev
	set -e; for script in $(sort $(wildcard benchmarks/*.py)); do echo "== $$script"; $(BIN)/python $$script; done

# What is installed now becomes what is pinned.
constraints: $(VENV)/.ready-dev
	$(BIN)/python tools/pin.py

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("limner needs Python 3.10 or newer: make PYTHON=…" if sys.version_info < (3, 10) else 0)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.ready: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/.ready-dev: $(VENV)/.ready
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@
