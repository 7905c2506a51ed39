# Two commands do it all: `make run` and `make test`. Nothing but python3 (3.11+) is needed.
PYTHON ?= python3
VENV ?= .venv
PORT ?= 8788
BIN := $(VENV)/bin

# Bytecode is kept whatever the environment says: else each process compiles all that it imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test coverage lint audit changelog bench bill fidelity chaos litellm clean

run: $(VENV)/.run
	$(BIN)/python -P -m deploy.run $(if $(ONCE),--once --port 0,--port $(PORT))

# In the order of pyproject's testpaths, long files first: xdist's own order, the files with most
# tests first, ends with the longest on one core, and starts a farm of tests/hostile again and again.
SUITE := -m pytest -n 4 --dist loadfile --no-loadscope-reorder

test: lint
	$(BIN)/python $(SUITE)

# The same, measured: fails where the tests run less of the code than pyproject.toml's fail_under.
# Measuring costs 20 to 45 % more processor time, so `make test` goes without.
coverage: lint
	rm -rf .coverage && mkdir .coverage
	$(BIN)/python -m coverage run $(SUITE)
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Known vulnerabilities in what is installed here and in what the images install.
audit: $(VENV)/.test
	$(PYTHON) -m venv $(VENV)/audit
	$(VENV)/audit/bin/python -m pip install --quiet 'pip-audit>=2.9,<3'
	$(VENV)/audit/bin/pip-audit --path "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" --skip-editable
	$(VENV)/audit/bin/pip-audit --no-deps --disable-pip -r deploy/docker/constraints.txt

# VERSION=1.2.0 moves the fragments of changes/ into CHANGELOG.md.
changelog: $(VENV)/.test
	$(BIN)/towncrier build --yes --version $(VERSION)

# The farm and its peers, all on free ports; BENCH=--quick for two minutes.
bench: $(VENV)/.bench
	$(BIN)/python -P -m loadtest.bench $(BENCH)

# What providers bill for sessions of coding agents, with the farm and with its peers; real clients
# where npm is at hand. ARGS="--generated --no-peers" is the short way.
bill: $(VENV)/.bench
	$(BIN)/python -P -m loadtest.bill $(ARGS)

# What a reader still has of tool results, and what a check of each costs: docs/fidelity.md. Fails
# where something that must be seen is hidden, lost or made up. ARGS=--no-page leaves the page.
fidelity: $(VENV)/.bench
	$(BIN)/python -P -m loadtest.fidelity $(ARGS)

# LiteLLM's proxy server beside the tests' own packages (650 MB); tests/conformance runs it then.
litellm: $(VENV)/.test
	$(PYTHON) -m venv $(VENV)/litellm
	$(VENV)/litellm/bin/python -m pip install --quiet -r tests/conformance/litellm.txt

# Every fault it promises to stand, under load: about twenty minutes. ARGS=--list names them,
# ARGS=--proxy plays those of the proxy.
chaos: $(VENV)/.test
	$(BIN)/python -P -m loadtest.chaos $(ARGS)

clean:
	rm -rf $(VENV) .data .coverage build *.egg-info .mypy_cache .ruff_cache .hypothesis

# Python compiles a module when it is first imported: compiling all of them here takes a minute.
# Twice quiet is errors only: newer pips print setuptools' warnings otherwise, that folders of data
# (api/static) are no packages. Their files are packed all the same.
INSTALL := -m pip install --quiet --quiet --no-compile --editable

# Debian's pip takes twice as long to choose versions. Where no newer one is to be had, it is used.
$(BIN)/pip:
	$(PYTHON) -m venv $(VENV)
	-$(BIN)/python -m pip install --quiet --retries 0 --upgrade 'pip>=26,<27'

$(VENV)/.run: pyproject.toml | $(BIN)/pip
	$(BIN)/python $(INSTALL) '.[engines]'
	touch $@

$(VENV)/.test: pyproject.toml | $(BIN)/pip
	$(BIN)/python $(INSTALL) '.[test]'
	touch $@ $(VENV)/.run

# Upstream's proxy brings onnxruntime for the CPU: not into an environment with the gpu extra.
$(VENV)/.bench: $(VENV)/.test
	$(BIN)/python $(INSTALL) '.[test,peers]'
	touch $@ $(VENV)/.test $(VENV)/.run
