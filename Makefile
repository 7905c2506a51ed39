# Two commands do it all: `make run` and `make test`. Nothing but python3 (3.11+) is needed.
PYTHON ?= python3
VENV ?= .venv
PORT ?= 8788
BIN := $(VENV)/bin

.PHONY: run test lint bench chaos clean

run: $(VENV)/.run
	$(BIN)/python -P -m deploy.run $(if $(ONCE),--once --port 0,--port $(PORT))

# In the order of pyproject's testpaths, long files first: xdist's own order, the files with most
# tests first, ends with the longest on one core, and starts a farm of tests/hostile again and again.
test: lint
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The farm beside its peers, all on free ports; BENCH=--quick for two minutes.
bench: $(VENV)/.bench
	$(BIN)/python -P -m loadtest.bench $(BENCH)

# Every fault it promises to stand, under load: about eight minutes. ARGS="--list" names them.
chaos: $(VENV)/.test
	$(BIN)/python -P -m loadtest.chaos $(ARGS)

clean:
	rm -rf $(VENV) .data build *.egg-info .mypy_cache .ruff_cache .hypothesis

$(VENV)/.run: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[engines]'
	touch $@

$(VENV)/.test: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@ $(VENV)/.run

# Upstream's proxy brings onnxruntime for the CPU: not into an environment with the gpu extra.
$(VENV)/.bench: $(VENV)/.test
	$(BIN)/python -m pip install --quiet --editable '.[test,peers]'
	touch $@ $(VENV)/.test $(VENV)/.run
