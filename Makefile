# make demo: an environment, the stacks, and the first matrix with its answer.
# make paper: the published table's networks on this machine's CPUs.
# make test: all that can be tested on this machine; it says at its end what could not.

PYTHON ?= python3.11
VENV := .venv
NUMDEV := $(VENV)/bin/numdev
STORE ?= numdev-store

.PHONY: demo paper test images bench lint clean machines fuzz

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

# The paper's table on this machine, and beside the published one where PAPER names its data (docs/importing.md): make paper PAPER=path.
# What this machine cannot show, and what the published data cannot be compared in, is said, and is no failure.
PAPER ?=
JOBS ?= 1
paper: $(VENV)/.ready
	@if [ -n "$(PAPER)" ]; then $(NUMDEV) import unannticipated "$(PAPER)" --store $(STORE) || { code=$$?; [ $$code = 14 ] || exit $$code; }; fi
	@$(NUMDEV) matrix run matrices/paper.yaml -j $(JOBS) --store $(STORE) || { code=$$?; [ $$code = 4 ] || exit $$code; }
	@if [ -n "$(PAPER)" ]; then \
	  $(NUMDEV) compare paper unannticipated --by matrices/maps/paper.yaml --store $(STORE) || { code=$$?; [ $$code = 4 ] || exit $$code; }; \
	else echo "Not compared with the published table: name its data, make paper PAPER=path (docs/importing.md)."; fi

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

# The coverage-guided fuzzer of what reads dumps, captures, records and tables, and of bundles and signatures: so long for each,
# make fuzz SECONDS=600.
SECONDS ?= 60
fuzz: $(VENV)/.ready
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --editable '.[fuzz]'
	$(VENV)/bin/python tests/fuzz/run.py --seconds $(SECONDS)

clean:
	rm -rf $(VENV) numdev-store build *.egg-info
