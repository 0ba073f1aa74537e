# make demo | test | lint | bench | drills | audit | sbom | wheel — each prepares .venv first, and is quick when that is done.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

.PHONY: demo test lint bench drills audit sbom wheel constraints

demo: $(VENV)/.ready
	$(BIN)/limner demo

test: lint
	$(BIN)/pytest -n 2 --dist loadscope

lint: $(VENV)/.ready-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports
	$(BIN)/pyright
	$(BIN)/python tools/metadata.py licences
	$(BIN)/hadolint Dockerfile

bench: $(VENV)/.ready-dev
	set -e; for script in $(sort $(wildcard benchmarks/*.py)); do echo "== $$script"; $(BIN)/python $$script; done

# Outside the suite, because they take long: kills, full disks, hostile files (docs/reliability.md).
DRILLS ?= ranks runs disk pictures weights build reproducible compile server_disk server_flood server_slow
drills: $(VENV)/.ready-dev
	set -e; for drill in $(DRILLS); do echo "== drills/$$drill.py"; $(BIN)/python drills/$$drill.py; done

# Known vulnerabilities of the pinned packages; needs a network, and says so when there is none.
audit: $(VENV)/.ready
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/python -m pip install --quiet 'pip-audit>=2.9'
	$(BIN)/python tools/audit.py .venv-audit/bin/pip-audit $(AUDIT)

sbom: $(VENV)/.ready
	$(BIN)/python tools/metadata.py sbom --out sbom.json

wheel: $(VENV)/.ready-dev
	$(BIN)/python -m build --outdir dist

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
