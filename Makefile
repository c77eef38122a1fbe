# `make em` trains the default job, `make test` runs the tests; each sets up all it needs first.
VENV ?= .venv
PYTHON ?= python3
ARGS ?=

$(VENV)/.ready: requirements.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r requirements.txt
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

.PHONY: em test lint
em: $(VENV)/.ready
	$(VENV)/bin/python -m focus_jax.main --config=configs/em.py $(ARGS)

test: $(VENV)/.ready
	$(VENV)/bin/python -m pytest -n auto --maxprocesses 4 --dist loadfile $(ARGS)

lint: $(VENV)/.ready
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports
	$(VENV)/bin/pyright --pythonpath $(VENV)/bin/python
