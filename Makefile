# Everything runs in .venv, which the first command makes. `make help` lists the commands.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
EXTENSIONS := $(VENV)/.built
SERVER_CACHE := build/server.aot
FAST := $(wildcard pumpwatch/_fast/*.pyx pumpwatch/_fast/*.pxd) setup.py
APT := $(if $(filter 0,$(shell id -u)),apt-get,sudo apt-get)

# Where modules may not be kept compiled, each of some hundred processes compiles a thousand of them.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test test-c check fix wheel drills drills-full drills-short bench clean prerequisites asan fuzz bench-peers instructions instructions-update

help:
	@echo "make demo    simulator + database + recorder for a minute, then a table (no exchange is contacted)"
	@echo "make test    the tests: units, and the whole system against a real QuestDB"
	@echo "make test-c  the C code's own checks: sanitizers in short, instructions per row"
	@echo "make check   formatting, lint, types"
	@echo "make drills  the long forms of all drills: 300 kills, 1,000 damaged spools, 20 full disks"
	@echo "make drills-full   the whole drill book and a soak of two hours, figures into docs/drills.md"
	@echo "make drills-short  the short forms of all drills; CI plays them after the tests"
	@echo "make bench   every bench, figures into bench/RESULTS.md"
	@echo "make instructions         instructions per row of each format against bench/instructions.tsv"
	@echo "make instructions-update  rewrite that table"
	@echo "make asan    the C code's tests under AddressSanitizer and UBSan"
	@echo "make fuzz    a minute of each fuzz target (FUZZ_S=60)"
	@echo "make wheel   dist/*.whl for this platform"
	@echo "make clean   remove what was built"

prerequisites:
	@command -v $(PYTHON) >/dev/null || { echo "make: no $(PYTHON): install Python 3.11 or newer (Debian: apt-get install python3 python3-venv python3-dev)"; exit 69; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: $$($(PYTHON) --version) is too old: PumpWatch needs Python 3.11 or newer (make PYTHON=/path/to/python3.11)"; exit 69; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "make: $(PYTHON) has no venv module: $(APT) install python3-venv"; exit 69; }
	@$(PYTHON) -c 'import os, sysconfig, sys; sys.exit(not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")))' || { echo "make: Python's headers are missing: $(APT) install python3-dev"; exit 69; }
	@command -v $${CC:-cc} >/dev/null || { echo "make: no C compiler: $(APT) install gcc"; exit 69; }

# uv takes seconds where pip takes two minutes; it knows nothing of pip's settings, so pip comes after.
$(STAMP): pyproject.toml | prerequisites
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@echo "installing what pyproject.toml names into $(VENV) ..."
	@$(PY) -m pip install --quiet --disable-pip-version-check "setuptools>=68,<90" "wheel>=0.42,<1" "cython>=3.2,<4" || { echo "make: pip could not install the build tools: is a package index reachable?"; exit 69; }
	@$(PY) -m pip install --quiet --disable-pip-version-check "uv>=0.9,<1" && $(VENV)/bin/uv pip install --quiet --native-tls --python $(PY) --no-build-isolation -e ".[embedded,dev]" \
		|| { echo "make: uv could not install PumpWatch, pip tries"; \
		$(PY) -m pip install --quiet --disable-pip-version-check --no-build-isolation -e ".[embedded,dev]" || { echo "make: pip could not install PumpWatch: see the lines above"; exit 69; }; }
	@touch $(STAMP) $(EXTENSIONS)

$(EXTENSIONS): $(FAST) | $(STAMP)
	@$(PY) setup.py -q build_ext -i
	@touch $(EXTENSIONS)

# Tests go on without it: then each of their servers takes a second longer to start.
$(SERVER_CACHE): $(STAMP) $(EXTENSIONS)
	@$(PY) -m tests.java_cache $@ > /dev/null || echo "make: no $@: servers start slower"

demo: $(STAMP) $(EXTENSIONS)
	@$(PY) -m pumpwatch demo $(DEMO)

# More workers than cores: while one waits for a database another computes.
# PYTEST="tests/store -k spool" runs only that.
WORKERS ?= 3
RUN_PYTEST = $(PY) -m pytest -n $(WORKERS) --dist loadscope --no-loadscope-reorder --durations=25 --durations-min=8
test: $(STAMP) $(EXTENSIONS) $(SERVER_CACHE)
	$(RUN_PYTEST) $(PYTEST)

# What CI runs beside the drills: the short form of asan, and the table of instructions.
test-c: $(STAMP) $(EXTENSIONS)
	@$(MAKE) --no-print-directory asan PROFILE=brief
	@$(MAKE) --no-print-directory instructions
	@echo "make: the C code is clean under AddressSanitizer and UBSan, and no format got 10 % dearer"

check: $(STAMP) $(EXTENSIONS)
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/flake8-async --disable=ASYNC114,ASYNC127,ASYNC9 $$(git ls-files 'pumpwatch/*.py')
	$(VENV)/bin/mypy

fix: $(STAMP)
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

# The long forms: hours on two cores. SEED=n repeats one; DRILLS="crash disk" plays only these.
SEED ?= 1
DRILLS ?= crash outage console disk poison power burst shutdown
drills: $(STAMP) $(EXTENSIONS)
	@failed=0; for drill in $(DRILLS); do $(PY) -m pumpwatch drill $$drill --long --seed $(SEED) || failed=1; done; exit $$failed

# The whole book: the full forms, with a soak of two hours; the lines go into docs/drills.md.
drills-full: $(STAMP) $(EXTENSIONS)
	@mkdir -p build; failed=0; \
	$(PY) -m pytest -m drill tests/system/test_upkeep.py tests/capture/test_virtual.py || failed=1; \
	$(PY) -m pumpwatch drill all --full --seed $(SEED) > build/drills.jsonl || failed=1; \
	$(PY) -m bench.drill_book build/drills.jsonl; cat build/drills.jsonl; exit $$failed

# They wait most of their time: for faults to last, for holes to close, for alerts.
DRILL_WORKERS ?= 4
drills-short: $(STAMP) $(EXTENSIONS) $(SERVER_CACHE)
	$(PY) -m pytest -m drill -n $(DRILL_WORKERS) --dist load --maxschedchunk 1 \
		--durations=0 --durations-min=1 -o faulthandler_timeout=0 \
		tests/system/test_drills.py tests/system/test_secrets.py

# All benches, half an hour on a quiet machine; BENCH="tls daemon" runs only these.
bench: $(STAMP) $(EXTENSIONS)
	$(PY) -m bench.report $(BENCH)

# cryptofeed wants a newer Python than PumpWatch does, and an environment of its own (AGPL: only run).
PEERS_PYTHON ?= python3.13
bench-peers: $(STAMP) $(EXTENSIONS)
	@$(PY) -c 'import orjson' 2>/dev/null || $(PY) -m pip install --quiet --disable-pip-version-check "orjson>=3.10,<4"
	@if ! command -v $(PEERS_PYTHON) >/dev/null; then echo "make: no $(PEERS_PYTHON): cryptofeed is left out"; \
	elif ! build/peers/bin/python -c 'import cryptofeed' 2>/dev/null; then \
		$(PEERS_PYTHON) -m venv build/peers && build/peers/bin/python -m pip install --quiet --disable-pip-version-check "cryptofeed>=3,<4" \
		|| { echo "make: cryptofeed cannot be installed: it is left out"; rm -rf build/peers; }; fi
	$(PY) -m bench.bench_peers

VALGRIND = command -v valgrind >/dev/null || { $(APT) update -qq && $(APT) install -y -qq valgrind; } || { echo "make: no valgrind and no way to install it"; exit 69; }

instructions: $(STAMP) $(EXTENSIONS)
	@$(VALGRIND)
	@$(PY) -m bench.instructions

instructions-update: $(STAMP) $(EXTENSIONS)
	@$(VALGRIND)
	@$(PY) -m bench.instructions --update

# A build of its own: other flags, and cythonize does not see flags change. What bounds memory cannot
# be seen where freed memory is held back on purpose.
PROFILE ?= pumpwatch
asan: $(STAMP)
	rm -rf build/asan && mkdir -p build/asan
	git ls-files -z pumpwatch tests bench schema setup.py pyproject.toml | xargs -0 cp -p --parents -t build/asan
	if [ -d build/cython ]; then mkdir build/asan/build && cp -a build/cython build/asan/build; fi  # the same C
	cd build/asan && CFLAGS="$(SANITIZE)" PUMPWATCH_OPTIMIZE=-O0 $(abspath $(PY)) setup.py -q build_ext -i
	cd build/asan && LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libubsan.so)" PYTHONMALLOC=malloc \
		ASAN_OPTIONS=detect_leaks=0:halt_on_error=1 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 \
		$(abspath $(PY)) -m pytest tests/_fast tests/fuzz -q -p no:cacheprovider --hypothesis-profile=$(PROFILE) -o faulthandler_timeout=600 \
		--deselect tests/_fast/test_frames.py::test_memory_stays_bounded $(PYTEST)
SANITIZE = -g -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer

FUZZ_S ?= 60
FUZZ_TARGETS = frames ilp spool $(foreach x,binance bybit okx kucoin gate phemex,$(x)_spot $(x)_futures)
fuzz: $(STAMP)
	@$(PY) -c 'import atheris' 2>/dev/null || $(PY) -m pip install --quiet --disable-pip-version-check --no-build-isolation -e ".[fuzz]"
	@$(MAKE) --no-print-directory $(EXTENSIONS)
	@for target in $(FUZZ_TARGETS); do $(PY) -m tests.fuzz $$target --seconds $(FUZZ_S) || exit 1; done

wheel: $(STAMP)
	$(PY) -m pip wheel --quiet --disable-pip-version-check --no-build-isolation --no-deps -w dist .
	@ls dist

clean:
	rm -rf build dist *.egg-info $(VENV) pumpwatch/_fast/*.so
