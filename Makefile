# `make em` trains the default job, `make test` runs the tests; each sets up all it needs first.
# EXTRA is an extra of pyproject.toml for the machine at hand: `make em EXTRA=cuda13`.
VENV ?= .venv
PYTHON ?= python3
ARGS ?=
EXTRA ?=
READY = $(VENV)/.ready$(if $(EXTRA),-$(EXTRA))

$(VENV)/.ready: requirements.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r requirements.txt
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

$(VENV)/.ready-%: $(VENV)/.ready
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --constraint requirements.txt --editable ".[$*]"
	touch $@

.PHONY: em test lint docs blocks bench
em: $(READY)
	$(VENV)/bin/python -m focus_jax.main --config=configs/em.py $(ARGS)

test: $(READY)
	$(VENV)/bin/python -m pytest -n auto --maxprocesses 4 --dist loadfile $(ARGS)

lint: $(VENV)/.ready
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports
	$(VENV)/bin/pyright --pythonpath $(VENV)/bin/python

# The site, from nothing, with the notebook run; what it warns of is an error.
docs: $(VENV)/.ready-docs
	rm -rf docs/_build docs/_api
	$(VENV)/bin/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	$(VENV)/bin/python docs/links.py docs/_build/html README.md CONTRIBUTING.md

# The code blocks of these pages, as they stand.
blocks: $(VENV)/.ready
	$(VENV)/bin/python docs/blocks.py README.md docs/get_started.md docs/parts.md docs/extending.md

# What the commands and each stage take on this machine.
bench: $(READY)
	$(VENV)/bin/python -m benchmarks.shipped $(ARGS)
