# Everything is installed once, into .venv; make remembers it by the files .venv/.installed*.
# PYTHON=python3.13 uses that Python, in an environment of its own (.venv-python3.13).
# ARGS is passed on: make test ARGS="-k recipe", make run ARGS="--server.port 8600".
# make run ARGS="--server.fileWatcherType auto" draws pages anew when their sources change.
PYTHON ?=
ARGS ?=
VENV := .venv$(if $(PYTHON),-$(notdir $(PYTHON)))
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check

.PHONY: help setup run test check words bench clean

help:
	@echo "make run    set everything up and open the app at http://localhost:8501"
	@echo "make setup  set everything up (about 6 GB, once)"
	@echo "make test   run all tests, in a real browser too"
	@echo "make check  lint, format and types"
	@echo "make words  bring the catalogues of translations up to date with the sources"
	@echo "make bench  run the benchmarks"
	@echo "make clean  delete what make installed and the tools' caches"

setup: $(VENV)/.installed $(VENV)/.installed-data $(VENV)/.installed-wasm

run: setup
	$(BIN)/streamlit run app.py $(ARGS)

test: setup $(VENV)/.installed-dev $(VENV)/.installed-browser
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder $(ARGS)

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

words: $(VENV)/.installed
	$(BIN)/python -m compression.language.extraction

bench: setup
	$(BIN)/python -m benchmarks $(ARGS)

clean:
	rm -rf .venv .venv-* .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

$(BIN)/python:
	@scripts/make-venv.sh $(VENV) $(PYTHON)

$(VENV)/.installed: requirements.txt | $(BIN)/python
	$(INSTALL) -r requirements.txt
	@touch $@

$(VENV)/.installed-dev: requirements-dev.txt $(VENV)/.installed
	$(INSTALL) -r requirements-dev.txt
	@touch $@

# Tried again at the next start if it fails; Digits, which is always there, is enough to begin with.
$(VENV)/.installed-data: | $(VENV)/.installed
	@if scripts/fetch-data.sh $(BIN)/python; then touch $@; fi

# ONNX Runtime for the page Browser. Tried again likewise; without npm the page says what is missing.
$(VENV)/.installed-wasm: | $(VENV)/.installed
	@if $(BIN)/python -m compression probe browser; then touch $@; fi

$(VENV)/.installed-browser: | $(VENV)/.installed-dev
	@scripts/find-browser.sh $(BIN)/python
	@touch $@
