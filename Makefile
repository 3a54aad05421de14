# make demo    eight runs on real pretrained weights, the leaderboard, predictions beside the truth
# make test    the whole suite
# make lint    ruff and mypy
# make clean   what make made
#
# CPU-only wheels of torch are smaller: see README.md, "Install".

PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test lint format lock clean

$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[lite,explain,launchers,dev]'
	touch $@

demo: $(INSTALLED)
	$(BIN)/python src/train.py experiment=demo
	$(BIN)/python scripts/predict_test_images.py

test: $(INSTALLED)
	$(BIN)/python -m pytest

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The exact set that the tests passed with; run it after they did.
lock: $(INSTALLED)
	$(BIN)/python -m pip freeze --exclude-editable > constraints.txt

clean:
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache
