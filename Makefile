# Every target installs what it needs into .venv first, and only when pyproject.toml or constraints.txt have changed.
PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
DEMO ?= runs/digits
DEMO_SET ?=

.PHONY: help demo test lint format docs bench clean

help:  ## what there is to make
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: .venv/.run  ## train on real handwritten digits, sample them, evaluate them: runs/digits
	$(BIN)/undiffuse train digits --out $(DEMO) $(DEMO_SET) $(if $(wildcard $(DEMO)/recipe.toml),--resume)
	$(BIN)/undiffuse evaluate $(DEMO)
	@echo "Look at $(DEMO)/evaluation.png, $(DEMO)/denoising.png and $(DEMO)/report.html"

test: .venv/.dev  ## the whole test suite
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist worksteal

lint: .venv/.dev  ## ruff, ruff format and pyright
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

format: .venv/.dev  ## let ruff put the code in order
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: .venv/.docs  ## build the documentation: site/index.html
	$(BIN)/mkdocs build --strict --quiet
	@echo "Look at site/index.html"

bench: .venv/.dev  ## every benchmark, one table each (benchmarks/README.md names them)
	@for script in benchmarks/[a-z]*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

clean:  ## remove the virtual environment and everything that was built
	rm -rf .venv site dist .pytest_cache .ruff_cache .hypothesis

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "undiffuse needs Python 3.11 or newer; '$(PYTHON)' is missing or older. Try: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@echo "Creating .venv"
	@$(PYTHON) -m venv .venv || { rm -rf .venv; \
	  echo "'$(PYTHON) -m venv' failed; on Debian and Ubuntu it is in the package python3-venv" >&2; exit 1; }

.venv/.run: pyproject.toml constraints.txt | .venv/bin/python
	@echo "Installing undiffuse and what it runs on (once; PyTorch is the large part)"
	@$(INSTALL) --editable .
	@touch $@

.venv/.dev: pyproject.toml constraints.txt | .venv/bin/python
	@echo "Installing undiffuse and what its tests and checks need"
	@$(INSTALL) --editable '.[dev]'
	@touch $@ .venv/.run

.venv/.docs: pyproject.toml constraints.txt | .venv/bin/python
	@echo "Installing undiffuse and what its documentation needs"
	@$(INSTALL) --editable '.[docs]'
	@touch $@ .venv/.run
