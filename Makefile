# make demo    the whole job on real data, from nothing (installs what runs, without the
#              tools); writes build/demo/report.html and
#              serves the pages on 127.0.0.1:8321 (SERVE=0: stops after writing)
# make test    everything that CI runs
# make nightly the long tests that are not in it: run them before a release
# make coverage  the same tests, and which branches none of them takes (slower)
# make mutation  puts faults into evaluators and suppression: how many do the tests notice?
# make bench   speed and memory against baselines; writes benchmarks/results.md
# make docs    the documentation as a site in build/site, to be read from the disk
# make lock    both lock files anew, after a change of dependencies
# make sbom    build/sbom.cdx.json: what is installed, as CycloneDX
# make env     .venv with the package and its tools

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
TOOLS  := $(VENV)/.tools-installed
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check
COMPILE = build/lock/bin/uv pip compile pyproject.toml --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --no-header --quiet

.PHONY: env demo test nightly coverage mutation docs lock sbom lint types bench format golden clean

env: $(TOOLS)

$(STAMP): pyproject.toml requirements.lock
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Neva needs Python 3.11 or newer: make env PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) --require-hashes --requirement requirements.lock
	$(PIP) --no-deps --no-build-isolation --editable .
	touch $(STAMP)

$(TOOLS): $(STAMP) requirements-dev.lock
	$(PIP) --require-hashes --requirement requirements-dev.lock
	touch $(TOOLS)

lock:
	$(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet --disable-pip-version-check 'uv>=0.13,<1'
	$(COMPILE) --upgrade --extra dev --output-file requirements-dev.lock
	$(COMPILE) --extra build --constraint requirements-dev.lock --output-file requirements.lock

sbom: $(TOOLS)
	mkdir -p build
	$(BIN)/cyclonedx-py environment $(VENV) --pyproject pyproject.toml --output-reproducible --of JSON -o build/sbom.cdx.json

demo: $(STAMP)
	$(BIN)/neva demo build/demo $(if $(filter 0,$(SERVE)),,--serve)

lint: $(TOOLS)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(TOOLS)
	$(BIN)/mypy

test: lint types sbom
	$(BIN)/python -m pytest -n 2 --dist worksteal

nightly: $(TOOLS)
	$(BIN)/python -m pytest -n 2 --dist worksteal -o faulthandler_timeout=5400 -m nightly
	NEVA_HYPOTHESIS=nightly $(BIN)/python -m pytest -n 2 --dist worksteal -o faulthandler_timeout=5400 tests/property

coverage: $(TOOLS)
	$(BIN)/python -m pytest -n 2 --dist worksteal --cov --cov-report=term:skip-covered

mutation: $(TOOLS)
	$(BIN)/python -m tests.mutation

docs: $(TOOLS)
	$(BIN)/python -m sphinx -b html -W --keep-going -q -d build/doctrees docs build/site

bench: $(TOOLS)
	$(BIN)/python -m benchmarks.run

format: $(TOOLS)
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

golden: $(TOOLS)
	NEVA_REWRITE_GOLDEN=1 $(BIN)/python -m pytest tests/golden -q

clean:
	rm -rf build $(VENV)
