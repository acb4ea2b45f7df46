# SPDX-License-Identifier: Apache-2.0
"""CI hosts and pre-commit run the documented commands and no others.

Starts no job. Where actionlint, yamllint or pre-commit are installed, they check the files, too.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
GITHUB = ROOT / ".github" / "workflows" / "ci.yml"
GITLAB = ROOT / ".gitlab-ci.yml"
HOOKS = ROOT / ".pre-commit-config.yaml"
MATRIX = ["3.10", "3.12", "3.13"]


def loaded(path: Path) -> dict[Any, Any]:
    content: dict[Any, Any] = yaml.safe_load(path.read_text("utf-8"))
    return content


def program(name: str) -> str:
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        pytest.skip(f"needs {name}: pip install {name}")
    return found


def run(*command: str) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_github_runs_the_one_script() -> None:
    jobs = loaded(GITHUB)["jobs"]
    commands = {name: [step["run"] for step in job["steps"] if "run" in step] for name, job in jobs.items()}
    assert commands == {"test": [".ci/run"], "check": [".ci/run check ROS=none"]}
    assert jobs["check"]["strategy"]["matrix"]["python-version"] == MATRIX
    for job in jobs.values():
        actions = [step["uses"] for step in job["steps"] if "uses" in step]
        assert [action.split("@")[0] for action in actions] == ["actions/checkout", "actions/setup-python"]
        assert job["timeout-minutes"] <= 60


def test_gitlab_runs_the_one_script() -> None:
    jobs = {name: job for name, job in loaded(GITLAB).items() if "script" in job}
    assert {name: job["script"] for name, job in jobs.items()} == {
        "test": [".ci/run"],
        "check": [".ci/run check ROS=none"],
    }
    assert jobs["check"]["parallel"]["matrix"] == [{"PYTHON_VERSION": MATRIX}]


def test_both_take_a_pytorch_without_cuda() -> None:
    arguments = [loaded(GITHUB)["env"]["TORCH_PIP_ARGS"], loaded(GITLAB)["variables"]["TORCH_PIP_ARGS"]]
    assert arguments[0] == arguments[1]
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert re.search(
        r"^TORCH_PIP_ARGS \?=", makefile, re.MULTILINE
    )  # the environment's value takes precedence


def test_the_hooks_are_programs_of_the_environment() -> None:
    (repository,) = loaded(HOOKS)["repos"]
    assert repository["repo"] == "local"  # nothing is downloaded, and no second list of versions
    programs = {hook["id"]: hook["entry"].split()[0] for hook in repository["hooks"]}
    assert set(programs) == {"ruff", "ruff-format", "codespell", "mypy"}
    pins = (ROOT / "scripts" / "requirements.txt").read_text("utf-8")
    for entry in programs.values():
        assert Path(entry).parent.as_posix() == ".venv/bin"
        assert f"\n{Path(entry).name}==" in pins


def test_actionlint_finds_nothing() -> None:
    run(program("actionlint"), str(GITHUB))


@pytest.mark.parametrize("path", [GITHUB, GITLAB, HOOKS], ids=lambda path: path.name)
def test_yamllint_finds_nothing(path: Path) -> None:
    rules = "{extends: default, rules: {line-length: {max: 140}, document-start: disable, truthy: {check-keys: false}}}"
    run(program("yamllint"), "--strict", "-d", rules, str(path))


def test_pre_commit_accepts_its_configuration() -> None:
    run(program("pre-commit"), "validate-config", str(HOOKS))
