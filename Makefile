# Everything needs only make, Python 3.11 or newer (with venv) and a package registry.
# `make` alone lists the targets. Each one sets up what it needs, in any order.

# The first candidate that runs, is new enough and can make virtual environments.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo $$p; break; }; done)
WORKERS ?= 2
BIN := .venv/bin

# Every worker and every process that a test starts would compile all of the code again.
unexport PYTHONDONTWRITEBYTECODE

PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt

.PHONY: help demo test check lint types layers docs unit commands reliability format clean
.DEFAULT_GOAL := help

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: .venv/.installed ## restore the sample pictures into out/, with before/after sheets
	$(BIN)/anyrestore restore samples -o out --compare --overwrite

test: lint types layers docs unit ## every gate: lint, types, layers, docs, unit
check: test ## the same as test

lint: .venv/.installed-dev ## ruff: formatting and rules; hadolint: the Dockerfile
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/hadolint Dockerfile

types: .venv/.installed-dev ## pyright, strict, over src
	$(BIN)/pyright

layers: .venv/.installed-dev ## import-linter: who may import whom
	$(BIN)/lint-imports

docs: .venv/.installed-dev ## mkdocs: the site of docs/ in site/, no warning, no link that leads nowhere
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

unit: .venv/.installed-dev ## pytest
	$(BIN)/python -m pytest -n $(WORKERS)

commands: .venv/.installed-dev ## run every command of the documentation, those that take minutes too
	ANYRESTORE_FULL=1 $(BIN)/python -m pytest -s tests/docs/test_commands.py

reliability: .venv/.installed-dev ## count the promises of docs/reliability.md; FULL=1 for all their counts
	ANYRESTORE_FULL=$(FULL) $(BIN)/python -m pytest -n $(WORKERS) -m reliability --scoreboard=reliability.json

format: .venv/.installed-dev ## let ruff rewrite what it can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## remove the environment, the caches and out/
	rm -rf .venv out site .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "anyrestore needs Python 3.11 or newer with venv; found none. Name one: make PYTHON=/path/to/python" >&2; exit 1; }
	@echo "Setting up .venv with $(PYTHON) (once; takes a few minutes)"
	$(PYTHON) -m venv .venv
	$(PIP) -e .
	@touch $@

.venv/.installed-dev: .venv/.installed
	@echo "Installing the development tools into .venv (once)"
	$(PIP) -e '.[dev]'
	@touch $@
