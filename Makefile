# make demo: an environment, the stacks, and the first matrix with its answer.
# make test: all that can be tested on this machine; it says at its end what could not.

PYTHON ?= python3.11
VENV := .venv
NUMDEV := $(VENV)/bin/numdev
STORE ?= numdev-store

.PHONY: demo test images bench lint clean machines fuzz

$(VENV)/.ready: pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "numdev needs Python 3.11 or newer: make PYTHON=/path/to/python"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@

demo: $(VENV)/.ready
	@$(NUMDEV) doctor
	@echo
	@$(NUMDEV) matrix run matrices/cpu.yaml --store $(STORE) || { code=$$?; \
	  if [ $$code = 4 ]; then echo "This machine cannot show all of the matrix; what it could run is answered above."; \
	  else exit $$code; fi; }

images: $(VENV)/.ready
	$(NUMDEV) images build

lint: $(VENV)/.ready
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

test: lint
	$(VENV)/bin/python -m pytest

bench: $(VENV)/.ready
	$(VENV)/bin/python tests/bench.py

# The records in tests/machines of this machine and of QEMU's processors, after the battery or a stack has changed.
machines: $(VENV)/.ready
	$(VENV)/bin/python tests/machines/refresh.py

# The coverage-guided fuzzer of what reads dumps, captures, records and tables: make fuzz SECONDS=600.
SECONDS ?= 60
fuzz: $(VENV)/.ready
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --editable '.[fuzz]'
	$(VENV)/bin/python tests/fuzz/run.py --seconds $(SECONDS)

clean:
	rm -rf $(VENV) numdev-store build *.egg-info
