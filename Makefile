# Two commands do all the set-up: `make demo` and `make test`. Both create .venv when it is missing or out of date.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export OMP_NUM_THREADS ?= 1

.PHONY: demo test check clean
.DELETE_ON_ERROR:

$(VENV)/.ready: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=24"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev,benchmarks]"
	touch $@

demo: $(VENV)/.ready
	$(BIN)/sartor search images --limit latency=1ms --limit params=60k --trials 24 --epochs 12 --out demo-out

test: $(VENV)/.ready
	$(BIN)/python -m pytest

check: $(VENV)/.ready
	$(BIN)/ruff check sartor tests benchmarks docs
	$(BIN)/mypy

clean:
	rm -rf $(VENV) demo-out build *.egg-info
