# Every target installs what it needs into .venv and touches nothing outside of the checkout.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

# The tested versions: `make test` and continuous integration install exactly these. `make lock` renews them.
LOCK := constraints.txt

.PHONY: demo test coverage lint lock newest bench fuzz docs tutorials clean

# Each set of packages has a stamp, so that nothing is installed twice.
$(VENV)/.core: pyproject.toml
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'cinesax needs Python 3.11 or later; name one with: make PYTHON=python3.12')"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --editable .
	touch $@

$(VENV)/.dev: pyproject.toml $(LOCK) $(VENV)/.core
	$(PIP) install --quiet "pip>=25.1"
	$(PIP) install --quiet --constraint $(LOCK) --editable ".[all]" --group dev
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
	$(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder

# The same tests with coverage. On Python 3.11, counting lines makes them about 40 % slower.
coverage: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder --cov --cov-report=term

# The newest version of everything that pyproject.toml allows, in an environment of its own, as constraints.txt.
lock: $(VENV)/.core
	rm -rf build/newest
	$(PYTHON) -m venv build/newest
	build/newest/bin/python -m pip --disable-pip-version-check install --quiet "pip>=25.1"
	build/newest/bin/python -m pip --disable-pip-version-check install --quiet --editable ".[all]" --group dev
	build/newest/bin/python -m pip --disable-pip-version-check freeze --exclude-editable > $(LOCK)

# What a user gets who installs today: the tests that need no training, with the newest versions. Where these are
# the tested ones, there is nothing more to run.
newest:
	rm -rf build/newest
	$(PYTHON) -m venv build/newest
	build/newest/bin/python -m pip --disable-pip-version-check install --quiet "pip>=25.1"
	build/newest/bin/python -m pip --disable-pip-version-check install --quiet --editable ".[all]" --group dev
	if build/newest/bin/python -m pip --disable-pip-version-check freeze --exclude-editable | diff $(LOCK) -; then \
	  echo "the newest versions are the tested ones"; \
	else \
	  build/newest/bin/python -m pytest -q -n 2 --dist loadscope --no-loadscope-reorder -m "not train" tests; \
	fi

bench: $(VENV)/.dev
	$(BIN)/python benchmarks/discretisation.py
	$(BIN)/python benchmarks/read.py
	$(BIN)/python benchmarks/edit.py
	$(BIN)/python benchmarks/reader.py
	$(BIN)/python benchmarks/reader_page.py
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
