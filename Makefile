# `make demo` and `make test` do all their own set-up; the rest is for development.
PYTHON ?= python3
BIN := .venv/bin
PROMPT := black-and-white video, a girl is playing a guitar, film grain
SAMPLE ?= src/rotoscope/data/sample.mp4
STEPS ?= 20

.PHONY: cluster demo test lint format docs examples site bench mini clean

demo: .venv/worker
	mkdir -p demo-output
	$(BIN)/rotoscope run $(SAMPLE) --prompt "$(PROMPT)" \
	  --num-inference-steps $(STEPS) --out demo-output/restyled.mp4 --sheet demo-output/before-and-after.png

test: .venv/dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadscope

# Two servers behind a balancer, three workers, PostgreSQL and an S3 store, until Ctrl-C.
cluster: .venv/dev
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.journey.cluster

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell README.md CHANGELOG.md CONTRIBUTING.md docs src tests bench

format: .venv/dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: .venv/dev
	$(BIN)/python docs/reference.py

# The frames of docs/parameters.md, made by mini in some minutes.
examples: .venv/worker
	$(BIN)/python docs/examples.py

# The documentation as pages to read, in build/site.
site: .venv/dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build

bench: .venv/dev
	$(BIN)/python -m bench.api
	$(BIN)/python -m bench.overhead
	$(BIN)/python -m bench.encode

# Makes the checkpoint that ships: downloads, fits, packs and measures, in half an hour or more.
mini: .venv/worker
	$(BIN)/python -m training all

.venv/pip:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	touch $@

.venv/worker: .venv/pip pyproject.toml
	$(BIN)/python -m pip install --quiet --editable ".[worker]"
	touch $@

.venv/dev: .venv/worker
	$(BIN)/python -m pip install --quiet --group dev
	touch $@

clean:
	rm -rf .venv demo-output build dist
