# Two commands do everything on a fresh machine: make demo, make test.
# Nothing is installed outside .venv, and nothing is written outside .venv and ./data.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: setup demo test faults fuzz mutants lint bench docs clean lock

setup: $(VENV)/.installed

$(VENV)/.installed: requirements-dev.lock pyproject.toml
	@$(PYTHON) -c '' || { echo "$(PYTHON) does not run. Try: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "HSEIE needs Python 3.11 or newer; $(PYTHON) is older. Try: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "$(PYTHON) cannot make virtual environments; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup
	$(BIN)/hseie demo

# Two files at a time, because most tests wait for something; ARGS="-n 0 tests/unit" for one after the other.
test: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

# The fault suite, which `make test` leaves out for its ten minutes and CI runs besides; MINUTES=20 lengthens its long runs,
# HSEIE_TEST_SEED repeats one.
faults: setup
	HSEIE_FAULT_MINUTES=$(MINUTES) $(BIN)/python -m pytest $(if $(filter tests/%,$(ARGS)),,tests/faults) $(ARGS)

# What is made up for the wire: by hypothesis (tests/wire), and by schemathesis from the description. `make test` does it
# for seconds, this for so many inputs in all, and some thousand requests besides. HSEIE_TEST_SEED repeats a run.
INPUTS ?= 100000
fuzz: setup
	HSEIE_FUZZ_INPUTS=$(INPUTS) $(BIN)/python -m pytest tests/wire tests/system/test_schemathesis.py -k "fuzz or schemathesis" -rP $(ARGS)

# Takes the safety lines out, one at a time, and looks whether a test fails (tests/mutants).
mutants: setup
	$(BIN)/python -m tests.mutants.run $(ARGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/hadolint Dockerfile

# The pure stops on the way of a reading, then a whole node at full rate (bench/node.py nominal takes five minutes more).
bench: setup
	$(BIN)/python -m pytest bench/micro --benchmark-enable --benchmark-only --benchmark-columns=median,iqr,ops,rounds --benchmark-sort=name $(ARGS)
	$(BIN)/python bench/node.py batches singles

# What is made from declarations and kept beside them; a test compares.
docs: setup
	$(BIN)/python -m hseie.metrics_document > docs/METRICS.md
	$(BIN)/python -m hseie.openapi > docs/openapi.json

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks build dist

# The locks are made with uv, which no target needs otherwise: versions and hashes, without addresses.
# -dev has everything, -build what makes the wheel, the plain one what a node needs with a PostgreSQL of its own, and
# the archive (the image). What stands in two of them stands there in one version.
UV_COMPILE = uv pip compile --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
  --no-emit-index-url --no-emit-find-links

lock:
	$(UV_COMPILE) pyproject.toml --extra embedded --extra archive --group test --group lint --group build --output-file requirements-dev.lock
	$(UV_COMPILE) pyproject.toml --extra archive --constraint requirements-dev.lock --output-file requirements.lock
	$(UV_COMPILE) --group build --constraint requirements-dev.lock --output-file requirements-build.lock
