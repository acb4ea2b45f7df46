# SPDX-License-Identifier: Apache-2.0
"""The files of the page without a browser: types, sizes, nothing inline, no other host, no HTML from text."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[3] / "sam2_ros" / "ui" / "page"
MODULES = sorted(PAGE.glob("*.js"))
FILES = sorted(PAGE.iterdir())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_is_short_and_licensed_and_asks_no_other_host(path: Path) -> None:
    text = path.read_text("utf-8")
    assert "SPDX-License-Identifier: Apache-2.0" in text[:100]
    assert len(text.splitlines()) <= 400
    assert max(map(len, text.splitlines())) <= 120 or path.suffix != ".js"
    addresses = set(re.findall(r"https?://[\w./]+", text))
    assert addresses <= {"http://www.w3.org/2000/svg"}


def test_nothing_is_inline() -> None:
    html = (PAGE / "index.html").read_text("utf-8")
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)|javascript:", html)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_no_module_makes_html_or_code_from_text(path: Path) -> None:
    found = re.findall(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|DOMParser",
        path.read_text("utf-8"),
    )
    assert not found


def test_every_element_that_a_module_asks_for_is_in_the_page() -> None:
    html = (PAGE / "index.html").read_text("utf-8")
    text = "".join(path.read_text("utf-8") for path in MODULES)
    wanted = set(re.findall(r'\belement\("([\w-]+)"', text)) | set(re.findall(r"#(i-[\w]+)", text))
    assert len(wanted) > 20
    assert not wanted - set(re.findall(r'id="([\w-]+)"', html))


def test_every_button_of_the_page_has_an_action_and_every_key_too() -> None:
    main = (PAGE / "main.js").read_text("utf-8")
    table = main[main.index("const ACTIONS = {") :]
    actions = set(re.findall(r'^  "?([\w-]+)"?[:,]', table, re.M))
    live = (PAGE / "live.js").read_text("utf-8")
    table = live[live.index("this.actions = {") : live.index("  can(action)")]
    actions |= set(re.findall(r"^      (\w+): \(", table, re.M))
    html, keys = (PAGE / "index.html").read_text("utf-8"), (PAGE / "keys.js").read_text("utf-8")
    wanted = set(re.findall(r'data-action="([\w-]+)"', html)) | set(
        re.findall(r'^    \[.*"([\w-]+)"\],$', keys, re.M)
    )
    assert len(wanted) > 30
    assert not wanted - actions


def test_types_hold() -> None:
    if not (compiler := shutil.which("tsc")):
        pytest.skip("needs TypeScript's compiler (npm install -g typescript)")
    options = ["--noEmit", "--allowJs", "--checkJs", "--strict", "--target", "es2022", "--module", "es2022"]
    options += ["--moduleResolution", "bundler", "--lib", "es2023,dom,dom.iterable"]
    done = subprocess.run(
        [compiler, *options, *MODULES], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout
