# Two commands do everything: `make bench` and `make test`. Both set up .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CSRC := $(shell find csrc cmake -type f) CMakeLists.txt setup.py
CLANG_FORMATTED = $(shell find csrc tests/csrc -name '*.h' -o -name '*.c' -o -name '*.cpp' -o -name '*.cu')
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: bench test check lint format sanitize package triton-3.6 transformers-4 release-check clean help

help:
	@echo "make bench     build, install into $(VENV), check accuracy, time against the unfused torch ops"
	@echo "make test      the whole test suite"
	@echo "make check     the suite without its slow tests: about 3 minutes on two idle cores"
	@echo "make lint      ruff, mypy, clang-format"
	@echo "make format    rewrite sources in the house format"
	@echo "make sanitize  the extension's tests under ASan and UBSan"
	@echo "make package   wheel and sdist, each tried in a clean environment"
	@echo "make triton-3.6   the tests of the Triton kernels with the oldest Triton that is served"
	@echo "make transformers-4   the dialects of Transformers 4 against three of its releases"
	@echo "make release-check   what a release wants: a changelog, README and GPU report for these sources"

bench: $(VENV)/.installed
	$(BIN)/ropescale verify
	$(BIN)/ropescale bench

test: $(VENV)/.installed
	$(BIN)/pytest -n auto --dist worksteal

check: $(VENV)/.installed
	$(BIN)/pytest -n auto --dist worksteal -m "not slow"

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run -Werror $(CLANG_FORMATTED)

format: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CLANG_FORMATTED)

sanitize: $(VENV)/.installed
	tools/sanitize.sh $(BIN)

package: $(VENV)/.installed
	tools/try_package.sh $(PYTHON)

triton-3.6: $(VENV)/.installed
	tools/try_triton.sh $(BIN) 3.6.0 2.2.6

transformers-4: $(VENV)/.installed
	tools/try_transformers.sh $(BIN) 4.45.2 4.51.3 4.57.6

release-check: $(VENV)/.installed
	$(BIN)/python tools/release_check.py

clean:
	rm -rf build dist *.egg-info ropescale_kernels/_C*.so $(VENV)

$(VENV)/.ready: constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch
	$(PIP) setuptools pybind11 cmake ninja
	touch $@

$(VENV)/.installed: $(VENV)/.ready pyproject.toml $(CSRC)
	PYTHONWARNINGS=ignore PATH="$(abspath $(BIN)):$$PATH" $(PIP) --no-build-isolation -e '.[dev]'
	touch $@
