# Two commands, from a bare clone to a result:
#   make demo    denoise synthetic images, measure the gain, draw a picture
#   make test    every check: style, types, imports, manifest, tests
# Both first install what is missing, into .venv only. What can be said on the line:
#   PYTHON=python3.12    the Python to use, 3.11 or newer
#   PIP_ARGS="..."       words for pip, such as another source of torch (see README.md)

PYTHON ?= python3
PIP_ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed

# What pytest ends with where every file is skipped, as those of the docks are where
# there is neither a display nor Xvfb.
NO_TESTS := 5
# Two processes, each of which runs whole files, in the order of tests/conftest.py.
PARALLEL := -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: demo test picture screenshots python venv-module

demo: $(INSTALLED)
	@$(BIN)/blindsound demo

# Tests of the docks that ask nothing of the binding to Qt: once is enough. Such tests in
# other files are marked so.
ONCE := session lazy_layer manifest worker commands ending stages found third_party \
  preferences context layers uncertainty compare preview_layer

# The networks of the tests are so small that a second thread only costs time.
test: export OMP_NUM_THREADS ?= 1
test: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/npe2 validate napari-blindsound
	$(BIN)/python -m pytest $(PARALLEL)
	@echo "The docks once more, with the other binding to Qt:"
	PYTEST_QT_API=pyside6 $(BIN)/python -m pytest $(PARALLEL) tests/gui \
	  -m "not once" $(ONCE:%=--ignore=tests/gui/test_%.py) || [ $$? = $(NO_TESTS) ]

# The picture of the README, from a fresh demo.
picture: demo
	$(BIN)/python -c "from PIL import Image; \
	  picture = Image.open('blindsound-demo/before_after.png'); \
	  picture.thumbnail((900, 900), Image.Resampling.LANCZOS); \
	  picture.save('docs/demo.png', optimize=True)"

# The docks at work, step by step, in both themes, and the animation of the README.
screenshots: $(INSTALLED)
	xvfb-run -a -s "-screen 0 1280x1024x24" $(BIN)/python docs/screenshots.py

$(INSTALLED): pyproject.toml constraints.txt
	@$(MAKE) --no-print-directory python venv-module
	$(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV); torch is large, so the first time takes minutes."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) \
	  -c constraints.txt -e ".[test]"
	@touch $@

python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Python 3.11 or newer is needed, but '$(PYTHON)' is" \
	    "$$($(PYTHON) --version 2>/dev/null || echo missing): install one and name it," \
	    "such as: make PYTHON=python3.12 demo" >&2; exit 1; }

# Debian ships Python without the module that makes virtual environments.
venv-module:
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
	  package=$$($(PYTHON) -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'); \
	  if ! command -v apt-get >/dev/null; then root=false; \
	  elif [ "$$(id -u)" = 0 ]; then root=env; \
	  else root="sudo -n"; fi; \
	  echo "Installing $$package"; \
	  { $$root apt-get update -qq \
	    && $$root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $$package; \
	  } >/dev/null || { echo "$(PYTHON) lacks the module venv: ask an administrator for" \
	    "'apt-get install $$package', then try again" >&2; exit 1; }; }
