# make demo   set up and steady the sample clip      make test   set up and run the tests
# make check  ruff and mypy                           make soak   the kill loops, hundreds of rounds

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SAMPLE := examples/handheld.mp4

# Set in many containers; the tests start Python thousands of times, each three times as slow then.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test check soak clean

demo: $(VENV)/.stabilize
	@$(BIN)/python -m services.stabilize $(SAMPLE) --overwrite

test: $(VENV)/.test
	$(BIN)/python -m pytest -q --numprocesses 4 --dist loadfile --no-loadscope-reorder

check: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

soak: $(VENV)/.test
	$(BIN)/python -m pytest -m soak -s

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed: make demo PYTHON=python3.11"; exit 4; }
	$(PYTHON) -m venv $(VENV)

# A set that is installed leaves a mark, newer than what asks for it.
$(VENV)/.%: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[$*]'
	@touch $@

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache
