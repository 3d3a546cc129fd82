# Verbs: demo test check docs serve clean. Nothing is needed beforehand but python3.11 (or newer) and make.
# Another Python: make PYTHON=python3.12 demo. Another place: make VENV=/somewhere test.
# Linux without a GPU: TORCH_INDEX=https://download.pytorch.org/whl/cpu avoids the large CUDA build of torch.

PYTHON ?= python3.11
VENV ?= .venv
TORCH_INDEX ?=
PIP = $(VENV)/bin/python -m pip --disable-pip-version-check
RUN = PATH="$(abspath $(VENV))/bin:$$PATH"
STAMP = $(VENV)/installed
TORCH = $(shell grep '^torch==' constraints.txt)
WORKERS ?= 2
# One thread per worker: torch's default (all cores in each worker) makes the suite slower.
QUICK = OMP_NUM_THREADS=1 $(RUN) pytest -n $(WORKERS) --dist worksteal

.PHONY: demo test check docs serve clean
.DEFAULT_GOAL := test

$(STAMP): pyproject.toml constraints.txt
	@echo "Setting up $(VENV): torch first, then Solon. Once; several minutes."
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) '$(TORCH)'
	$(PIP) install --quiet -c constraints.txt -e '.[constitution,critic,trainer,api,dev]'
	$(PIP) check
	touch $@

demo: $(STAMP)
	$(RUN) solon demo --out demo-out

test: $(STAMP)
	$(QUICK) --durations=15 -m 'not long and not vllm and not gpu and not postgres'

check: $(STAMP)
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) pyright
	$(RUN) lint-imports
	$(QUICK) -m 'not slow and not e2e and not long and not vllm and not gpu and not postgres'

docs: $(STAMP)
	$(RUN) pytest tests/docs

serve: $(STAMP)
	$(RUN) solon serve

clean:
	rm -rf $(VENV) .vllm-env demo-out build dist *.egg-info .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
