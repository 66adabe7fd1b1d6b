# SPDX-License-Identifier: Apache-2.0
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup robot demo test lint benchmark clean distclean

# One thread each: the tests run beside one another.
PYTEST_FLAGS ?= -n auto --maxprocesses 4 --dist loadfile
# A small physics or model step gains nothing from more threads.
TEST_THREADS ?= 1
ENTER = source scripts/env.sh

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12
	@echo; echo "PYTHON=python3.11 chooses the interpreter, ROS_WHEELS=jazzy other ROS 2 wheels, FRESH=1 makes the demo start over"

setup: ## set up .venv, ROS 2 and the workspace; a repeated run goes on where the last one stopped
	@python3 scripts/set_up.py

robot: ## set up a robot's computer: no torch, no simulator; it runs bundles
	@python3 scripts/set_up.py --robot

demo: setup ## run the whole path from data to a policy on a simulated robot (FRESH=1 starts it over)
	@$(ENTER) && pwm demo $(if $(filter-out 0,$(FRESH)),--fresh) $(DEMO_FLAGS)

test: setup ## run all tests
	@$(ENTER) && OMP_NUM_THREADS=$(TEST_THREADS) python -m pytest $(PYTEST_FLAGS)

lint: setup ## check format, style, types, shell scripts and the Dockerfile
	@$(ENTER) && python scripts/lint.py

benchmark: setup ## measure; the figures of benchmarks/ come from this
	@$(ENTER) && python -m benchmarks

clean: ## remove what the build and the tests made, keep .venv and runs/
	rm -rf build install log .pytest_cache .mypy_cache .ruff_cache

distclean: clean ## remove .venv too; runs/ stays
	rm -rf .venv
