# What a newcomer types. Everything a target needs is installed by the target itself, into .venv
# (and, for tests, from Debian's packages); a second run finds it there and starts at once.
# Needs: make, a POSIX shell, Python 3.11 or newer with venv.

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	command -v $$p >/dev/null 2>&1 && \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
SECONDS ?= 60
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
DEV := $(VENV)/.ready-dev
DEMO := $(VENV)/.ready-demo
# Debian keeps servers where ordinary users' PATH does not look.
WITH_SERVERS := PATH="$$PATH:/usr/sbin:/usr/local/sbin"
RUN := $(WITH_SERVERS) $(BIN)/python
# Tests start the program a few hundred times; compiled modules are a third of each start.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test prove check bench lock servers

help:
	@echo 'make demo [SECONDS=60]    the whole program on a simulated park of three sites'
	@echo 'make test [ARGS=...]      every test, with real servers; ARGS goes to pytest'
	@echo 'make prove [NAME ...]     the long campaigns at full size, or only those named'
	@echo 'make check                format, lint, types, import contract'
	@echo 'make bench                what it costs, as JSON lines'
	@echo 'make lock                 resolve the dependencies anew (needs uv)'

# The demo is content with a developer's environment, if there is one.
demo: $(if $(wildcard $(DEV)),$(DEV),$(DEMO))
	@$(WITH_SERVERS) $(BIN)/meterwatch demo --seconds $(SECONDS) $(ARGS)

test: $(DEV) servers
	@$(RUN) -m pytest -n 4 --dist loadfile $(ARGS)

# `make prove kill` reads like a sentence; make sees two goals. The names after `prove` become
# goals that do nothing, so that they only reach the campaign runner.
ifeq (prove,$(firstword $(MAKECMDGOALS)))
NAME ?= $(wordlist 2,$(words $(MAKECMDGOALS)),$(MAKECMDGOALS))
ifneq (,$(strip $(filter-out prove,$(MAKECMDGOALS))))
.PHONY: $(filter-out prove,$(MAKECMDGOALS))
$(filter-out prove help demo test check bench lock servers,$(MAKECMDGOALS)):
	@:
endif
endif

prove: $(DEV) servers
	@$(RUN) -m tests.campaigns $(NAME)

check: $(DEV)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(DEV) servers
	@$(RUN) -m bench $(ARGS)

# --- what the targets above stand on ---------------------------------------------------------

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo 'meterwatch needs Python 3.11 or newer; none was found' >&2; exit 1; }
	@echo "creating $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo 'python has no venv: on Debian, apt-get install python3-venv' >&2; exit 1; }

# Every distribution is pinned by hash; our own package is installed editable, built with the
# setuptools from the same lock.
define install
	@echo "installing $< (a minute or two, only when it changed)"
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip >/dev/null
	@$(PIP) install --require-hashes -r $<
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@
endef

$(DEV): requirements.lock pyproject.toml | $(BIN)/python
	$(install)

$(DEMO): requirements-demo.lock pyproject.toml | $(BIN)/python
	$(install)

# Real servers for the tests. Where they can neither be found nor installed the tests that need
# them say so; nothing else depends on them.
servers:
	@export $(WITH_SERVERS); missing=; \
	for need in mosquitto:mosquitto mosquitto_sub:mosquitto-clients strace:strace \
			victoria-metrics:victoria-metrics influxd:influxdb systemd-analyze:systemd; do \
		command -v $${need%%:*} >/dev/null 2>&1 || missing="$$missing $${need#*:}"; \
	done; \
	[ -z "$$missing" ] && exit 0; \
	if [ "$$(id -u)" = 0 ]; then as=; elif sudo -n true 2>/dev/null; then as='sudo -n'; else as=no; fi; \
	if [ "$$as" != no ] && command -v apt-get >/dev/null 2>&1; then \
		echo "installing$$missing from Debian's packages"; \
		{ $$as apt-get -qq update && $$as env DEBIAN_FRONTEND=noninteractive \
			apt-get -qq install -y --no-install-recommends $$missing; } >/dev/null 2>&1 && exit 0; \
	fi; \
	echo "could not install$$missing: the tests that need them are skipped with this reason"

# --universal: one lock for every platform and Python from 3.11 on.
COMPILE := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-header --no-annotate pyproject.toml -
lock:
	@echo 'setuptools>=77' | $(COMPILE) --extra dev -o requirements.lock
	@echo 'setuptools>=77' | $(COMPILE) --extra demo -c requirements.lock -o requirements-demo.lock
	@echo 'setuptools>=77' | $(COMPILE) --extra modbus --extra mqtt --extra http --extra notify --extra influx \
		-c requirements.lock -o deploy/requirements.lock
	@! grep -nE '://|^--' requirements.lock requirements-demo.lock deploy/requirements.lock
