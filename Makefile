# make demo      eight runs on real pretrained weights, the leaderboard, predictions beside the truth
# make test      the fast tests, in WORKERS (2) processes
# make test-all  also the exhaustive ones: every model and launcher, kills, simulations
# make lint      ruff, mypy and import-linter
# make format    fix what ruff can fix
# make lock      rewrite constraints.txt from the environment
# make clean     remove what make created
#
# Every target creates .venv first if it is missing. Options, for any target:
#
#   TORCH=cpu          install PyTorch's CPU-only wheels, without CUDA (Linux: some 5 GB less);
#                      also cu130 and the like: a folder of download.pytorch.org/whl
#   PYTHON=python3.12  the interpreter; by default the first usable one from 3.11 on
#   VENV=FOLDER        the environment's folder
#
# TORCH takes effect when the environment is created: run `make clean` first to switch.

WORKERS ?= 2
PYTHON ?=
TORCH ?=
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test test-all lint format lock clean

$(BIN)/python:
	$(or $(shell sh scripts/find_python.sh $(PYTHON)),false) -m venv $(VENV)

# PyTorch's own index lacks most of the versions in constraints.txt, so only torch and torchvision
# come from it; the second line, for which they are installed already, adds what they need.
$(INSTALLED): pyproject.toml constraints.txt | $(BIN)/python
ifneq ($(TORCH),)
	$(BIN)/python -m pip install --quiet --no-deps --constraint constraints.txt --index-url https://download.pytorch.org/whl/$(TORCH) torch torchvision
endif
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[lite,explain,export,launchers,dev]'
	touch $@

demo: $(INSTALLED)
	$(BIN)/python src/train.py experiment=demo
	$(BIN)/python scripts/predict_test_images.py

# Threads that wait for one another must not spin while the other process needs the core.
PYTEST = OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup --no-loadscope-reorder

test: $(INSTALLED)
	$(PYTEST) -m "not exhaustive"

test-all: $(INSTALLED)
	$(PYTEST)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The exact set that the tests passed with; run it after they did. The packages of other systems,
# at the end of the file, are kept.
lock: $(INSTALLED)
	sed -n '/^# Not on Linux/,$$p' constraints.txt > $(VENV)/not-on-linux
	{ $(BIN)/python -m pip freeze --all --exclude pip --exclude-editable; cat $(VENV)/not-on-linux; } > constraints.txt

clean:
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
