# SPDX-License-Identifier: Apache-2.0
"""The program of the README runs, and every file, test, module and page that documents name exists."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from sam2_ros.media.overlay import VideoWriter

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "models").rglob("*.md")]


def test_the_tree_of_the_package_is_as_the_files_say():
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        from architecture_tree import PAGE, with_tree
    finally:
        sys.path.pop(0)
    page = PAGE.read_text()
    assert page == with_tree(page), "python scripts/reference_pages.py writes it anew"
    assert page.count(".py` |") > 200


@pytest.mark.parametrize(
    ("page", "heading"),
    [
        ("explanation/numerics", "| what "),
        ("faults", "| fault "),
        ("faults", "| elsewhere "),
        ("reference/results", "| what could "),
    ],
)
def test_every_row_of_a_promise_names_a_test_that_is_there(page, heading):
    text = (ROOT / "docs" / f"{page}.md").read_text()
    tables = text.split(f"\n{heading}")[1:]
    rows = [row for table in tables for row in table.partition("\n\n")[0].splitlines()[2:]]
    assert len(rows) >= 8
    footnotes = dict(re.findall(r"^\[\^(\w+)\]: (.*)$", text, re.MULTILINE))
    for row in rows:
        named = re.search(
            r"`(test/\S+\.py)::(\w+)`", re.sub(r"\[\^(\w+)\]", lambda ref: footnotes[ref[1]], row)
        )
        assert named is not None, f"no test named in {row}"
        assert f"def {named[2]}(" in (ROOT / named[1]).read_text(), row


def test_the_faults_that_make_test_does_not_provoke_are_marked():
    text = (ROOT / "docs" / "faults.md").read_text()
    named = re.findall(r"`(test/\S+\.py)::(\w+)`( †)?", text)
    assert len(named) > 40
    for path, test, mark in named:
        source = (ROOT / path).read_text()
        # What has no wheel is not in the environment that `make test` makes; what is slow or needs a GPU it leaves out.
        needs = set(re.findall(r'^pytest\.importorskip\("(\w+)', source, re.MULTILINE)) - {
            "rclpy",
            "sam2_ros_msgs",
        }
        left_out = re.search(rf"@pytest\.mark\.(slow|gpu)\n(@.*\n)*def {test}\(", source) is not None
        assert bool(mark) == (bool(needs) or left_out), f"{path}::{test}"


def test_source_files_and_modules_that_pages_name_are_there():
    others = {"tools/vos_inference.py"}  # of Meta's package
    sources = [
        path.relative_to(ROOT).as_posix() for path in ROOT.glob("**/*.py") if ".venv" not in path.parts
    ]
    for page in PAGES:
        text = page.read_text()
        for name in set(re.findall(r"`(?:python )?([\w/]+\.py)(?:::\w+)?`", text)) - others:
            assert any(f"/{source}".endswith(f"/{name}") for source in sources), f"{page.name} names {name}"
        for name in re.findall(r"-m (sam2_ros[.\w]*)", text):
            module = name.replace(".", "/")
            runs = {f"{module}.py", f"{module}/__main__.py"} & set(sources)
            assert runs, f"{page.name} runs {name}"


def test_the_readme_names_what_the_demo_leaves():
    from sam2_ros.eval.demo import RESULT_NAMES

    table = README.read_text().partition("`out/demo/` holds:")[2].partition("\n\n`make`")[0]
    named = re.findall(r"^\| `(\S+)`", table, re.MULTILINE)
    assert len(named) == 4
    assert set(named) <= set(RESULT_NAMES)


def test_the_readme_is_read_in_two_minutes():
    text = README.read_text()
    assert len(text.splitlines()) <= 165
    assert len(text.split()) <= 1400


def test_the_first_picture_moves_and_all_are_small():
    paths = [ROOT / name for name in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README.read_text())]
    assert sum(path.stat().st_size for path in paths) < 2_000_000
    for path in paths:
        with Image.open(path) as picture:
            assert picture.n_frames >= (50 if path == paths[0] else 1)
            assert picture.size[0] >= 480


def test_the_python_of_the_readme_tracks_the_cup(tmp_path):
    (program,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(program.splitlines()) <= 12
    ground = np.random.default_rng(0).integers(90, 130, (480, 640, 3)).astype(np.uint8)
    video = VideoWriter(tmp_path / "clip.mp4", fps=10)
    for shift_px in range(0, 12, 3):
        frame = ground.copy()
        cv2.circle(frame, (250 + shift_px, 200), 38, (220, 40, 30), -1)
        video.write(frame)
    video.close()
    run = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = run.stdout.splitlines()
    assert len(lines) == 4
    for index, line in enumerate(lines):
        found = re.fullmatch(rf"{index} cup TRACKING \((\d+), (\d+), (\d+), (\d+)\) (\d+)", line)
        assert found is not None, line
        assert abs(int(found[1]) - (250 + 3 * index - 38)) <= 6, line
        assert 0.85 < int(found[5]) / (np.pi * 38**2) < 1.15, line


def test_links_between_pages_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
