# `make demo` and `make test` need only python3 (3.11 or newer), pip, gcc and make.
PYTHON ?= python3
VENV ?= .venv
SIZE ?= 128
MINUTES ?= 3
OUT ?= demo
KILLS ?= 50
MARKS ?= not long
PIP_FLAGS ?= --quiet --disable-pip-version-check
BIN = $(VENV)/bin

.PHONY: help demo test soak lint clean
help:
	@echo "make demo               a synthetic head: capture, train, render, evaluate"
	@echo "make demo VIDEO=a.mp4   the same on a real video (SIZE=$(SIZE) MINUTES=$(MINUTES) OUT=$(OUT))"
	@echo "make test               the test suite; make test MARKS= also what takes longest"
	@echo "make soak               a training killed KILLS=$(KILLS) times, then compared bit for bit"

$(BIN)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install $(PIP_FLAGS) --editable '.[all,test]'
	touch $@

demo: $(BIN)/installed
	$(BIN)/python -m jaxhead.app.demo --out "$(OUT)" --size $(SIZE) --minutes $(MINUTES) $(if $(VIDEO),--video "$(VIDEO)")

test: $(BIN)/installed
	$(BIN)/python -m pytest -n 2 --dist loadfile -q -m "$(MARKS)" $(TESTS)

soak: $(BIN)/installed
	JAXHEAD_KILLS=$(KILLS) $(BIN)/python -m pytest -q tests/training/test_interruptions.py -k kill

lint: $(BIN)/installed
	$(BIN)/ruff check .

clean:
	rm -rf $(VENV) build dist *.egg-info
