# Everything runs in .venv, made from the pinned, hashed requirements.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
.DEFAULT_GOAL := help
# Each test process would compile the program and pytest all tests anew.
export PYTHONDONTWRITEBYTECODE :=
.PHONY: help demo test test-thorough test-faults test-audit test-documents check bench lock clean

help:  ## what can be made here
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/.run: requirements/run.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/run.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements/dev.txt requirements/wire-schema.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements/wire-schema.txt
	@touch $@

demo: $(VENV)/.run  ## the main job against the built-in sandbox
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash examples/demo.sh

test: $(VENV)/.dev  ## the tests; on PostgreSQL all of the store's and a sample of the command line's
	$(BIN)/python -m pytest -n 4 --dist worksteal

test-thorough: $(VENV)/.dev  ## every test on both databases, and the long ones too
	$(BIN)/python -m pytest -n 4 --dist worksteal --thorough

CASES ?= 2200
SEED ?= 1
test-faults: $(VENV)/.dev  ## kill -9, Ctrl-C, disk and network errors everywhere; and wrong programs that must be caught
	PYTHONPATH=tests $(BIN)/python -m faults --cases $(CASES) --seed $(SEED)

EDITS ?= 10000
test-audit: $(VENV)/.dev  ## random edits of guarded fields on both databases, each of which must be found and named
	AUDIT_EDITS=$(EDITS) AUDIT_SEED=$(SEED) $(BIN)/python -m pytest -n 2 tests/integration/test_random_edits.py

DOCUMENTS ?= 1000
test-documents: $(VENV)/.dev  ## a thousand generated credit notes against the schema and the rules of EN 16931
	DOCUMENTS=$(DOCUMENTS) $(BIN)/python -m pytest tests/integration/test_electronic_documents.py --timeout 1800

check: $(VENV)/.dev  ## lint, format, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

SCALE ?= full
bench: $(VENV)/.run  ## how fast it is, as ratios against rivals and limits; writes docs/performance.md (SCALE=small does not)
	$(BIN)/python -m benchmarks.run --scale $(SCALE)

lock:  ## pin the requirements anew (needs uv)
	uv pip compile --universal --generate-hashes --python-version 3.11 --no-emit-index-url --no-emit-find-links --all-extras pyproject.toml requirements/build.in -o requirements/run.txt
	uv pip compile --universal --generate-hashes --python-version 3.11 --no-emit-index-url --no-emit-find-links --all-extras --group dev pyproject.toml requirements/build.in -o requirements/dev.txt
	uv pip compile --universal --generate-hashes --python-version 3.11 --no-emit-index-url --no-emit-find-links --no-deps requirements/wire-schema.in -o requirements/wire-schema.txt

clean:  ## remove what was made
	rm -rf $(VENV) dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
