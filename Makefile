# `make demo` and `make test` do everything on a fresh machine: the virtual environment, the installs, the work.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo demo-https demo-mqtt test test-flower test-mutants notebooks lint format docs bench bench-kernels \
	bench-flower bench-scale bench-coordinator fuzz soak crash crash-committee crash-coordinator crash-exact vectors promises \
	release release-check clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "%-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.made:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "privfl needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) "pip>=25.1"
	touch $@

# Installed again only when what is installed changes.
$(VENV)/.demo: $(VENV)/.made pyproject.toml constraints.txt
	$(PIP) --editable ".[learning,ckks,dp,http,mqtt]"
	touch $@

$(VENV)/.dev: $(VENV)/.demo
	$(PIP) --editable ".[learning,ckks,dp,http,mqtt,flower]" --group dev --group docs
	touch $@

$(VENV)/.bench: $(VENV)/.dev
	$(PIP) --group bench
	touch $@

$(VENV)/.release: $(VENV)/.made pyproject.toml constraints.txt
	$(PIP) --group release
	touch $@

demo: $(VENV)/.demo ## train a model across ten simulated hospitals, whose updates nobody reads
	rm -rf runs/demo
	$(BIN)/privfl run examples/hospitals.toml --out runs/demo

demo-https: $(VENV)/.demo ## five hospitals and a coordinator as six processes over HTTPS, one killed in the middle
	$(BIN)/python examples/consortium/run.py --kill-client 3

demo-mqtt: $(VENV)/.demo ## the same through a broker (mosquitto) that reads nothing of it
	$(BIN)/python examples/consortium/run.py --mqtt --kill-client 3

test: $(VENV)/.dev ## run all tests: behaviour, types, style, import contracts, planted mutants
	$(BIN)/python -m pytest -n auto --dist worksteal

test-flower: $(VENV)/.dev ## Flower's runtimes, processes and all: nodes die, and what a SuperLink is sent is searched (8 min)
	$(BIN)/python -m pytest -m slow tests/test_flower_deployment.py

test-mutants: $(VENV)/.dev ## all planted mutants (make test takes a quarter), and what catches them without them (30 min)
	$(BIN)/python -m pytest -n auto --dist worksteal -m "slow or not slow" tests/test_mutants.py

notebooks: $(VENV)/.dev ## execute all notebooks, check what they say, and keep them as pages in runs/notebooks (3 min)
	rm -rf runs/notebooks
	PRIVFL_NOTEBOOKS=runs/notebooks $(BIN)/python -m pytest -n auto --dist worksteal tests/test_notebooks.py

lint: $(VENV)/.dev ## style, types and import contracts alone
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev ## put the code into the house's form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/.dev ## build the documentation into site/: tutorial, protocols, wire format, reference
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

bench: $(VENV)/.bench ## what protection costs: suites, peers, goals, growth, training jobs; a report (half an hour)
	rm -rf runs/bench
	$(BIN)/privfl bench --full --out runs/bench

bench-kernels: $(VENV)/.bench ## measure kernels against their limits, Flower's SecAgg+ and NVFlare's CKKS
	$(BIN)/python -m pytest benchmarks -o addopts= --benchmark-only -q -s

bench-flower: $(VENV)/.bench ## rounds inside Flower, beside plain FedAvg and its own SecAgg+
	$(BIN)/python benchmarks/flower_rounds.py

bench-scale: $(VENV)/.demo ## a thousand clients of a million parameters, ten thousand of ten thousand
	$(BIN)/python benchmarks/scale.py

bench-coordinator: $(VENV)/.demo ## 200 clients of a million parameters against one coordinator over HTTPS, good ones and bad (8 min)
	$(BIN)/python benchmarks/coordinator_load.py --out benchmarks/results/coordinator_load.json

fuzz: $(VENV)/.dev ## a million mutated messages, and long runs of the adversarial state machine
	PRIVFL_FUZZ_MESSAGES=1000000 $(BIN)/python -m pytest tests/test_fuzz.py
	PRIVFL_MACHINE_EXAMPLES=8000 HYPOTHESIS_PROFILE=explore $(BIN)/python -m pytest tests/test_state_machine.py

soak: $(VENV)/.dev ## a hundred rounds of a thousand clients under kahe, with random drop-outs
	PRIVFL_SOAK_ROUNDS=100 $(BIN)/python -m pytest tests/test_kahe_session.py -k thousand_clients

crash: $(VENV)/.dev ## runs with and without a privacy budget, killed 20 and 50 times and gone on with; and at every step
	PRIVFL_CRASHES=50 $(BIN)/python -m pytest tests/test_crash.py
	PRIVFL_EXACT_CRASHES=20 PRIVFL_EVERY_STEP=1 $(BIN)/python -m pytest -n auto --dist worksteal tests/test_crash_exact.py

crash-coordinator: $(VENV)/.dev ## a coordinator of distant clients, killed 20 times, and gone on with
	PRIVFL_COORDINATOR_CRASHES=20 $(BIN)/python -m pytest tests/test_consortium_processes.py -k coordinator

crash-committee: $(VENV)/.dev ## ckks over HTTPS: a member of its committee is killed, and its coordinator
	$(BIN)/python -m pytest -m slow tests/test_consortium_processes.py -k committee

crash-exact: $(VENV)/.dev ## runs without privacy, killed 20 times and ended at some of their steps: the same model, bit for bit
	PRIVFL_EXACT_CRASHES=20 $(BIN)/python -m pytest -n auto --dist worksteal tests/test_crash_exact.py

vectors: $(VENV)/.dev ## write the known answers in tests/vectors anew
	$(BIN)/python tests/known_answers

promises: $(VENV)/.dev ## make the links of SECURITY.md anew: to the lines that keep promises, and the tests that break
	$(BIN)/python docs/promises.py

release: $(VENV)/.release ## build wheel and sdist into dist/, and look what is in them
	$(BIN)/python release/artefacts.py

release-check: release ## install the wheel in clean environments, for every extra, and try what each promises (half an hour)
	$(BIN)/python release/environments.py

clean: ## remove what the targets made
	rm -rf $(VENV) build dist runs site .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
