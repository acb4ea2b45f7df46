# SPDX-License-Identifier: Apache-2.0
"""Command lines on the pages are valid: each is parsed, none is run."""

from __future__ import annotations

import re
import shlex
from itertools import pairwise
from pathlib import Path

import pytest
import typer

from sam2_ros.cli.main import _UsageError, app
from sam2_ros.node.parameters.params import NodeParams
from sam2_ros.node.parameters.yaml_values import ROS_OWN

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "models").rglob("*.md")),
    ROOT / "examples" / "README.md",
]
NUMBERS = {
    "N": "2",
    "POINTS": "1",
    "SIZE": "256",
    "RATE": "24",
}  # placeholders for numbers on the pages
NO_WORD = re.compile(r"[\[\].]*|\$[a-z]+")  # "...", and a loop variable in place of options
END = re.compile(r"\s(?:#|\||&&|\|\||;|>|&)(?:\s|$)")  # the end of a command


def command_lines(page: Path, program: str) -> list[tuple[list[str], bool]]:
    """Arguments of every call of a program on a page, and True if it is complete: in a code block, with arguments."""
    text = page.read_text()
    blocks = re.findall(r"^[ ]*(?:```|:::)[^\n]*\n(.*?)^[ ]*(?:```|:::)", text, re.MULTILINE | re.DOTALL)
    spans = re.findall(
        r"(?<!`)`([^`\n]+(?:\n[^`\n]+)?)`(?!`)", re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    )
    found = []
    for part, whole in [(block, True) for block in blocks] + [
        (span.replace("\n", " "), False) for span in spans
    ]:
        for line in part.replace("\\\n", " ").splitlines():
            for call in re.findall(rf"(?:^|[\s/]){re.escape(program)}((?:\s.*)?)$", line):
                words = shlex.split(END.split(f"{call} ")[0])
                words = [word.strip("[]") for word in words if not NO_WORD.fullmatch(word)]
                # A command's name alone is the heading of its output, or a mention.
                found.append(([NUMBERS.get(word, word) for word in words], whole and len(words) > 1))
    return found


def parsed(arguments: list[str], whole: bool) -> None:
    """Raises the errors of the command line for these arguments; a part of a line may lack required ones."""
    command = typer.main.get_command(app)
    words = list(arguments)
    name = "sam2-ros"
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        name = words.pop(0)
        assert name in command.commands, f"no command {name}: {sorted(command.commands)}"
        command = command.commands[name]
    try:
        command.make_context(name, words)
    except _UsageError as error:
        if whole or type(error).__name__ not in ("MissingParameter", "NoArgsIsHelpError"):
            raise
    except Exception as error:
        if type(error).__name__ not in ("Exit", "NoArgsIsHelpError"):  # --help, or a group's name alone
            raise


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_sam2_ros_line_of_a_page_parses(page):
    for arguments, whole in command_lines(page, "sam2-ros"):
        try:
            parsed(arguments, whole)
        except Exception as error:
            pytest.fail(f"{page.name}: sam2-ros {shlex.join(arguments)}: {error}")


def test_a_wrong_line_would_be_found():
    with pytest.raises(_UsageError):
        parsed(["track", "clip.mp4", "--out", "out", "--boxes", "cup@0:1,2,3,4"], whole=True)
    with pytest.raises(_UsageError):
        parsed(["track", "clip.mp4"], whole=True)
    with pytest.raises(_UsageError):
        parsed(["track", "--boxes"], whole=False)
    with pytest.raises(AssertionError):
        parsed(["tracks", "clip.mp4"], whole=False)
    parsed(["track", "--backward"], whole=False)
    shown = sum(len(command_lines(page, "sam2-ros")) for page in PAGES)
    assert shown > 60, shown


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_examples_that_a_page_runs_are_there_with_their_options(page):
    for name, rest in re.findall(
        r"python (examples/\w+\.py)([^\n`]*)", page.read_text().replace("\\\n", " ")
    ):
        path = ROOT / name
        assert path.is_file(), f"{page.name} runs {name}"
        for option in re.findall(r"(?<=\s)--[a-z][\w-]*", END.split(rest)[0]):
            assert f'"{option}"' in path.read_text() or option == "--help", f"{page.name}: {name} {option}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_parameters_given_to_the_node_on_a_page_exist(page):
    for arguments, whole in command_lines(page, "sam2_node"):
        given = [right for left, right in pairwise(arguments) if left == "-p" and whole]
        for name in (each.partition(":=")[0] for each in given):
            known = name in NodeParams.__dataclass_fields__ or name.startswith("qos_overrides.")
            known |= name in ROS_OWN
            assert known, f"{page.name}: -p {name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_on_a_page_compiles(page):
    text = page.read_text()
    for number, block in enumerate(re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)):
        compile(block, f"{page.name}, block {number}", "exec")
    for number, block in enumerate(re.findall(r'python -c "\n(.*?[^\\])"\n', text, re.DOTALL)):
        compile(block.replace('\\"', '"'), f"{page.name}, -c {number}", "exec")
