# fraudloop: the README lists the main targets. `make demo` and `make test` set up all they need.

SHELL := /bin/bash
# Triton's python backend has stubs for these interpreters, and numpy < 2 has wheels for them.
PYTHON ?= $(shell for p in python3.11 python3.12 python3; do command -v $$p >/dev/null && $$p -c 'import sys; sys.exit(not (3,11) <= sys.version_info[:2] <= (3,12))' 2>/dev/null && echo $$p && break; done)
# Where torch comes from, if not from pip's own index: make demo TORCH_INDEX=<url of the CPU wheels>
TORCH_INDEX ?=
VENV := .venv
BIN := $(VENV)/bin
SETUP := $(VENV)/.installed

.PHONY: demo up down test test-fast coverage check bench bench-quality soak mutants docs screenshots build lock clean

demo: $(SETUP) build  ## the whole loop on this machine, then a summary table
	$(BIN)/fraudloop demo

up: $(SETUP) build  ## start the local system and keep it running
	$(BIN)/fraudloop up

down: $(SETUP)  ## stop it; the next `make up` continues
	$(BIN)/fraudloop down

build: $(SETUP)  ## compile the pipelines into build/pipelines, with their content hashes
	$(BIN)/python -m training.pipelines.definitions build/pipelines

test: $(SETUP) build aws-tools  ## all tests
	$(BIN)/python -m pytest -n 2 --dist loadgroup

test-fast: $(SETUP)  ## the tests that start no server and train no model: after each change
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m "not slow"

coverage: $(SETUP) build aws-tools  ## all tests, and how much of each package they run; no number is demanded
	$(BIN)/python -m pytest -n 2 --dist loadgroup --cov --cov-report=term:skip-covered --cov-report=html:build/coverage

check: $(SETUP)  ## lint, types, layers: what CI checks
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check . || { $(BIN)/ruff format --check . | grep ^Would; echo "run: $(BIN)/ruff format ."; exit 1; }
	@$(BIN)/mypy --no-error-summary
	@said=$$($(BIN)/lint-imports --no-logo) || { echo "$$said"; exit 1; }
	@echo "checked: $$(git ls-files '*.py' | wc -l) Python files: lint and format (ruff), types (mypy), $$(grep -c '^\[\[tool.importlinter.contracts' pyproject.toml) contracts of layers (import-linter)"

bench: $(SETUP) build  ## speed, memory and cost against named peers, into benchmarks/results.json
	$(BIN)/python -m benchmarks

bench-quality: $(SETUP)  ## the model beside its reference models: two generators, five seeds
	$(BIN)/python -m benchmarks.quality

soak: $(SETUP) build  ## the long tests: the whole crash sweep, 20 real deaths, 10,000 interleavings (FRAUDLOOP_EXAMPLES: how many)
	FRAUDLOOP_SOAK=1 $(BIN)/python -m pytest -n 2 --dist loadgroup --timeout 0 -rP tests/proof tests/e2e/test_real_deaths.py

mutants: $(SETUP)  ## break one safety property after the other, and see the tests notice
	$(BIN)/python tests/mutants/run.py

docs: $(SETUP)  ## the site, built strictly
	$(BIN)/mkdocs build --strict

screenshots: $(SETUP)  ## the pictures of the console for its page in docs/, taken in Chromium
	$(BIN)/python tests/console/screenshots.py docs/assets/console

lock: $(SETUP)  ## resolve every group anew
	$(BIN)/uv pip compile -q --upgrade --python-version 3.11 --no-header --no-annotate $${PIP_FIND_LINKS:+--find-links $$PIP_FIND_LINKS} \
	    --group lambda --group training --group console --group local --group dev -o requirements/all.lock
	sed -i 's/+cpu//; /find-links/d' requirements/all.lock
	$(BIN)/python deploy/tools/lock_hashes.py requirements/*.lock
	$(BIN)/python deploy/tools/image_locks.py

clean: clean-images  ## stop the local system and remove what it left, what was built, the caches and the environments
	test ! -x $(BIN)/fraudloop || { $(BIN)/fraudloop down && $(BIN)/fraudloop reset --yes; }
	rm -rf build dist site .aws-sam .mypy_cache .ruff_cache .pytest_cache .import_linter_cache *.egg-info .venv-aws .venv-checkov $(VENV)

# The lock is complete, so nothing is resolved. torch comes last, without a hash: its CPU and CUDA builds are other files, and only
# the CUDA build's own libraries are not in the lock. nvidia-pytriton only lends its tritonserver: its Python dependencies clash with kfp's.
# A package's pin is a line, and its hashes are the indented lines after it.
INSTALL := $(PYTHON) requirements/install.py
$(SETUP): requirements/all.lock requirements/triton-server.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "fraudloop needs Python 3.11 or 3.12 (Debian: apt-get install python3.11 python3.11-venv), or name one: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "$(PYTHON) has no venv module (Debian: apt-get install python3-venv)"; exit 1; }
	@echo "set-up into $(VENV): $$(grep -c '==' requirements/all.lock) packages, 2.4 GB on disk; three minutes where nothing else runs"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@awk '/^[^ ]/ {rest = !/^torch==/} rest' requirements/all.lock > $(VENV)/rest.lock
	@$(INSTALL) $(BIN)/python "packages" $$(grep -c '==' $(VENV)/rest.lock) --require-hashes --no-deps -r $(VENV)/rest.lock
	@$(INSTALL) $(BIN)/python "Triton" 1 --require-hashes --no-deps -r requirements/triton-server.lock
	@$(INSTALL) $(BIN)/python "torch and what it needs" 0 $$(grep -o '^torch==[^ ;]*' requirements/all.lock) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX))
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

include deploy/aws.mk  # aws-tools, sam-build, check-aws
