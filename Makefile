# make demo    the whole job on real data, from nothing; writes build/demo/report.html and
#              serves the pages on 127.0.0.1:8321 (SERVE=0: stops after writing)
# make test    everything that CI runs
# make nightly the long tests that are not in it: run them before a release
# make bench   speed and memory against baselines; writes benchmarks/results.md
# make env     .venv with the package and its tools

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: env demo test nightly lint types bench format golden clean

env: $(STAMP)

$(STAMP): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Neva needs Python 3.11 or newer: make env PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/neva demo build/demo $(if $(filter 0,$(SERVE)),,--serve)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(STAMP)
	$(BIN)/mypy

test: lint types
	$(BIN)/python -m pytest -n 2 --dist worksteal

nightly: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist worksteal -m nightly
	NEVA_HYPOTHESIS=nightly $(BIN)/python -m pytest -n 2 --dist worksteal tests/property

bench: $(STAMP)
	$(BIN)/python -m benchmarks.run

format: $(STAMP)
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

golden: $(STAMP)
	NEVA_REWRITE_GOLDEN=1 $(BIN)/python -m pytest tests/golden -q

clean:
	rm -rf build $(VENV)
