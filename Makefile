# make demo: set everything up, then compare the guards on a small real VLM.
# make test: set everything up, then test. make test-fast: all but the demo VLM, the hosts' processes and most architectures, in minutes.
# make check: format, lint, types, layers, in a minute; `pre-commit install` runs the same before every commit.
# make picture: draw docs/rooms.svg anew from the imports.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Of make demo: harmful and harmless requests per condition, at most 120.
ITEMS ?= 40
# The small real VLM.
MODEL ?= demo_vlm
# Of make test: processes that share out the test files.
WORKERS ?= 2
READY := $(VENV)/ready

# Threads of several processes on few cores must not spin against each other.
export OMP_WAIT_POLICY ?= PASSIVE
export GOMP_SPINCOUNT ?= 0

.PHONY: demo test test-fast check picture setup clean

demo: setup
	$(BIN)/vlmguard demo --items $(ITEMS) --model $(MODEL)

test test-fast: export OMP_NUM_THREADS ?= 1
test: setup
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

test-fast: setup
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder -m "not slow and not host"

check: setup
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/python .ci/check_house.py
	$(BIN)/lint-imports --no-logo
	$(BIN)/mypy

picture: setup
	$(BIN)/python docs/draw_rooms.py

setup: $(READY)

$(READY): setup.py pyproject.toml constraints.txt .ci/requirements.txt .ci/requirements-vllm.txt .ci/vllm_distribution.py .ci/torchvision_operators.py
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --constraint constraints.txt --requirement .ci/requirements.txt
	$(BIN)/pip install --quiet --constraint constraints.txt --no-deps torchvision ms-vlmeval lmms_eval
	$(BIN)/python -c "import shutil, sysconfig; shutil.copy('.ci/torchvision_operators.py', sysconfig.get_path('purelib'))"
	$(BIN)/python -c "import pathlib, sysconfig; pathlib.Path(sysconfig.get_path('purelib'), 'torchvision_operators.pth').write_text('import torchvision_operators\n')"
	$(BIN)/pip install --quiet --constraint constraints.txt --no-deps --requirement .ci/requirements-vllm.txt
	$(BIN)/python .ci/vllm_distribution.py
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $(READY)

clean:
	rm -rf $(VENV) build dist *.egg-info demo-output
