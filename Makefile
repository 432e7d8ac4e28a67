# Everything a developer types. Nothing is needed beside Python 3.11+ and make; all else comes from the package index.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ARGS ?=
# Most tests wait for processes of their own: three files at a time keep two cores busy, and four take as long. tests/conftest.py begins with the longest.
JOBS ?= 3
SEED ?= 1
TURNS ?= 200

.DEFAULT_GOAL := help
.PHONY: help setup run test check format bench chaos lock clean

help: ## Show this
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-8s %s\n", $$1, $$2 }'

setup: $(STAMP) ## Make the virtual environment and install what is pinned (done by the others when needed)

# Done once, and again when the pinned requirements change. uv takes a third of pip's time; where it cannot be had pip does.
$(STAMP): requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.x ..."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@if $(BIN)/python -m uv --version >/dev/null 2>&1 || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv; then \
		$(BIN)/python -m uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements-dev.txt; \
	else \
		echo "uv cannot be installed here: pip takes a little longer"; \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt; \
	fi
	@touch $@

run: $(STAMP) ## Start everything on this machine; ARGS="--fresh --api-port 9000" passes options on
	@exec $(BIN)/python -m chatapp dev $(ARGS)

test: $(STAMP) ## Run the tests, JOBS files at a time; ARGS="tests/unit -k name" chooses
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

check: $(STAMP) ## Lint, formatting, types, layers
	$(BIN)/python -m ruff check
	$(BIN)/python -m ruff format --check
	$(BIN)/python -m mypy
	$(BIN)/lint-imports

format: $(STAMP) ## Format the code and mend what can be mended
	$(BIN)/python -m ruff check --fix
	$(BIN)/python -m ruff format

chaos: $(STAMP) ## Break everything while it works, and see what holds; SEED=2 TURNS=300 choose
	$(BIN)/python -m tests.chaos --seed $(SEED) --turns $(TURNS) $(ARGS)

bench: $(STAMP) ## Measure, as ratios in one run
	$(BIN)/python -m bench $(ARGS)

# The development file first, then the runtime file within it, so that what ships is what was tested.
lock: $(STAMP) ## Pin the requirements anew, with hashes; ARGS="--upgrade" takes the newest
	$(BIN)/python -m uv pip compile $(COMPILE) --extra dev pyproject.toml -o requirements-dev.txt $(ARGS)
	$(BIN)/python -m uv pip compile $(COMPILE) -c requirements-dev.txt pyproject.toml -o requirements.txt $(ARGS)

COMPILE = --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header

clean: ## Remove the environment, caches and the state of `make run`
	rm -rf $(VENV) .chatapp .artifacts .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
