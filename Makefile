# Every target sets itself up: a machine with git, make and Python >= 3.11 is enough.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys, venv, ensurepip; sys.exit(not ((3, 11) <= sys.version_info[:2] < (3, 14)))' >/dev/null 2>&1 \
	&& { echo $$p; break; }; done)
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed

.PHONY: setup demo test test-spark check schemas lock clean bench soak
.DEFAULT_GOAL := help

help:
	@echo "make setup   makes the environment in .venv"
	@echo "make demo    simulate, train, serve, drive payments through it (ONCE=1 exits afterwards)"
	@echo "make test    install and run every check and every test (10 to 15 minutes)"
	@echo "make test-spark   install PySpark too and hold its features to the single machine's (needs Java 17)"
	@echo "make check   ruff, mypy --strict, import-linter"
	@echo "make bench   the micro-benchmarks of the hot path"
	@echo "make soak    the same load for a long time (MINUTES=30): does memory grow, does latency?"

setup: $(STAMP)

$(STAMP): requirements/dev.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "Pointsman needs Python 3.11, 3.12 or 3.13 with the venv module on PATH (on Debian and Ubuntu: apt-get install python3-venv)"; exit 1; }
	@test -x $(PY) || { echo "making the environment in $(VENV) with $(PYTHON)"; $(PYTHON) -m venv $(VENV); }
	@echo "installing the pinned packages (about 300 MB the first time)"
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@$(PY) -c "import xgboost" 2>/dev/null || { echo "xgboost cannot be loaded: on macOS it needs the OpenMP runtime (brew install libomp), then run this again"; exit 1; }
	@touch $(STAMP)

check: setup
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports

test: check
	@sh tests/need_redis.sh
	@sh tests/need_prometheus.sh
# Whole files, so that what a file makes once is made once.
	@$(PY) -m pytest -n 2 --dist loadfile

test-spark: setup
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/spark.txt
	@$(PY) -c "from trainer.features.prerequisites import require_spark; require_spark()"
	@$(PY) -m pytest tests/trainer/features/test_spark.py

demo: setup
	@$(PY) -m benchmarks.demo $(if $(ONCE),--once,)

bench: setup
	@$(PY) -m pytest benchmarks --benchmark-enable --benchmark-only

soak: setup
	@$(PY) -m benchmarks.soak --minutes $(or $(MINUTES),30)

schemas: setup
	@$(PY) -m contracts

# The pins: made again with uv, without any index line.
lock:
	@for s in service kernels client trainer dev spark; do \
	  (cd requirements && uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-header \
	   --python-version 3.11 $$s.in $$(test $$s = spark && echo -c trainer.txt) -o $$s.txt) || exit 1; done

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache
