# make run     install into .venv if needed, then walk a simulated G1
# make test    everything a change must pass
# make bench   the loop's cost and jitter against the stock path
# make fuzz    every parser, the fault machine and the gate, guided by coverage, for a quarter of an hour
# make campaign  every fault on simulated time and real processes, for hours
# make mutants the tests of gate and fault machine, tested by changed code, for some minutes
# make clean   remove what these made

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

# All three may be left out: then our own controller walks. CLIP is a file or a shipped clip's name.
CONTROLLER ?=
MODEL ?=
CLIP ?=
OUT ?= runs/latest

.PHONY: run test bench fuzz campaign mutants clean
.DELETE_ON_ERROR:

run: $(VENV)/.with-sim
	$(BIN)/exoactor run $(if $(CONTROLLER),--controller "$(CONTROLLER)") $(if $(MODEL),--model "$(MODEL)") \
	    $(if $(CLIP),--clip "$(CLIP)") --out "$(OUT)"

# Of `test`, what runs nothing: style, types, import floors.
.PHONY: lint
lint: $(VENV)/.with-dev
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint
	tests/realtime.sh $(BIN)/python realtime
	$(BIN)/python -m pytest -m "not realtime" -n auto --dist loadfile

bench: $(VENV)/.with-sim
	$(BIN)/exoactor bench

fuzz: $(VENV)/.with-dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[fuzz]'
	$(BIN)/python -m tests.fuzz --seconds 60
	$(BIN)/python -m tests.gate_fuzz

campaign: $(VENV)/.with-sim
	@mkdir -p runs
	$(BIN)/exoactor campaign --seeds 20 --motions 3 --nominal 10 --json runs/campaign.json --html runs/campaign.html
	$(BIN)/exoactor campaign --process --repeats 100 --json runs/processes.json --html runs/processes.html

mutants: $(VENV)/.with-dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'mutmut>=3.8,<3.9'
	rm -rf mutants
	$(BIN)/python -m tests.mutants

clean:
	rm -rf "$(VENV)" build dist ./*.egg-info runs mutants
	rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	    { echo "exoactor needs Python 3.10 or newer: make PYTHON=python3.11 ..." >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	    { echo "$(PYTHON) cannot make virtual environments: apt-get install python3-venv" >&2; exit 2; }
	$(PYTHON) -m venv "$(VENV)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=24'  # 23.0 may resolve for ever

# A stamp says which extra is installed, and is out of date as soon as the requirements change. `dev` includes `sim`.
$(VENV)/.with-sim: setup.py | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[sim]'
	@touch $@

$(VENV)/.with-dev: setup.py | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $(VENV)/.with-sim $@
