# Two commands after a clone: make demo, make test. Everything they need is installed into .venv from the package registry.

PYTHON ?= python3
VENV   ?= .venv
PORT   ?= 8080
BIN    := $(VENV)/bin

ifneq ($(PYTHONDONTWRITEBYTECODE),) # asks for clean sources; but each of the tests' processes would compile everything again
unexport PYTHONDONTWRITEBYTECODE
export PYTHONPYCACHEPREFIX := $(abspath $(VENV))/pycache
endif

.PHONY: audit bench chaos clean demo e2e format fuzz help lint packages schema screenshots test

help:  ## this text
	@grep -E '^[a-z0-9]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

demo: $(VENV)/.run  ## the service against an in-memory cluster and Git hosts, on PORT (8080) and the next five
	$(BIN)/tekton-listener demo --port $(PORT)

test: $(VENV)/.dev  ## every check and every test
	@$(MAKE) --no-print-directory -j 3 lint packages $(VENV)/.compiled
	$(BIN)/python -m pytest -n 4 --dist worksteal $(ARGS)

lint: $(VENV)/.dev  ## style, types, and who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(VENV)/.dev  ## put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.dev  ## measure start-up, delivery and logs; prints a table
	$(BIN)/python -m tests.bench

chaos: $(VENV)/.dev  ## five minutes of three replicas while everything around them fails; ARGS="--seed N" plays one again
	$(BIN)/python -m tests.chaos $(ARGS)

e2e: $(VENV)/.dev  ## the whole service against the cluster that KUBECONFIG names, see CONTRIBUTING.md
	$(BIN)/python -m pytest e2e $(ARGS)

fuzz: $(VENV)/.dev  ## send fifty times as much rubbish to the service as make test does; ARGS="-k authorization"
	FUZZ=50 $(BIN)/python -m pytest tests/security/test_fuzz.py $(ARGS)

audit: $(VENV)/.audit  ## build/sbom.json, and what is known against anything in constraints.txt; needs the network
	$(VENV)/audit/bin/python -m tests.security.audit

packages:  # a browser and a proxy for the tests, where they can be installed
	@sh tests/system-packages

screenshots: $(VENV)/.dev packages  ## take the pictures in docs/ again
	$(BIN)/python -m tests.browser.screenshots

schema: $(VENV)/.dev  ## write config/listener.schema.json and docs/configuration.md from the types, and what the chart has of them
	$(BIN)/python -m listener.config > config/listener.schema.json
	$(BIN)/python -m tests.chart.schema
	$(BIN)/python -m tests.chart.values_table
	$(BIN)/python -m tests.docs.reference

clean:  ## forget what was installed
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .hypothesis

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m tests.install .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m tests.install '.[dev]'
	@touch $@ $(VENV)/.run

$(VENV)/.compiled: $(VENV)/.dev  # once, before several processes need it at the same time
	@$(BIN)/python -m pytest --collect-only > $@.log || { cat $@.log; exit 1; }
	@touch $@

$(VENV)/.audit: pyproject.toml constraints.txt | $(BIN)/python  # apart, for with its packages around, the service starts 3 s later
	$(BIN)/python -m venv $(VENV)/audit
	$(VENV)/audit/bin/python -m tests.install '.[audit]'
	@touch $@
