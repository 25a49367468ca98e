# Everything a newcomer needs: `make serve` and `make test`; `make help` lists the rest.

# `make NAME=VALUE` changes these; the environment does not: conda exports HOST=x86_64-conda-linux-gnu. Without HOST
# and PORT the service's own settings count, SAGAN_HOST and SAGAN_PORT.
PYTHON = python3
HOST =
PORT =
# What `make bench` runs, each a module of benchmarks/.
BENCHMARKS ?= attention encoder sampler load service saturation scaling
SOAK_MINUTES ?= 60
# Another index for torch alone, e.g. one with CPU-only builds; see the README. What torch needs comes from the usual
# one: the other need not have the versions of constraints.txt, nor be trusted with more than torch.
TORCH_INDEX_URL ?=
VENV = .venv
LOWEST = .venv-lowest
STUDIO = tests/app/studio
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
LOWEST_PIP := $(LOWEST)/bin/python -m pip --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help serve install test test-slow test-lowest check bench soak format clean
.SUFFIXES:

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'
	@echo "Variables: HOST, PORT (serve), PYTHON, VENV, TORCH_INDEX_URL (install)"

serve: $(VENV)/.installed-serve ## Install what is missing and serve on HOST:PORT (127.0.0.1:8000)
	@exec $(BIN)/sagan serve $(if $(HOST),--host '$(HOST)') $(if $(PORT),--port '$(PORT)')

install: $(VENV)/.installed-dev ## Install everything, for developing and training too

test: $(VENV)/.installed-dev ## Run the fast tests (a real Redis included; eight minutes)
	$(BIN)/python -m pytest -m "not slow"

test-slow: $(VENV)/.installed-dev ## Run the slow tests: processes killed under load, training
	$(BIN)/python -m pytest -m slow --timeout 600

test-lowest: $(LOWEST)/.installed ## Run the fast tests of app on the lowest versions that pyproject.toml allows
	$(LOWEST)/bin/python -m pytest -m "not slow" tests/app

bench: $(VENV)/.installed-bench ## Measure: sampler, encoder, attention, service, saturation, scaling (18 minutes)
	@for name in $(BENCHMARKS); do echo "== benchmarks.$$name"; $(BIN)/python -m benchmarks.$$name || exit 1; done

soak: $(VENV)/.installed-dev ## Mixed load, kills and disconnects for SOAK_MINUTES (60): nothing may grow or be lost
	$(BIN)/python -m benchmarks.soak --minutes $(SOAK_MINUTES)

check: $(VENV)/.installed-dev ## Lint, format, types (of the page too, if npm is there), import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@if command -v npm >/dev/null; then $(MAKE) --no-print-directory $(STUDIO)/node_modules/.installed && \
	  $(STUDIO)/node_modules/.bin/tsc -p $(STUDIO); else echo "There is no npm: the page's types are not checked"; fi

format: $(VENV)/.installed-dev ## Format the code and mend what ruff can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove the virtual environment and the caches
	rm -rf $(VENV) $(LOWEST) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info

$(VENV)/.installed-%: pyproject.toml constraints.txt | $(BIN)/python
ifneq ($(TORCH_INDEX_URL),)
	$(PIP) install -c constraints.txt --no-deps --index-url $(TORCH_INDEX_URL) torch
endif
	$(PIP) install -c constraints.txt -e '.[$*]'
	@touch $@

# What checks the studio page: typescript and axe-core.
$(STUDIO)/node_modules/.installed: $(STUDIO)/package.json $(STUDIO)/package-lock.json
	npm ci --prefix $(STUDIO) --ignore-scripts --no-audit --no-fund
	@touch $@

# Without compiling what most tests never import.
$(LOWEST)/.installed: pyproject.toml tests/minima.py $(VENV)/.installed-dev
	$(BIN)/python -m venv $(LOWEST)
	$(BIN)/python -m tests.minima > $(LOWEST)/minima.txt
ifneq ($(TORCH_INDEX_URL),)
	$(LOWEST_PIP) install -c $(LOWEST)/minima.txt --no-deps --index-url $(TORCH_INDEX_URL) torch
endif
	$(LOWEST_PIP) install --no-compile -c $(LOWEST)/minima.txt -e '.[test]'
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is older than Python 3.11: give another with PYTHON=..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
