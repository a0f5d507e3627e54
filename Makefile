# make demo    build a dataset from sample photographs into out/quickstart
# make test    lint, types, import layering and tests
# make bench   speed and memory, as ratios (minutes; not part of the tests)

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check \
	--constraint constraints.txt --editable

.PHONY: demo test bench clean

demo: .venv/demo.done
	$(BIN)/florilegium build configs/quickstart.yaml

test: .venv/test.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest

bench: .venv/test.done
	$(BIN)/python -m tests.benchmarks

clean:
	rm -rf .venv out

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv .venv

.venv/demo.done: .venv/bin/python pyproject.toml constraints.txt
	$(INSTALL) '.[starter,photographs]'
	touch $@

.venv/test.done: .venv/bin/python pyproject.toml constraints.txt
	$(INSTALL) '.[starter,photographs,dev]'
	touch $@
