# Every target works on a fresh machine with Python (>= 3.11), make and a package registry.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TESTS ?= tests

# One compilation cache for all runs; XLA's notes about cached machine features are noise on the machine that wrote them.
export JAX_COMPILATION_CACHE_DIR ?= $(CURDIR)/.jax_cache
export TF_CPP_MIN_LOG_LEVEL ?= 3

.PHONY: help demo demo-diff test test-full check format lint types layers docs dist bench clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /: /'

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

# Without the cache of compiled programs, so that the times in the report are those of a first run.
demo: $(STAMP) ## teach a network to balance a robot on a ball by watching an MPC
	env -u JAX_COMPILATION_CACHE_DIR $(BIN)/costogo demo

demo-diff: $(STAMP) ## recover a cart-pole's physics by differentiating through its MPC
	$(BIN)/costogo demo-diff

test: $(STAMP) ## the tests, without the slow ones
	$(BIN)/python -m pytest -n 2 --dist loadfile --max-worker-restart 0 $(TESTS)

test-full: $(STAMP) ## all tests
	$(BIN)/python -m pytest -n 2 --dist loadfile --max-worker-restart 0 -m '' $(TESTS)

check: format lint types layers docs test ## everything CI runs

format: $(STAMP)
	$(BIN)/ruff format --check .

lint: $(STAMP)
	$(BIN)/ruff check .

types: $(STAMP)
	$(BIN)/pyright

layers: $(STAMP)
	$(BIN)/lint-imports

docs: $(STAMP) ## build the documentation, strictly
	$(BIN)/mkdocs build --strict --quiet

# What a user installs: the tests run in an environment of its own, outside the tree.
DIST_TESTS ?= native_edges lqr import
dist: $(STAMP) ## build sdist and wheel, and test the installed wheel
	rm -rf dist .dist
	$(BIN)/python -m build --outdir dist .
	$(PYTHON) -m venv .dist/venv
	.dist/venv/bin/python -m pip install --quiet --constraint constraints.txt "$$(echo dist/*.whl)[dev]"
	cp -r tests .dist/tests
	cd .dist && venv/bin/costogo bench --info && \
		venv/bin/python -m pytest -n 2 -c ../pyproject.toml --rootdir . $(DIST_TESTS:%=tests/test_%.py)

bench: $(STAMP) ## side-by-side benchmarks; builds an environment for each peer
	$(BIN)/python -m benchmarks

clean: ## remove everything that was built
	rm -rf $(VENV) .bench .dist .jax_cache site build dist .pytest_cache .ruff_cache .import_linter_cache *.egg-info src/*.egg-info
