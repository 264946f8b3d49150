# Every target installs what it needs into .venv and touches nothing outside of the checkout.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: demo test lint bench docs tutorials clean

# Each set of packages has a stamp, so that nothing is installed twice.
$(VENV)/.core: pyproject.toml
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'cinesax needs Python 3.11 or later; name one with: make PYTHON=python3.12')"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --editable .
	touch $@

$(VENV)/.dev: pyproject.toml $(VENV)/.core
	$(PIP) install --quiet "pip>=25.1"
	$(PIP) install --quiet --editable ".[all]" --group dev
	touch $@

demo: $(VENV)/.core
	$(BIN)/cinesax phantom demo/exam --seed 7 --decoys --force
	$(BIN)/cinesax analyze demo/exam -o demo/result --force

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

test: lint
	$(BIN)/python -m pytest -n 2 --dist loadgroup

bench: $(VENV)/.dev
	$(BIN)/python benchmarks/discretisation.py
	$(BIN)/python benchmarks/read.py
	$(BIN)/python benchmarks/analyze.py
	$(BIN)/python benchmarks/accuracy.py

# Damaged exams by the thousand, outside of continuous integration; what was run is not run again (--fresh does).
FUZZ ?= --inputs 10000 --kills 50
fuzz: $(VENV)/.dev
	cd tests && ../$(BIN)/python -m fuzz $(FUZZ)

docs: $(VENV)/.core
	$(PIP) install --quiet "pip>=25.1"
	$(PIP) install --quiet --group docs
	$(BIN)/mkdocs build --strict

# Executed notebooks, with links from one to the next. DATA: a folder with train and validation pairs; without it the
# hearts are synthetic.
tutorials: $(VENV)/.core
	$(PIP) install --quiet "pip>=25.1"
	$(PIP) install --quiet --editable ".[train]" --group tutorials
	mkdir -p build/tutorials
	set -e; for lesson in tutorials/0*.py; do \
	  sed 's/\(0[1-7]_[a-z_]*\)\.py)/\1.ipynb)/g' $$lesson | JUPYTER_PREFER_ENV_PATH=1 \
	    CINESAX_TUTORIAL_DATA="$(abspath $(DATA))" $(BIN)/python -m jupytext --from py:percent --to notebook --execute \
	    --run-path tutorials --output build/tutorials/$$(basename $$lesson .py).ipynb -; \
	done

clean:
	rm -rf $(VENV) demo build dist site
