# SPDX-License-Identifier: Apache-2.0
"""The documentation site builds without a warning, and its generated pages agree with the code.

Sphinx and its theme are needed for the build alone.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import sam2_ros.engine

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


def build(source: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """Builds the site as `make docs` does."""
    pytest.importorskip("sphinx")
    pytest.importorskip("furo")
    strict = ["-W", "--keep-going", "-n", "-q"]
    command = [
        sys.executable,
        "-m",
        "sphinx",
        *strict,
        "-d",
        str(out / "doctrees"),
        str(source),
        str(out / "html"),
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=ROOT)


@pytest.mark.long
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    built = build(DOCS, tmp_path)
    assert built.returncode == 0, built.stderr
    pages = [page.relative_to(DOCS).with_suffix(".html") for page in DOCS.rglob("*.md")]
    assert all((tmp_path / "html" / page).is_file() for page in pages)


@pytest.mark.long
def test_a_broken_link_a_broken_anchor_and_a_renamed_class_fail_the_build(tmp_path: Path) -> None:
    source = tmp_path / "docs"
    source.mkdir()
    for name in ("conf.py", "docstrings.py", "repository_links.py"):
        shutil.copy(DOCS / name, source)
    (source / "_static").mkdir()
    (source / "_static" / "site.css").touch()
    faults = {
        "[a page](no-such-page.md)": "no-such-page.md",
        "[a file](../no_such_file.py)": "no_such_file.py",
        "[a heading here](#no-such-heading)": "no-such-heading",
        "[a heading of a page](other.md#no-such-section)": "no-such-section",
        "[a heading of a file](../README.md#no-such-part)": "no-such-part",
        "```{eval-rst}\n.. autoclass:: sam2_ros.errors.RenamedError\n```": "RenamedError",
        "{py:class}`sam2_ros.errors.OtherName`": "OtherName",
    }
    good = "[a file](../README.md) [its heading](../README.md#licence) [a folder](../config) [a page](other.md#other)"
    (source / "other.md").write_text("# Other\n\n[Back](index.md)\n")
    page = "# Index\n\n```{toctree}\nother\n```\n\n"
    (source / "index.md").write_text(page + good)
    built = build(source, tmp_path / "good")
    assert built.returncode == 0, built.stderr
    (source / "index.md").write_text(page + "\n\n".join(faults))
    built = build(source, tmp_path / "bad")
    assert built.returncode != 0
    for fault in faults.values():
        assert fault in built.stderr
    assert built.stderr.count("WARNING") == len(faults), built.stderr


def test_generated_files_are_as_the_code_says() -> None:
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        from reference_pages import generated_files
    finally:
        sys.path.pop(0)
    files = generated_files()
    assert len(files) == 5
    for path, content in files.items():
        assert path.read_text("utf-8") == content, f"{path}: python scripts/reference_pages.py writes it anew"


def test_every_public_name_of_the_engine_is_documented() -> None:
    pages = "".join(page.read_text("utf-8") for page in (DOCS / "reference" / "python-api").glob("*.md"))
    documented = {name.rpartition(".")[2] for name in re.findall(r"\.\. auto\w+:: ([\w.]+)", pages)}
    assert set(sam2_ros.engine.__all__) <= documented
