# SPDX-License-Identifier: Apache-2.0
# Builds, runs and tests the project on a new machine. Needs Python 3.10-3.13, g++, make and git.
#
#   make env     .venv with pinned dependencies, ROS 2 from wheels (Linux x86-64) and sam2_ros_msgs; seconds if nothing changed
#   make demo    the tracker and the live node on a rendered clip: writes out/demo
#   make check   lint, types and the quick tests: while you work, under 2 minutes
#   make test    lint, types and all tests, with a live ROS graph: before a change request, 12 minutes on 2 cores
#   make docs    the documentation site: writes out/docs; a broken link is an error
#   make pins    scripts/requirements*.txt from the *.in beside them, with hashes; UV_ARGS=--upgrade: newer versions
#   make clean   removes everything that the other targets made
#
# Variables, each as in `make env PYTHON=python3.12`:
#   PYTHON          the interpreter for the environment
#   TORCH           the requirement or wheel (Jetson) of PyTorch for pip; empty = you install PyTorch
#   TORCH_PIP_ARGS  pip options for PyTorch alone, e.g. "--index-url URL" of a CPU-only or CUDA build. Empty on Linux:
#                   the CUDA build, several gigabytes; pytorch.org/get-started lists the URLs
#   ROS             auto = the wheels where they exist; none = no ROS graph (tests that need one are skipped with the reason)
PYTHON ?= python3
TORCH ?= torch==2.13.0
TORCH_PIP_ARGS ?=
ROS ?= auto
UV ?= uv
UV_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin

# The wheels must not see another ROS: a sourced /opt/ros, or the library path of another environment of wheels.
unexport AMENT_PREFIX_PATH CMAKE_PREFIX_PATH COLCON_PREFIX_PATH PYTHONPATH PYTHONHOME ROS_DISTRO ROS_VERSION ROS_PYTHON_VERSION
ifneq ($(AMENT_PREFIX_PATH)$(_ROS_WHEELS_BOOTSTRAP_COMPLETE),)
unexport LD_LIBRARY_PATH _ROS_WHEELS_BOOTSTRAP_COMPLETE
endif
# Keeps the topics of the tests on this machine.
export ROS_AUTOMATIC_DISCOVERY_RANGE := LOCALHOST

# One process for each core, at most 4. The tests of one file run in one process, as they share a model or a node.
BESIDE := $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

.PHONY: help env demo lint check test docs pins clean
help:
	@sed -n 's/^#   \{0,1\}//p' Makefile

env:
	@"$(PYTHON)" scripts/make_env.py --venv "$(VENV)" --torch "$(TORCH)" --torch-pip-args "$(TORCH_PIP_ARGS)" --ros "$(ROS)"

demo: env
	$(BIN)/sam2-ros demo --out out/demo

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check: lint
	$(BESIDE) -m "not slow and not gpu and not live and not long"

test: lint
	$(BESIDE) -m "not slow and not gpu and not alone"
	$(BIN)/python -m pytest -m "alone and not slow and not gpu"

docs: env
	$(BIN)/python -m sphinx -W --keep-going -n -q -d out/doctrees docs out/docs

# One file for all Pythons and platforms. Packages in both files have the same version.
PIN = $(UV) pip compile --quiet --universal --python-version 3.10 --generate-hashes --no-annotate \
	--custom-compile-command "make pins" $(UV_ARGS)
pins:
	@command -v $(UV) >/dev/null || { echo "make pins: uv is missing: pip install uv, or UV=PATH" >&2; exit 1; }
	$(PIN) scripts/requirements.in -o scripts/requirements.txt
	$(PIN) -c scripts/requirements.txt scripts/requirements-ros.in -o scripts/requirements-ros.txt

clean:
	rm -rf $(VENV) build install log dist out *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	rm -f sam2_ros/engine/kernels/_cpu_kernels*.so
	find sam2_ros scripts launch test -name __pycache__ -type d -prune -exec rm -rf {} +
