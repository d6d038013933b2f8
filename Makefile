# What to do with SipMesh from a clone. `make` alone lists it.

# The system's Python, if it is new enough: a distribution builds it with profile-guided optimization, which others
# often leave out, and SipMesh runs a fifth faster on it. Another one: make PYTHON=python3.12 ...
SYSTEM_PYTHON := /usr/bin/python3
PYTHON ?= $(shell $(SYSTEM_PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $(SYSTEM_PYTHON) || echo python3)
VENV := .venv
BIN := $(VENV)/bin

# What the tests and the benchmark run as real processes beside the server.
TEST_PACKAGES := baresip kamailio kamailio-tls-modules openssl sip-tester stunnel4
BENCH_PACKAGES := kamailio kamailio-tls-modules openssl sip-tester

.DELETE_ON_ERROR:
.NOTPARALLEL:
.DEFAULT_GOAL := help

.PHONY: help
help:  ## List what there is to make
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

.PHONY: run
run: $(VENV)/installed  ## Run a server on this machine alone, with two users to register with
	@$(BIN)/python tools/development_server.py run

.PHONY: test
test: $(VENV)/installed-test  ## Run all tests, against real phones and servers too
	@.ci/debian-packages $(TEST_PACKAGES)
	@$(BIN)/pytest -n 2

.PHONY: check
check: $(VENV)/installed-check,docs  ## Check style, types, layers and documentation
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going docs docs/_build/html

.PHONY: docs
docs: $(VENV)/installed-docs  ## Build the documentation: docs/_build/html/index.html
	@$(BIN)/sphinx-build --quiet docs docs/_build/html
	@echo "docs/_build/html/index.html"

.PHONY: demo
demo: $(VENV)/installed  ## Show two companies' servers at work, each a process, and a third refused
	@$(BIN)/python examples/figure1/figure1.py

.PHONY: bench
bench: $(VENV)/installed  ## Compare with Kamailio: CPU for each call and message, memory, start
	@.ci/debian-packages $(BENCH_PACKAGES)
	@$(BIN)/python bench/bench.py

.PHONY: clean
clean:  ## Remove all that make made, the server of `make run` too
	rm -rf $(VENV) build dist *.egg-info docs/_build run bench/results
	rm -rf .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
	rm -f twisted/plugins/dropin.cache

# The virtual environment ------------------------------------------------------------------------------------
#
# SipMesh is installed editable, in setuptools' strict mode: the default mode hides twisted/plugins/ from Twisted.
# In strict mode a new file needs the install again, so `files` notes which there are, and changes with them.

# $(1): the extras, as in .[test]
define install
	@echo "Installing SipMesh$(1) into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--editable '.$(1)' --config-settings editable_mode=strict
	@touch $@
endef

$(VENV)/installed: setup.cfg pyproject.toml $(VENV)/files
	$(call install)

$(VENV)/installed-%: setup.cfg pyproject.toml $(VENV)/files
	$(call install,[$*])

$(VENV)/files: $(BIN)/python FORCE
	@find sipmesh plugins twisted -name '*.py' | sort > $@.now
	@cmp --silent $@.now $@ || cp $@.now $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "SipMesh needs Python 3.11 or later; name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || .ci/debian-packages python3-venv
	@echo "Making the virtual environment $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)

FORCE:
