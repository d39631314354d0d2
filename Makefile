# make demo: set everything up, then compare the guards on a small real VLM.
# make test: set everything up, then test. make test-fast: all but the demo VLM, the hosts' processes and most architectures, in minutes.
# make check: format, lint, types, layers, in a minute; `pre-commit install` runs the same before every commit.
# make bench: what guards and commands cost, into docs/benchmarks.md; over an hour (bench/bench.py has options for less).
# make picture: draw docs/rooms.svg anew from the imports. make pictures: all pictures of the documentation, from what make demo left.
# make docs: build the documentation as a site in site/, warnings being errors. make notebook: run the notebook of the Quickstart.

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
DOCS_READY := $(VENV)/docs-ready

# Threads of several processes on few cores must not spin against each other.
export OMP_WAIT_POLICY ?= PASSIVE
export GOMP_SPINCOUNT ?= 0

.PHONY: demo test test-fast check bench picture pictures docs notebook setup clean

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

bench: export OMP_NUM_THREADS ?= 1
bench: setup
	$(BIN)/python bench/bench.py --markdown docs/benchmarks.md --json benchmarks.json

picture: setup
	$(BIN)/python docs/draw_rooms.py

pictures: picture
	$(BIN)/vlmguard leaderboard demo-output --html demo-output/leaderboard.html --plot docs/pictures/demo.svg
	$(BIN)/python docs/draw_page.py demo-output/leaderboard.html
	$(BIN)/python docs/draw_guards.py
	$(BIN)/vlmguard inspect --shift demo_vlm --pairs 32 --layers 3,9,15,21 --plot docs/pictures/states.svg
	$(BIN)/vlmguard fit vlm_guard --model demo_vlm --out demo-output/my-guard
	$(BIN)/vlmguard inspect demo-output/my-guard --gate demo_vlm --plot docs/pictures/gate.svg

docs: $(DOCS_READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

notebook: $(DOCS_READY)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python docs/run_notebook.py

$(DOCS_READY): setup.py $(READY)
	$(BIN)/pip install --quiet --constraint constraints.txt --requirement .ci/docs-requirements.txt
	touch $(DOCS_READY)

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
	PYTHONWARNINGS=ignore $(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $(READY)

clean:
	rm -rf $(VENV) build dist site *.egg-info demo-output
