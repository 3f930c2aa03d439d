# Everything runs in .venv, which the first command makes. `make help` lists the commands.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
EXTENSIONS := $(VENV)/.built
FAST := $(wildcard pumpwatch/_fast/*.pyx pumpwatch/_fast/*.pxd) setup.py
APT := $(if $(filter 0,$(shell id -u)),apt-get,sudo apt-get)

.PHONY: help demo test check fix wheel bench clean prerequisites

help:
	@echo "make demo    simulator + database + recorder for a minute, then a table (no exchange is contacted)"
	@echo "make test    the tests: unit tests, then the whole system against a real QuestDB"
	@echo "make check   formatting, lint, types"
	@echo "make bench   figures of this machine"
	@echo "make wheel   dist/*.whl for this platform"
	@echo "make clean   remove what was built"

prerequisites:
	@command -v $(PYTHON) >/dev/null || { echo "make: no $(PYTHON): install Python 3.11 or newer (Debian: apt-get install python3 python3-venv python3-dev)"; exit 69; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: $$($(PYTHON) --version) is too old: PumpWatch needs Python 3.11 or newer (make PYTHON=/path/to/python3.11)"; exit 69; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "make: $(PYTHON) has no venv module: $(APT) install python3-venv"; exit 69; }
	@$(PYTHON) -c 'import os, sysconfig, sys; sys.exit(not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")))' || { echo "make: Python's headers are missing: $(APT) install python3-dev"; exit 69; }
	@command -v $${CC:-cc} >/dev/null || { echo "make: no C compiler: $(APT) install gcc"; exit 69; }

$(STAMP): pyproject.toml | prerequisites
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@echo "installing what pyproject.toml names into $(VENV) ..."
	@$(PY) -m pip install --quiet --disable-pip-version-check "setuptools>=68,<90" "wheel>=0.42,<1" "cython>=3.2,<4" || { echo "make: pip could not install the build tools: is a package index reachable?"; exit 69; }
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-build-isolation -e ".[embedded,dev]" || { echo "make: pip could not install PumpWatch: see the lines above"; exit 69; }
	@touch $(STAMP) $(EXTENSIONS)

$(EXTENSIONS): $(FAST) | $(STAMP)
	@$(PY) setup.py -q build_ext -i
	@touch $(EXTENSIONS)

demo: $(STAMP) $(EXTENSIONS)
	@$(PY) -m pumpwatch demo $(DEMO)

test: $(STAMP) $(EXTENSIONS)
	$(PY) -m pytest $(PYTEST)

check: $(STAMP) $(EXTENSIONS)
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/flake8-async --disable=ASYNC114,ASYNC127,ASYNC9 $$(git ls-files 'pumpwatch/*.py')
	$(VENV)/bin/mypy

fix: $(STAMP)
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

bench: $(STAMP) $(EXTENSIONS)
	$(PY) -m bench.bench_daemon

wheel: $(STAMP)
	$(PY) -m pip wheel --quiet --disable-pip-version-check --no-build-isolation --no-deps -w dist .
	@ls dist

clean:
	rm -rf build dist *.egg-info $(VENV) pumpwatch/_fast/*.so
