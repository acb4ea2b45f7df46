# SPDX-License-Identifier: Apache-2.0
"""The language of the repository: spelling, prose lint, doubled words, words of a workplace, retired names.

Reads documents, sources and their comments and strings; knows nothing of what they describe.
"""

from __future__ import annotations

import ast
import importlib.util
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = (
    "config",
    "docker",
    "docs",
    "examples",
    "launch",
    "models",
    "sam2_ros",
    "sam2_ros_msgs",
    "scripts",
    "test",
)
DOCUMENTS = (".md", ".rst")
SUFFIXES = (
    ".py", *DOCUMENTS, ".action", ".cfg", ".cpp", ".css", ".h", ".html", ".in", ".msg", ".sh", ".srv", ".toml", ".xml",
    ".yaml", ".yml",
)  # fmt: skip
NAMES = ("Makefile", "Dockerfile", "run")  # .ci/run

# Words about the circumstances in which a text was written. For `helper` write what it does.
WORKPLACE = re.compile(
    r"\.\./shared|/work/|\bissue #?\d{1,3}\b|\bhelpers?\b|\b(this|last|previous|earlier) session\b|\bthe customer\b",
    re.IGNORECASE,
)
EVALUATION_DATA = "../shared"  # folder beside the repository in which tests look for data
# Metaphors that the field's terms replaced, as words and within names.
RETIRED = re.compile(
    r"(?<![a-z])(?i:footage|sow(?:s|n|ing)?|scouts?|journeys?|tally|tallies)(?![a-z])"
    r"|PromptDesk|\b(?:Carrier|Sightings)\b(?=[(:`])"
)
DOUBLED = re.compile(
    r"\b(a|an|and|are|as|at|be|by|for|from|in|is|it|not|of|on|or|that|the|this|to|with)\s+\1\b", re.IGNORECASE
)


@cache
def texts() -> tuple[Path, ...]:
    """The texts of the repository, without this file and the pinned requirements."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode == 0:
        found = [ROOT / name for name in listed.stdout.split("\0") if name]
    else:  # a source distribution has no .git
        found = [*ROOT.glob("*"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*"))]
    return tuple(
        path
        for path in sorted(found)
        if path.is_file()
        and path != Path(__file__).resolve()
        and (path.suffix in SUFFIXES or path.name in NAMES)
        and not path.name.startswith("requirements")
    )


def documents() -> list[Path]:
    return [path for path in texts() if path.suffix in DOCUMENTS]


@lru_cache(1024)
def prose(path: Path, text: str) -> list[tuple[int, str]]:
    """(line, text): comments and strings of Python, documents without code, other files as they are."""
    if path.suffix != ".py":
        return [(1, without_code(text) if path.suffix in DOCUMENTS else text)]
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    pieces = [(token.start[0], token.string) for token in tokens if token.type == tokenize.COMMENT]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            pieces.append((node.lineno, node.value))
    return pieces


def without_code(text: str) -> str:
    """Blank fenced code, inline code and addresses but for their first character; lines keep their numbers."""

    def blank(match: re.Match[str]) -> str:
        return match[0][0] + re.sub(r"[^\n]", " ", match[0][1:])

    text = re.sub(r"^( *)(```|~~~).*?^\1\2", blank, text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`+[^`]+`+|https?://[^\s)>]+", blank, text)


def found(pattern: re.Pattern[str], pieces: list[tuple[int, str]]) -> list[str]:
    return [
        f"{line + text.count(chr(10), 0, match.start())}: {match[0]!r}"
        for line, text in pieces
        for match in pattern.finditer(text)
    ]


def lint_workplace(path: Path, text: str) -> list[str]:
    if path.suffix in DOCUMENTS:
        return found(WORKPLACE, [(1, text)])  # code, too: it has paths
    pieces = prose(path, text)
    if ROOT / "test" in path.parents:
        pieces = [(line, piece.replace(EVALUATION_DATA, "")) for line, piece in pieces]
    return found(WORKPLACE, pieces)


def lint_retired(path: Path, text: str) -> list[str]:
    return found(RETIRED, [(1, text)])


def lint_doubled(path: Path, text: str) -> list[str]:
    return found(DOUBLED, prose(path, text))


LINTERS = (lint_workplace, lint_retired, lint_doubled)


@pytest.mark.parametrize("linter", LINTERS)
def test_no_text_has_words_that_do_not_belong(linter):
    wrong = [
        f"{path.relative_to(ROOT)}:{hit}" for path in texts() for hit in linter(path, path.read_text("utf-8"))
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("linter", "name", "text", "hits"),
    [
        (lint_workplace, "docs/a.md", "Fine.\n\n```\nls ../shared/data\n```\n", 1),
        (lint_workplace, "sam2_ros/a.py", '"""Fixes issue 19."""\n', 1),
        (lint_workplace, "sam2_ros/a.py", "from onnx import helper\n\nhelper.make_node()\n", 0),
        (lint_workplace, "sam2_ros/a.py", 'raise ValueError(f"{name}: the helper failed")\n', 1),
        (lint_workplace, "test/a.py", '"""Reads ../shared/data."""\n', 0),
        (lint_retired, "sam2_ros/a.py", "def find_footage(): ...\n", 1),
        (lint_retired, "sam2_ros/a.py", "class Carrier: ...\n", 1),
        (lint_retired, "docs/a.md", "Two sightings; the sower; a Carrier board.\n", 0),
        (lint_doubled, "sam2_ros/a.py", "x = 1  # the the mask\n", 1),
        (lint_doubled, "docs/a.md", "`to to`, in `a` in, and is\nis again\n", 1),
    ],
)
def test_planted_words_are_found(linter, name, text, hits):
    assert len(linter(ROOT / name, text)) == hits


def codespell(files: Sequence[Path]) -> str:
    """What codespell finds, with the settings in pyproject.toml."""
    command = [
        sys.executable,
        "-m",
        "codespell_lib",
        "--toml",
        str(ROOT / "pyproject.toml"),
        *map(str, files),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 65), done.stderr  # 65: misspelt words
    return done.stdout


def test_words_are_spelt_correctly(tmp_path):
    pytest.importorskip("codespell_lib")
    if not any(importlib.util.find_spec(name) for name in ("tomllib", "tomli")):
        pytest.skip("codespell needs tomli to read pyproject.toml on Python 3.10")
    misspelt = codespell(texts())
    assert not misspelt, misspelt
    planted = tmp_path / "a.md"
    planted.write_text("The node recieves an image.\n")
    assert "recieves ==> receives" in codespell([planted])


@pytest.mark.long
def test_prose_lint_finds_nothing_in_the_documents(tmp_path):
    pytest.importorskip("proselint")
    for path in documents():
        copy = tmp_path / path.relative_to(ROOT).as_posix().replace("/", "--")
        copy.write_text(without_code(path.read_text("utf-8")))
    hits = proselint(sorted(tmp_path.iterdir()))
    assert not hits, hits
    planted = tmp_path / "planted.md"
    planted.write_text("It is very unique.\n")
    assert "very unique" in proselint([planted])


def proselint(files: Sequence[Path]) -> str:
    command = [sys.executable, "-m", "proselint", "--config", str(ROOT / ".proselintrc.json"), "check"]
    done = subprocess.run([*command, *map(str, files)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout + done.stderr
