# cnngen's commands; `make help` lists them. Each makes .venv on its first run and is quick to start after that.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
TESTABLE := $(VENV)/.installed-test
# To build and run on the CPU, and where NVIDIA's driver is, on the GPU too.
DRIVER := $(wildcard /proc/driver/nvidia/version)$(shell ldconfig -p 2>/dev/null | grep -o -m1 "libcuda.so.1")
EXTRAS := cpu,onnx$(if $(DRIVER),$(shell echo ,)cuda13)
# Tests of several processes share the cores: OpenMP's threads must not wait for each other by spinning.
export OMP_WAIT_POLICY ?= passive
# Tests on a GPU measure it: one at a time. Else a file a process, since a file's tests share what they build, in the
# order that tests/conftest.py gives them.
PARALLEL := $(if $(DRIVER),,-n auto --dist loadfile --no-loadscope-reorder)
CXX_FILES = $(shell find include generated tests examples bench -type f \
	\( -name '*.hpp' -o -name '*.cuh' -o -name '*.cu' -o -name '*.cpp' -o -name '*.h' \) \
	-not -path '*/build/*' -not -path '*/testdata/*' 2>/dev/null | sort)

.DEFAULT_GOAL := help
.PHONY: help demo test conformance lint format clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(INSTALLED)  ## build MobileNetV2 and classify a photo, on the GPU or, without one, on the CPU
	@$(BIN)/python examples/mobilenet_v2/demo.py

test: lint  ## everything that is checked: lint, types, C++ format and every test; what needs a GPU is skipped and counted
	$(BIN)/python -m pytest $(PARALLEL)

conformance: $(TESTABLE)  ## other people's tests alone: ONNX's cases, and models against onnxruntime
	$(BIN)/python -m pytest -m "conformance or models"

lint: $(TESTABLE)  ## ruff, mypy --strict, clang-format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@$(if $(CXX_FILES),$(BIN)/clang-format --dry-run --Werror $(CXX_FILES))

format: $(TESTABLE)  ## put Python and C++ into the form that lint asks for
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	@$(if $(CXX_FILES),$(BIN)/clang-format -i $(CXX_FILES))

clean:  ## remove what builds left; .venv stays
	rm -rf generated/*/build generated/*/*.so generated/cpu/*/build generated/cpu/*/*.so build .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
		|| { echo "cnngen needs Python 3.10 or newer; $(PYTHON) is $$($(PYTHON) -V). Set PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
		|| { rm -rf $(VENV); echo "cannot make .venv; on Debian and Ubuntu: apt install python3-venv python3-dev" >&2; exit 1; }

# The stamps are younger than what decides the installation; code itself is found in the checkout (editable).
$(INSTALLED): pyproject.toml CMakeLists.txt | $(BIN)/python
	@echo "installing cnngen[$(EXTRAS)] into $(VENV) ($(if $(DRIVER),1.3 GB,100 MB) to fetch the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[$(EXTRAS)]'
	@touch $@

$(TESTABLE): pyproject.toml CMakeLists.txt | $(BIN)/python
	@echo "installing cnngen with both targets, and what its tests compare with, into $(VENV) (GBs to fetch the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[cpu,cuda13,onnx,test]'
	@touch $@ $(INSTALLED)
