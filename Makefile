# Every command of the project; `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help

EXP ?= quickstart
ARGS ?=
PYTHON ?= python3

VENV := .venv
RUN := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
# EXP is the name of an experiment, or a file such as the config.yaml of a run.
CONFIG = -c experiments/defaults.yaml -c $(if $(wildcard $(EXP)),$(EXP),experiments/$(EXP).yaml)

.PHONY: help env train evaluate data figures benchmark test lint clean

help: ## lists all commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/make \1\t\2/' | expand -t 16

env: $(INSTALLED) ## makes the environment .venv (PYTHON=python3.12 picks the interpreter)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

train: $(INSTALLED) ## trains and tests: [EXP=quickstart] [DEVICES=1] [NODES=1] [ARGS="--trainer.max_epochs=3"]
	@$(RUN) -m lightning_ras2s fit $(CONFIG) $(if $(DEVICES),--trainer.devices=$(DEVICES)) \
		$(if $(NODES),--trainer.num_nodes=$(NODES)) $(ARGS)

evaluate: $(INSTALLED) ## tests weights under all noise cases: CKPT=best.ckpt [EXP=quickstart]
	@test -n "$(CKPT)" || { echo 'error: say which weights to evaluate: make evaluate EXP=$(EXP) CKPT=runs/.../best.ckpt' >&2; exit 2; }
	@$(RUN) -m lightning_ras2s test $(CONFIG) --verbose=false \
		--model.network=lightning_ras2s.load_network --model.network.path='$(CKPT)' $(ARGS)

data: $(INSTALLED) ## fetches, verifies and prepares a dataset: DATASET=icvl [DATA_ROOT=data]
	@$(RUN) -m datamodules $(DATASET) $(ARGS)

benchmark: $(INSTALLED) ## measures speed and disk against the field's way: [QUICK=1]
	@$(RUN) -m benchmarks $(if $(QUICK),--quick) $(ARGS)

test: $(INSTALLED) ## runs the tests: [ARGS="-k noise"]
	@$(RUN) -m pytest $(ARGS)

figures: $(INSTALLED) ## draws the README picture: CKPT=best.ckpt of the quickstart
	@$(RUN) docs/figures.py "$(CKPT)"

lint: $(INSTALLED) ## checks style and types
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

clean: ## removes the environment and caches; keeps data/ and runs/
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache build *.egg-info
	find . -name __pycache__ -prune -exec rm -rf {} +
