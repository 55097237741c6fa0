# Two commands prove an installation: `make demo` and `make test`.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
CONTAINER_VENV := .venv-container
ENGINE ?= deepseek

# files side by side; each worker has one core, or their threads would wait for one another
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile
TEST_PACKAGES := 'pytest>=8,<10' 'pytest-asyncio>=1,<2' 'pytest-timeout>=2.3,<3' 'pytest-xdist>=3.6,<4'

.PHONY: help demo test test-slow test-wheel test-gpu test-engine test-container gpu-report gpu-wheels check-requirements lint types verify serve clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 18

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.ppocr: pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet -e '.[ppocr,books]'
	@touch $@

$(VENV)/.deepseek: pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet -e '.[ppocr,books,deepseek]'
	@touch $@

$(VENV)/.service: $(VENV)/.$(ENGINE)
	$(BIN)/pip install --quiet -e '.[service]'
	@touch $@

# exactly this torch: a range would pull the newest CUDA build of several GB
$(VENV)/.dev: pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet 'torch==2.13.0'
	$(BIN)/pip install --quiet -e '.[dev]'
	@touch $@ $(VENV)/.ppocr $(VENV)/.deepseek $(VENV)/.service

demo: $(VENV)/.ppocr  ## read a sample picture and a sample PDF on the CPU
	@$(BIN)/python scripts/ocr_pdf.py deepocr/samples/invoice.png deepocr/samples/report.pdf -o demo-output --engine ppocr
	@echo; echo "--- demo-output/invoice/document.mmd"; cat demo-output/invoice/document.mmd
	@echo; echo "--- demo-output/report/document.mmd"; cat demo-output/report/document.mmd
	@echo; echo "Now your own file:"
	@echo "  $(BIN)/deepocr read YOUR.pdf -o out --engine ppocr"

test: $(VENV)/.dev  ## all tests that need no GPU and less than a quarter of an hour
	$(PYTEST) -m "not slow and not gpu"

test-slow: $(VENV)/.dev  ## the long ones
	$(BIN)/python -m pytest -m "slow and not gpu" --timeout 1800

test-wheel: $(VENV)/.dev  ## the wheel in an empty environment, and the examples of the docs
	$(BIN)/python -m pytest -m slow tests/wheel

test-gpu: $(VENV)/.dev  ## what only a CUDA device shows
	$(BIN)/python -m pytest -m gpu tests/gpu

# flash-attn's wheel (the https line) only loads where CUDA is
$(CONTAINER_VENV)/.engine: requirements.txt
	$(PYTHON) -m venv $(CONTAINER_VENV)
	grep -v '^https://' requirements.txt > $(CONTAINER_VENV)/versions.txt
	$(CONTAINER_VENV)/bin/pip install --quiet -r $(CONTAINER_VENV)/versions.txt
	$(CONTAINER_VENV)/bin/pip install --quiet -c $(CONTAINER_VENV)/versions.txt $(TEST_PACKAGES) 'httpx>=0.27,<1'
	@touch $@

$(CONTAINER_VENV)/.dev: $(CONTAINER_VENV)/.engine pyproject.toml
	$(CONTAINER_VENV)/bin/pip install --quiet -c $(CONTAINER_VENV)/versions.txt -e '.[dev]'
	@touch $@

test-engine: $(CONTAINER_VENV)/.engine  ## kernels, engine and parity on the container's torch and Triton
	OMP_NUM_THREADS=1 $(CONTAINER_VENV)/bin/python -m pytest -n 2 --dist loadfile -m "not slow and not gpu" \
	  tests/unit/deepseek tests/unit/test_deepseek_engine.py tests/parity/test_reference.py

test-container: $(CONTAINER_VENV)/.dev  ## the CPU tests on the container's own versions
	$(CONTAINER_VENV)/bin/python -m pytest -m "not slow and not gpu"

GPU_PYTHON := 3.11 3.12
GPU_PACKAGES := 'pydantic-settings>=2.6,<3' 'pillow>=11,<14' 'numpy>=1.26,<3' \
  'safetensors>=0.5,<1' $(filter-out 'pytest-xdist%,$(TEST_PACKAGES))
GPU_PLATFORMS := manylinux_2_28_x86_64 manylinux_2_17_x86_64 manylinux2014_x86_64

gpu-report:  ## what a GPU shows, in 8 minutes; PYTHON with a torch of its own; needs no network
	$(PYTHON) scripts/gpu_report.py

# tokenizers asks for huggingface-hub, which fetches weights: not needed for reading a file
gpu-wheels: | $(BIN)/python  ## what gpu-report needs beside torch, for machines without a network
	rm -rf gpu-wheels
	for version in $(GPU_PYTHON); do \
	  set -e -- --quiet --only-binary=:all: --python-version $$version \
	    $(GPU_PLATFORMS:%=--platform %) -d gpu-wheels; \
	  $(BIN)/pip download "$$@" $(GPU_PACKAGES); \
	  $(BIN)/pip download "$$@" --no-deps 'tokenizers>=0.21,<1'; \
	done
	du -sh --apparent-size gpu-wheels

lint: $(VENV)/.dev  ## ruff and spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell

types: $(VENV)/.dev  ## mypy, strict
	$(BIN)/mypy
	$(BIN)/mypy predict.py scripts

verify: $(VENV)/.$(ENGINE)  ## is this installation sound? ENGINE=deepseek (weights, GPU) or ppocr
	DEEPOCR_ENGINE=$(ENGINE) $(BIN)/python scripts/verify.py

check-requirements: | $(BIN)/python  ## do the container's versions go together? (dry run)
	$(BIN)/python scripts/check_requirements.py

serve: $(VENV)/.service  ## API, web page, queue and one worker on port 8000; ENGINE=deepseek or ppocr
	DEEPOCR_ENGINE=$(ENGINE) $(BIN)/python -m deepocr.service

clean:  ## remove what make made
	rm -rf $(VENV) $(CONTAINER_VENV) demo-output gpu-report gpu-wheels
