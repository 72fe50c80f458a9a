# Everything a person or CI does, by one word. `make` alone lists the words.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
.DEFAULT_GOAL := help
unexport PYTHONDONTWRITEBYTECODE  # else every process of every test compiles everything anew
PYTEST = $(BIN)/pytest -q
SIDE_BY_SIDE = -n 3 --dist loadfile --no-loadscope-reorder  # on both processors, and one more for those that wait; a module's tests together
UNIT = $$($(BIN)/python -m tests.groups)
OTHERS = $$($(BIN)/python -m tests.groups | sed s/^/--ignore=/)  # what need not be imported to run the others
# uv installs in seconds; it does not know pip's configuration, so where only that leads to an index, pip installs
install = $(BIN)/uv pip install --python $(BIN)/python --require-hashes -r $(1) || $(BIN)/pip install --quiet --disable-pip-version-check --progress-bar on --require-hashes -r $(1)
WHOLE = $$(grep -rl --include='test_*.py' 'mark\.whole' tests | sort)

help:  ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(VENV)/run.stamp: deploy/requirements-setup.lock deploy/requirements.lock pyproject.toml
	@echo "==> setting up $(VENV) (seconds with a fast network, once)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Flotilla needs Python 3.11 or later")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r deploy/requirements-setup.lock
	@$(call install,deploy/requirements.lock)
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/dev.stamp: deploy/requirements-dev.lock $(VENV)/run.stamp
	@echo "==> adding what tests and checks need"
	@$(call install,deploy/requirements-dev.lock)
	@touch $@

setup: $(VENV)/run.stamp  ## the virtual environment that the other words use

run: setup  ## the whole platform in the foreground, nothing to install, data in ./data
	@$(BIN)/flotilla run

demo: setup  ## the main job as a story: 50 simulated devices from sign-up to release
	@$(BIN)/flotilla demo

demo-up: setup  ## the same story on the distributed platform (RabbitMQ, one process a service, two gateways)
	@$(BIN)/flotilla demo --mode distributed

up: setup  ## the distributed platform: RabbitMQ and one process a service, two gateways
	@$(BIN)/flotilla up

check: $(VENV)/dev.stamp  ## format, lint, types, import rules, generated documents
	@echo "==> ruff format"; $(BIN)/ruff format --check .
	@echo "==> ruff check"; $(BIN)/ruff check .
	@echo "==> mypy"; $(BIN)/mypy
	@echo "==> import rules"; $(BIN)/python -m tests.import_rules
	@echo "==> generated documents"; $(BIN)/python -m deploy.generated --check

test: $(VENV)/dev.stamp  ## everything set up and tested (about 12 minutes)
	@echo "==> the servers that tests start privately, and the official clients"
	@$(BIN)/python -m deploy.servers
	@$(BIN)/python -m tests.clients.installed
	@echo "==> 1 of 3, unit: pure modules"
	@$(PYTEST) -n 2 $(UNIT)
	@echo "==> 2 of 3, io, broker and postgres: files, sockets, stores, a RabbitMQ, a PostgreSQL"
	@$(PYTEST) $(SIDE_BY_SIDE) $(OTHERS) -m "(io or broker or postgres) and not whole and not faults and not long"
	@echo "==> 3 of 3, whole and faults: the platform as its users start it; kill -9, outages of 30 s, doubles, a full disk, in every mode"
	@$(BIN)/pytest -v -n 3 --dist loadfile --no-loadscope-reorder -m "(whole or faults) and not long" $(WHOLE) tests/faults

unit: $(VENV)/dev.stamp  ## only the tests of pure modules
	@$(PYTEST) -n 2 $(UNIT)

long: $(VENV)/dev.stamp  ## what make test leaves out for its length: more modes, more faults, more bad input (about 15 minutes)
	@$(BIN)/python -m deploy.servers
	@$(BIN)/pytest -v -n 2 --dist loadfile --no-loadscope-reorder -m long $(WHOLE) tests/faults tests/shared/bus/test_cluster.py tests/deploy/test_rabbitmq.py

FUZZ_S ?= 600

fuzz: $(VENV)/dev.stamp  ## changed inputs to every codec and session for ten minutes (or FUZZ_S=… seconds); findings in build/fuzz
	@$(BIN)/python -m tests.fuzz --seconds $(FUZZ_S)

bench: $(VENV)/dev.stamp  ## all benchmarks, as ratios against a reference in the same run (a fleet of a million takes half an hour)
	@for one in tests/benchmarks/bench_*.py; do echo "==> $$one"; PYTHONPATH=. $(BIN)/python $$one || exit 1; done

docs: $(VENV)/dev.stamp  ## write the generated documents anew
	@$(BIN)/python -m deploy.generated

format: $(VENV)/dev.stamp  ## format and repair what can be repaired
	@$(BIN)/ruff format . ; $(BIN)/ruff check --fix .

LOCK = $(BIN)/pip-compile --quiet --generate-hashes --no-emit-index-url --no-emit-find-links --allow-unsafe --strip-extras

lock: $(VENV)/dev.stamp  ## choose the versions of dependencies anew
	@echo uv | $(LOCK) -o deploy/requirements-setup.lock -
	@$(LOCK) --extra build --extra stripe --extra sandbox -o deploy/requirements.lock pyproject.toml
	@$(LOCK) --extra build --extra esdb --extra postgres --extra s3 --extra stripe -o deploy/requirements-image.lock pyproject.toml
	@$(LOCK) --extra build --extra dev --extra esdb --extra postgres --extra s3 --extra stripe --extra sandbox -o deploy/requirements-dev.lock pyproject.toml

clean:  ## remove what set-up and tests made (not ./data)
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info build
	@find . -name __pycache__ -prune -exec rm -rf {} +

.PHONY: help setup run demo demo-up up check test unit long fuzz bench docs format lock clean
