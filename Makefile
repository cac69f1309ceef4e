# Everything happens in a virtual environment of its own: `make demo` and `make test` need Python >= 3.11 and nothing else.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SOURCES := agent instrument_adapters rewards simulators
REFERENCE := $(VENV)/reference
# Processes that share the tests; each test file stays with one of them.
JOBS ?= 2

.PHONY: help install reference demo docs check test lint types imports quick pytest format clean

help:
	@echo "make demo     agent and simulated microscope together, two closed-loop cycles"
	@echo "make check    lint, types, import contracts and the quick tests, in 60 to 90 seconds"
	@echo "make test     everything that CI checks: lint, types, import contracts, all tests"
	@echo "make install  the virtual environment $(VENV), with the command $(BIN)/vaestar"
	@echo "make reference  what benchmarks compare with: pyroVED, and the real loops of mexpsimu (43 MB)"
	@echo "make docs     the documentation as a site, docs/_build/index.html"
	@echo "make format   let ruff put the code in order"
	@echo "make clean    remove the environment and caches"

# torch first, from constraints.txt: whatever needs it afterwards finds it in place.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("vaestar needs Python 3.11 or later, this is " + sys.version.split()[0] + "; set PYTHON=python3.11") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check $$(grep '^torch==' constraints.txt)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test]'
	@touch $(STAMP)

# Beside the packages, not among them, and without what it requires: its wheel brings a package called `tests`, and torchvision.
$(REFERENCE)/pyroved: $(STAMP)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --upgrade --target $(REFERENCE) $$(grep '^pyroved==' constraints.txt)
	rm -rf $(REFERENCE)/tests
	@touch $@

install: $(STAMP)
	@echo "installed: $(BIN)/vaestar"

$(REFERENCE)/mexpsimu: $(STAMP)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --upgrade --target $(REFERENCE) $$(grep '^mexpsimu==' constraints.txt)
	@touch $@

reference: $(REFERENCE)/pyroved $(REFERENCE)/mexpsimu

demo: $(STAMP)
	$(BIN)/vaestar demo

# Warnings are errors, also links that lead nowhere.
docs: $(STAMP)
	$(BIN)/python -m sphinx -n -W --keep-going -q docs docs/_build
	@echo "built: docs/_build/index.html"

# The type checker runs beside the tests: cold, it takes half a minute of one core.
check: $(STAMP)
	@$(MAKE) --no-print-directory --jobs 2 --output-sync=target lint types imports quick

test: lint types imports pytest

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

imports: $(STAMP)
	$(BIN)/lint-imports

quick: $(STAMP)
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile -m "not system and not browser and not docs and not slow"

# The order of collection is kept (longest folders first): xdist would begin with the files that hold most tests.
pytest: $(STAMP) $(REFERENCE)/pyroved $(REFERENCE)/mexpsimu
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist docs/_build docs/generated
