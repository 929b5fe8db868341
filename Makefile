# Everything on a fresh machine with Python >= 3.11 and make. The first target makes .venv; the next ones reuse it.
PYTHON ?= python3
BIN := .venv/bin
# nproc answers with OMP_NUM_THREADS where that is set
CORES ?= $(shell unset OMP_NUM_THREADS; nproc 2>/dev/null || sysctl -n hw.ncpu)
# jobs are as many as cores, with one thread each
export OMP_NUM_THREADS = 1
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: demo help test test-slow test-kills test-dispatch test-slurm test-chaos test-wheel test-lowest test-newest test-docs lint types check bench readme evidence documents docs lock clean

demo: .venv/installed  ## run the default benchmark and print its summary
	snakemake --cores $(CORES)
	layerlottery summary

help:  ## list these targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

test: .venv/installed  ## fast tests, a process a core
	pytest --numprocesses $(CORES) --dist loadfile

test-slow: .venv/installed  ## the tests that take longer
	pytest -m slow

test-kills: .venv/installed  ## ten kills, at the end of an epoch and elsewhere; two minutes
	pytest -m slow tests/chaos

test-dispatch: .venv/installed  ## the default benchmark, smaller, on a SLURM of its own; needs root and Debian's slurm-wlm
	pytest -m slurm tests/slurm/test_dispatch.py

test-slurm: .venv/installed  ## the benchmark and its accidents on a SLURM of its own; needs root and Debian's slurm-wlm
	pytest -m slurm tests/slurm

test-chaos: .venv/installed  ## kills at random moments, full disks, damaged files
	pytest -m chaos tests/chaos

test-wheel: .venv/installed  ## the package as others install it: the library alone, and a benchmark; a minute
	pytest -m slow tests/packaging

test-lowest:  ## the library's tests with the lowest versions that it allows; PYTHON=python3.12 for another Python
	.ci/versions lowest $(PYTHON)

test-newest:  ## the library's tests with the newest versions that there are
	.ci/versions newest $(PYTHON)

test-docs: .venv/docs  ## the documents' site, built strictly, their recipes and their notebook
	pytest -m "slow or not slow" tests/unit/test_site.py tests/unit/test_recipes.py tests/unit/test_notebook.py

lint: .venv/installed  ## style of Python, the order of rooms, Snakemake rules
	ruff check .
	ruff format --check .
	lint-imports
	snakefmt --check Snakefile workflow
	snakemake --lint

types: .venv/installed  ## static types of the package
	mypy

check: lint types test  ## all of the above but the slow tests

bench: .venv/installed  ## measure what is promised about speed into docs/performance.md; 10 to 20 minutes
	python benchmarks/performance.py

readme: .venv/installed  ## write the documents' summary and picture from the run in results; needs Chromium
	python benchmarks/readme.py

evidence: .venv/installed  ## write docs/evidence from its committed tables; python benchmarks/evidence.py --help says how to rerun it
	python benchmarks/evidence.py

documents: .venv/installed  ## make the reference texts that follow from the code
	layerlottery schema > workflow/schemas/config.schema.json
	layerlottery schema --format markdown > docs/configuration.md
	layerlottery dictionary > docs/data_dictionary.md

docs: .venv/docs  ## build the documents' site into site; open site/index.html
	mkdocs build --strict

.venv/docs: .venv/installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[docs]"
	touch $@

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "layerlottery needs Python 3.11 or newer")'
	@echo "layerlottery: installing into .venv, about 8 GB with CUDA's libraries; this takes minutes and prints nothing"
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[benchmark,dev,slurm,autoattack,export,timm,tensorboard,wandb,mlflow]"
	touch $@

lock: .venv/docs  ## write the versions that are installed now into constraints.txt
	$(BIN)/pip freeze --exclude-editable > constraints.txt
	touch .venv/installed $<

clean:  ## remove the environment; results stay
	rm -rf .venv
