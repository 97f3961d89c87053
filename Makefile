# make demo   the whole chain on a synthetic data set, without a GPU
# make test   the tests
# make check  lint, types and import contracts
# make bench  the benchmarks, as a table and benches/results/latest.json
# make faults harm log, disk, clock, cameras, engines, broker, and open what is left: five minutes; prints what each cost
# make soak   two million frames over thirty days of log: memory, files, threads stay flat (SOAK_FRAMES=200000: minutes)

PYTHON ?= $(firstword $(shell command -v python3.11 python3))
VENV ?= .venv
BIN = $(VENV)/bin
PIP_INSTALL = $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt
DEMO ?= demo
SOAK_FRAMES ?= 2000000
TOOLKIT = $(BIN)/toolkit

.PHONY: demo test check bench faults soak clean

$(VENV)/created:
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.10 to 3.13 is needed: apt-get install python3 python3-venv"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "The venv module is needed: apt-get install python3-venv"; exit 1; }
	@touch $@

$(VENV)/installed-train: $(VENV)/created pyproject.toml setup.py constraints.txt $(wildcard toolkit/flow/tvl1_*)
	@echo "Installing toolkit and what training needs into $(VENV) (some minutes) ..."
	@$(PIP_INSTALL) --editable '.[train]'
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed-train pyproject.toml constraints.txt
	@echo "Installing what the tests need into $(VENV) ..."
	@$(PIP_INSTALL) --editable '.[dev]'
	@touch $@

# TensorRT's types, for mypy and a test. Not in the environment: the package demands TensorRT, which installs only beside
# a GPU, and its folders would make an absent TensorRT look installed. Six of its lines are not Python that mypy reads.
.stubs/fetched: $(VENV)/created constraints.txt
	@rm -rf .stubs
	@$(PIP_INSTALL) --no-deps --target .stubs tensorrt-stubs
	@sed -i -E 's/\bin: list/in_: list/; s/(channel_axis: int)\) -> IScaleLayer/\1 = ...) -> IScaleLayer/; /^bool: DataType/d' \
		.stubs/tensorrt_bindings/tensorrt.pyi
	@touch $@

demo: $(VENV)/installed-train
	@PATH="$(abspath $(BIN)):$$PATH" DEMO="$(DEMO)" sh docs/demo.sh

test: $(VENV)/installed-dev .stubs/fetched
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2

check: $(VENV)/installed-dev .stubs/fetched
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/installed-dev
	@mkdir -p benches/results
	$(BIN)/pytest benches --benchmark-columns=median,min,iqr,ops,rounds --benchmark-sort=fullname --benchmark-group-by=group --benchmark-json benches/results/latest.json

faults: $(VENV)/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m benches.faults all

soak: $(VENV)/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m benches.soak --frames $(SOAK_FRAMES)

clean:
	rm -rf $(VENV) .stubs $(DEMO)
