# SPDX-License-Identifier: Apache-2.0
"""A sequence that cannot be evaluated is skipped with one line that names it; the others are scored as usual."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from vos_layouts import grey_frames, labels_of, write_masks, write_sequence

from sam2_ros.cli.main import run

pytestmark = pytest.mark.long

ONE = labels_of((1, 5, 5))
TWO = labels_of((1, 5, 5), (2, 30, 20))
QUICK = ("--prompt", "mask", "--image-size", "256", "--json")


def evaluated(
    capsys: pytest.CaptureFixture[str], status: int, *arguments: object
) -> tuple[dict, list[str], str]:
    """The report, the lines of standard error, and the table."""
    assert run(["eval", *map(str, arguments), *QUICK]) == status
    said = capsys.readouterr()
    *table, line = said.out.splitlines()
    return json.loads(line), said.err.splitlines(), "\n".join(table)


def sequence(folder: Path, labels: list[np.ndarray] | None = None) -> Path:
    labels = [ONE] * 5 if labels is None else labels
    return write_sequence(folder, grey_frames(len(labels)), dict(enumerate(labels)))


def half(file: Path) -> None:
    """Truncates the file, as an interrupted copy does."""
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def test_each_broken_sequence_is_named_with_its_file_and_the_others_are_scored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "set"
    sequence(root / "good")
    sequence(root / "vanishes", [TWO, TWO, ONE, ONE, TWO])  # valid: 2 is absent, and scored as absent
    half(sequence(root / "half-frame") / "frames" / "00002.jpg")
    half(sequence(root / "half-mask") / "masks" / "00002.png")
    (sequence(root / "no-first-frame") / "frames" / "00000.jpg").write_bytes(b"no image")
    (sequence(root / "no-masks") / "masks").rename(tmp_path / "away")
    for file in (sequence(root / "empty") / "frames").iterdir():
        file.unlink()
    sequence(root / "other-size", [ONE, ONE, labels_of((1, 5, 5), size=(20, 30)), ONE, ONE])
    sequence(root / "no-object", [ONE * 0] * 5)
    write_sequence(root / "two-masks", grey_frames(5), {0: ONE, 4: ONE})
    report, said, table = evaluated(capsys, 1, root, "--out", tmp_path / "out")
    expected = {
        "half-frame": ["half-frame/frames/00002.jpg", "expected a JPEG or PNG", "copy it anew"],
        "half-mask": ["half-mask/masks/00002.png", "expected a palette PNG", "copy it anew"],
        "no-first-frame": ["no-first-frame/frames/00000.jpg", "expected a JPEG or PNG"],
        "no-masks": ["no-masks/masks' expected"],
        "empty": ["empty/frames' holds no image"],
        "other-size": ["other-size/masks/00002.png' is 30 x 20 px", "60 x 40", "replace one"],
        "no-object": ["has no object in any annotated frame"],
        "two-masks": ["has 2 annotated frames", "at least 3 expected"],
    }
    assert set(report["failed"]) == set(expected)
    for name, parts in expected.items():
        assert [part for part in parts if part not in report["failed"][name]] == [], report["failed"][name]
        assert f"{name} failed: {report['failed'][name]}" in said
    assert len(said) == len(expected)
    assert table.count("failed") == len(expected)
    assert list(report["sequences"]) == ["good", "vanishes"]
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["failed"] == report["failed"]
    curve = json.loads((tmp_path / "out" / "vanishes" / "result.json").read_text())["objects"]["2"]["curve"]
    assert curve["visible"] == [True, False, False]
    assert not (tmp_path / "out" / "half-mask" / "result.json").exists()
    alone, said, _ = evaluated(capsys, 0, root, "--sequence", "good", "--sequence", "vanishes")
    assert said == []
    for key in ("J", "F", "JF", "absent"):
        assert alone[key] == report[key]


def test_a_set_without_a_usable_sequence_is_wrong_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b"):
        (sequence(tmp_path / "set" / name) / "frames" / "00001.jpg").write_bytes(b"no image")
    assert run(["eval", str(tmp_path / "set"), *QUICK]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert "none of 2 sequences of" in last
    assert "a/frames/00001.jpg" in last


def test_the_next_run_evaluates_only_the_repaired_sequence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, out = tmp_path / "set", tmp_path / "out"
    sequence(root / "a")
    sequence(root / "b", [ONE, ONE, ONE, labels_of((1, 5, 5), size=(20, 30)), ONE])
    report, _, _ = evaluated(capsys, 1, root, "--out", out)
    assert list(report["failed"]) == ["b"]
    written = (out / "a" / "result.json").stat().st_mtime_ns
    write_masks(tmp_path / "good", {3: ONE})
    (tmp_path / "good" / "00003.png").replace(root / "b" / "masks" / "00003.png")
    report, said, _ = evaluated(capsys, 0, root, "--out", out)
    assert said == [
        f"1 of 2 sequences are complete in '{out}' and reused; --fresh runs them again",
    ]
    assert list(report["sequences"]) == ["a", "b"]
    assert (out / "a" / "result.json").stat().st_mtime_ns == written


@pytest.mark.parametrize("frames", [6, 11])
def test_a_full_disk_keeps_what_is_complete(
    small_disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], frames: int
) -> None:
    names = [str(number) for number in range(5)]
    for name in names:
        sequence(tmp_path / "set" / name, [ONE] * frames)
    report, _, _ = evaluated(capsys, 1, tmp_path / "set", "--out", small_disk)
    complete = list(report["sequences"])
    assert complete
    assert [*complete, *(name for name in report["failed"] if name in names)] == names
    assert report["JF"] is not None
    full = report["failed"][names[len(complete)]]
    assert f"'{small_disk}/.partial/{names[len(complete)]}" in full
    assert "No space left on device; free some space and give the same command again" in full
    assert all("not run" in report["failed"][name] for name in names[len(complete) + 1 :])
    for name in complete:
        assert json.loads((small_disk / name / "result.json").read_text())["name"] == name
    assert not (small_disk / names[len(complete)] / "result.json").exists()
    subprocess.run(["mount", "-o", "remount,size=2m", str(small_disk)], check=True)
    report, said, _ = evaluated(capsys, 0, tmp_path / "set", "--out", small_disk)
    assert said[0].startswith(f"{len(complete)} of 5 sequences are complete")
    assert list(report["sequences"]) == names
