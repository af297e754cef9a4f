# Everything a newcomer needs: `make demo` registers two brains, `make test` runs every check.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
STAMP = $(VENV)/.installed
# The real brains lie beside the repository where they have been put there; otherwise a pair that
# was downloaded, otherwise the embedded one.
NEVF_DATA ?= $(wildcard $(abspath ../shared/data))
export NEVF_DATA

.PHONY: help demo test lint bench clean

help:
	@echo "make demo   register two brains, print Dice before and after, write a report"
	@echo "make test   run every check"
	@echo "make lint   style only"
	@echo "make bench  seconds per iteration and peak memory at 4, 2 and 1 mm"
	@echo "make clean  remove the environment and what was built"

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test]'
	@touch $@

demo: $(STAMP)
	$(BIN)/nevf demo

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# Quick tests first, on both cores with one thread each; then the long ones with both cores each.
test: $(STAMP) lint
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile -q
	$(BIN)/python -m pytest -m slow -q --durations=10

bench: $(STAMP)
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) _build *.egg-info .pytest_cache .hypothesis .ruff_cache
