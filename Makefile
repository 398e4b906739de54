# Every command of the project; `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help

EXP ?= quickstart
ARGS ?=
PYTHON ?= python3

VENV := .venv
INTERPRETER := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
# EXP is the name of an experiment, or a file such as the config.yaml of a run.
EXPERIMENT = $(if $(filter %.yaml,$(EXP)),$(EXP),experiments/$(EXP).yaml)
CONFIG = -c experiments/defaults.yaml -c $(EXPERIMENT)

# A Chromium for the pages: the system's, else playwright's own, else Debian's.
BROWSER = $(INTERPRETER) -m pip install --quiet --constraint constraints.txt --editable '.[browser]' && { \
	command -v chromium chromium-browser google-chrome > /dev/null \
	|| $(INTERPRETER) -m playwright install --with-deps chromium \
	|| { apt-get update && apt-get install --yes chromium; }; }

.PHONY: help env train evaluate data report dashboard sweep figures benchmark test test-browser test-faults test-slow lint clean

help: ## lists all commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/make \1\t\2/' | expand -t 20

env: $(INSTALLED) ## makes the environment .venv (PYTHON=python3.12 picks the interpreter)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(INTERPRETER) -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

train: $(INSTALLED) ## trains and tests: [EXP=quickstart] [RESUME=last] [DEVICES=1] [NODES=1] [ARGS="--trainer.max_epochs=3"]
	@$(INTERPRETER) -m lightning_ras2s fit $(CONFIG) $(if $(RESUME),--resume='$(RESUME)') $(if $(DEVICES),--trainer.devices=$(DEVICES)) \
		$(if $(NODES),--trainer.num_nodes=$(NODES)) $(ARGS)

evaluate: $(INSTALLED) ## tests weights under all noise cases: CKPT=best.ckpt [EXP=quickstart]
	@test -n "$(CKPT)" || { echo 'error: say which weights to evaluate: make evaluate EXP=$(EXP) CKPT=runs/.../best.ckpt' >&2; exit 2; }
	@$(INTERPRETER) -m lightning_ras2s test $(CONFIG) --verbose=false \
		--model.network=lightning_ras2s.load_network --model.network.path='$(CKPT)' $(ARGS)

data: $(INSTALLED) ## fetches, verifies and prepares a dataset: DATASET=icvl [DATA_ROOT=data]
	@$(INTERPRETER) -m datamodules $(DATASET) $(ARGS)

report: $(INSTALLED) ## writes the page of a run, as its end does: [RUN=runs/quickstart/<time>], by default the newest
	@$(INTERPRETER) -m lightning_ras2s.pages.report $(if $(RUN),'$(RUN)') $(ARGS)

dashboard: $(INSTALLED) ## shows all runs on a local page, on 127.0.0.1 only
	@$(INTERPRETER) -m lightning_ras2s.pages.dashboard $(ARGS)

sweep: $(INSTALLED) ## searches hyper-parameters, by W&B or, without an account, here: SWEEP=regions [EXP=quickstart] [COUNT=8] [AGENTS=1] [FOLDER=...] [SWEEP_ID=...]
	@EXPERIMENT='$(EXPERIMENT)' $(INTERPRETER) -m lightning_ras2s.sweep experiments/sweeps/$(SWEEP).yaml \
		$(if $(COUNT),--count=$(COUNT)) $(if $(AGENTS),--agents=$(AGENTS)) \
		$(if $(FOLDER),--folder='$(FOLDER)') $(if $(SWEEP_ID),--sweep_id=$(SWEEP_ID)) $(if $(ARGS),-- $(ARGS))

benchmark: $(INSTALLED) ## measures speed, memory and disk against plain ways: [QUICK=1] [ARGS="--only=network"]
	@$(INTERPRETER) -m benchmarks $(if $(QUICK),--quick) $(ARGS)

test: $(INSTALLED) ## runs the tests: [ARGS="-k noise"]
	@$(INTERPRETER) -m pytest $(ARGS)

figures: $(INSTALLED) ## draws the pictures of the README, two of them with a browser: CKPT=best.ckpt of the quickstart
	@test -n "$(CKPT)" || { echo 'error: say of which run: make figures CKPT=runs/quickstart/<time>/checkpoints/best.ckpt' >&2; exit 2; }
	@$(INTERPRETER) docs/figures.py "$(CKPT)"
	@$(BROWSER)
	@$(INTERPRETER) -m docs.screenshots "$(CKPT)"

test-browser: $(INSTALLED) ## opens the pages in a real browser; installs Chromium if there is none
	@$(BROWSER)
	@$(INTERPRETER) -m pytest tests/browser $(ARGS)

test-faults: $(INSTALLED) ## kills, stops and starves trainings, and compares what they go on to
	@$(INTERPRETER) -m pytest -m faults $(ARGS)

test-slow: $(INSTALLED) ## the tests that take longest: compiled code, each instruction set, whole scenes
	@$(INTERPRETER) -m pytest -m slow $(ARGS)

lint: $(INSTALLED) ## checks style and types
	$(INTERPRETER) -m ruff check .
	$(INTERPRETER) -m ruff format --check .
	$(INTERPRETER) -m mypy

clean: ## removes the environment and caches; keeps data/ and runs/
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache build *.egg-info
	find . -name __pycache__ -prune -exec rm -rf {} +
