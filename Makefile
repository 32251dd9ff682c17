# make demo and make test are all a user needs; both set up .venv first.
PYTHON ?= python3
JOBS ?= 2
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: setup demo test test-slow lint wheel clean

setup: $(STAMP)

$(STAMP): setup.py pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "Python 3.10 or newer is needed: make PYTHON=python3.11" >&2; exit 1; }
	@echo "Installing into $(VENV), about two and a half gigabytes the first time ..."
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install -qq --upgrade pip --constraint constraints.txt
	@$(PIP) install -qq --editable '.[torch,cuda,nvrtc,peers,fpga-peers,test]' --constraint constraints.txt
	@touch $@

demo: setup
	$(BIN)/espalier demo

test: setup
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal

test-slow: setup
	$(BIN)/python -m pytest -n $(JOBS) -m slow

lint: setup $(BIN)/ruff
	$(BIN)/ruff check .

$(BIN)/ruff: $(STAMP)
	@$(PIP) install -qq ruff --constraint constraints.txt
	@touch $@

wheel: setup
	$(PIP) wheel --no-deps --wheel-dir dist .

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
