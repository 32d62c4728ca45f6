# make demo, make test: from a fresh machine with Python 3.11 or newer. Everything goes into .venv and .demo.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SAMPLE := sample_data/cells_c2_t3.ims
READER ?= tiff
SECONDS ?= 600
DEMO := .demo/cells_c2_t3.ome.zarr

.PHONY: demo test test-slow test-slurm test-conformance check lint types test-lowest bench fuzz clean

demo: $(VENV)/package
	@$(BIN)/ngff-convert inspect $(SAMPLE)
	@echo
	$(BIN)/ngff-convert $(SAMPLE) $(DEMO) --overwrite

test: $(VENV)/test
	$(BIN)/pytest --numprocesses auto

# What takes ten seconds or more each: whole files of 8 GiB, millions of chunks.
test-slow: $(VENV)/test
	$(BIN)/pytest --numprocesses auto -m slow

# examples/slurm on a Slurm of one node, which is installed when it is missing; skipped where that cannot be.
test-slurm: $(VENV)/test
	$(BIN)/pytest -m slurm tests/slurm

# What other programs for OME-NGFF 0.6 make of the stores; they want newer versions of some packages.
test-conformance: $(VENV)/conformance
	$(BIN)/pytest tests/test_ngff_06.py

check: lint types test

lint: $(VENV)/lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/test $(VENV)/lint
	$(BIN)/mypy

# The same tests with the oldest versions of every dependency that pyproject.toml admits.
test-lowest:
	$(MAKE) VENV=.venv-lowest .venv-lowest/lowest
	.venv-lowest/bin/pytest --numprocesses auto -W default

bench: $(VENV)/package
	$(BIN)/python benchmarks/bench.py --out benchmarks/README.md

# Damaged files for one reader (tiff, imaris or omexml), see fuzz/README.md.
fuzz: $(VENV)/fuzz fuzz/runs/corpus
	@mkdir -p fuzz/runs/$(READER)/found
	cd fuzz/runs/$(READER) && $(abspath $(BIN))/python ../../fuzz_$(READER).py found ../corpus/$(READER) \
		-max_total_time=$(SECONDS) -print_final_stats=1

fuzz/runs/corpus: | $(VENV)/fuzz
	$(BIN)/python fuzz/make_corpus.py $@

clean:
	rm -rf .venv .venv-lowest .demo fuzz/runs build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(VENV)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	@touch $@

$(VENV)/package: $(VENV)/pip pyproject.toml
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/test: $(VENV)/package pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[cloud,cluster]' --group test
	@touch $@

$(VENV)/conformance: $(VENV)/test
$(VENV)/lint $(VENV)/fuzz $(VENV)/conformance: $(VENV)/%: $(VENV)/package pyproject.toml
	$(BIN)/python -m pip install --quiet --group $*
	@touch $@

$(VENV)/lowest: $(VENV)/pip pyproject.toml
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --resolution lowest-direct --editable '.[cloud,cluster]' --group test
	@touch $@
