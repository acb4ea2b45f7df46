# SPDX-License-Identifier: Apache-2.0
"""`sam2-ros eval` end to end: the table, the JSON line, the folder, one line per error."""

from __future__ import annotations

import json
import shutil
from datetime import datetime
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from vos_layouts import grey_frames, labels_of, write_frames, write_masks, write_sequence

from sam2_ros.cli.main import run
from sam2_ros.eval.metrics import boundary_f, region_j

pytestmark = pytest.mark.long

MEANS = ("J", "F", "JF", "absent", "decay", "false_presence")
ONE = labels_of((1, 5, 5))


def report_of(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict:
    assert run(["eval", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def error_of(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert run(["eval", *map(str, arguments)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def values(path: Path) -> np.ndarray:
    return np.array(Image.open(path))  # palette indices


def test_scores_are_those_of_the_masks_it_leaves(
    rendered: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    report = report_of(capsys, rendered, "--prompt", "box", "--out", out)
    assert set(report) == {"model", "prompt", "sequences", "failed", "latency_ms", *MEANS, "fps"}
    assert set(report["sequences"]["clip"]) == {*MEANS, "fps"}
    assert report["failed"] == {}
    assert list(report["latency_ms"]) == ["p50", "p95"]
    assert (report["model"], report["prompt"]) == ("nano", "box")
    means = []
    for value, frames in ((3, range(1, 5)), (7, range(3, 5))):
        pairs = [
            (
                values(out / "clip" / f"{index:05d}.png") == value,
                values(rendered / "clip" / "masks" / f"{index:05d}.png") == value,
            )
            for index in frames
        ]
        means.append([np.mean([measure(*pair) for pair in pairs]) for measure in (region_j, boundary_f)])
    j, f = 100 * np.mean(means, axis=0)
    assert report["J"] == pytest.approx(j, abs=0.01)
    assert report["F"] == pytest.approx(f, abs=0.01)
    assert report["JF"] == pytest.approx((j + f) / 2, abs=0.01)
    assert report["J"] > 50  # it tracks
    assert report["sequences"]["clip"]["JF"] == report["JF"]
    assert report["fps"] > 0
    summary = json.loads((out / "summary.json").read_text())
    assert {key: summary[key] for key in report} == report
    assert {key: one["frames"] for key, one in summary["objects"]["model"]["clip"].items()} == {
        "3": 4,
        "7": 2,
    }
    result = json.loads((out / summary["results"]["clip"]).read_text())
    for key, one in result["objects"].items():
        assert {**summary["objects"]["model"]["clip"][key], "curve": one["curve"]} == one
        assert np.mean(one["curve"]["J"]) == pytest.approx(one["J"], abs=0.01)
        assert set(one["curve"]["state"]) <= {"PENDING", "TRACKING", "OCCLUDED", "LOST"}
        assert len(one["curve"]["presence"]) == len(one["curve"]["visible"]) == one["frames"]
    assert (result["first_frames"], result["frames"], result["hw"]) == ({"3": 0, "7": 2}, 6, [120, 160])
    assert all((out / "clip" / name).is_file() for name in (*result["masks"], result["overlay"]))
    assert len(result["steps_ms"]) == 6
    assert summary["command"][:2] == ["sam2-ros", "eval"]
    assert set(summary["versions"]) == {"sam2_ros", "torch", "python"}
    assert datetime.fromisoformat(summary["created"]).tzinfo is not None
    video = cv2.VideoCapture(str(out / "clip" / "overlay.mp4"))
    assert (video.get(cv2.CAP_PROP_FRAME_COUNT), video.get(cv2.CAP_PROP_FRAME_WIDTH)) == (6, 160)


def test_the_rendered_set_is_scored_by_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names = ["occlusion/1", "plain/1", "occlusion/2"]
    arguments = [part for name in names for part in ("--sequence", name)]
    out = tmp_path / "out"
    arguments += ["--image-size", "128", "--out", str(out), "--json"]
    assert run(["eval", "rendered", "--prompt", "mask", *arguments]) == 0
    *table, line = capsys.readouterr().out.splitlines()
    report = json.loads(line)
    assert list(report["sequences"]) == names
    assert list(report["groups"]) == ["occlusion", "plain"]
    objects = json.loads((out / "summary.json").read_text())["objects"]["model"]
    of_group = [one for name in ("occlusion/1", "occlusion/2") for one in objects[name].values()]
    assert len(of_group) == 4
    for key in ("J", "F", "JF"):
        assert report["groups"]["occlusion"][key] == pytest.approx(
            np.mean([one[key] for one in of_group]), abs=0.02
        )
    assert report["groups"]["plain"]["absent"] is None
    assert report["absent"] == report["groups"]["occlusion"]["absent"]
    assert 0 <= report["absent"] <= 100
    assert 0 <= report["false_presence"] <= 100
    found = json.loads((out / "summary.json").read_text())["calibration"]
    assert found["frames"] == sum(one["frames"] for one in found["bins"]) == 3 * 2 * 38
    assert found["hidden"] > 0
    assert f"expected calibration error {found['ece']:.3f}" in "\n".join(table)
    assert len([row for row in table if "mean of " in row]) == 2
    assert len(list((out / "occlusion" / "2").glob("*.png"))) == 40


def test_baselines_are_measured_in_the_same_run(rendered: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["eval", str(rendered), "--prompt", "mask", "--baselines", "--json"]) == 0
    *table, line = capsys.readouterr().out.splitlines()
    report = json.loads(line)
    assert list(report["baselines"]) == ["flow", "grabcut"]
    for name in ("flow", "grabcut"):
        assert set(report["baselines"][name]) == {"sequences", "latency_ms", *MEANS, "fps"}
    assert report["baselines"]["flow"]["JF"] > 60  # slow motion: optical flow is enough
    text = "\n".join(table)
    assert "flow J&F" in text
    assert f"{report['baselines']['grabcut']['JF']:.1f}" in text
    assert [row for row in table if "id 7" in row]


def test_baselines_start_from_the_true_mask_where_that_is_the_prompt(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a static clip, flow keeps its first mask: the truth, or the model's answer."""
    noise = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    write_sequence(tmp_path / "set" / "still", [noise] * 4, dict.fromkeys(range(4), ONE))
    for prompt, exact in (("mask", True), ("click1", False)):
        report = report_of(capsys, tmp_path / "set", "--prompt", prompt, "--baseline", "flow")
        assert (report["baselines"]["flow"]["J"] == 100.0) is exact


def test_online_reports_the_number_of_prompted_frames(
    rendered: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = report_of(capsys, rendered, "--prompt", "online", "--out", tmp_path / "out")
    prompted = json.loads((tmp_path / "out" / "summary.json").read_text())["prompted_frames"]["clip"]
    assert set(prompted) == {"3", "7"}
    assert all(1 <= count <= 8 for count in prompted.values())
    assert report["prompt"] == "online"


def test_official_numerics_give_other_masks(
    rendered: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    masks = []
    for numerics in ("stream", "official_vos"):
        out = tmp_path / numerics
        report = report_of(capsys, rendered, "--prompt", "click3", "--numerics", numerics, "--out", out)
        assert report["J"] > 30
        assert json.loads((out / "summary.json").read_text())["numerics"] == numerics
        masks.append([values(path) for path in sorted((out / "clip").glob("*.png"))])
    assert not np.array_equal(*masks)


def test_less_memory_gives_other_masks_and_is_reported(
    rendered: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    masks = []
    for number, options in enumerate(
        ([], ["--memory-frames", "4", "--memory-pooling", "2", "--memory-every", "2"])
    ):
        out = tmp_path / str(number)
        assert run(["eval", str(rendered), "--prompt", "box", "--out", str(out), *options]) == 0
        shown = capsys.readouterr().out.splitlines()[0]
        memory = json.loads((out / "summary.json").read_text())["memory"]
        assert ("memory frames 4, memory pooling 2, memory every 2" in shown) == bool(options)
        assert list(memory.values()) == [*([4, 2, 2] if options else [7, 1, 1]), []]
        masks.append([values(path) for path in sorted((out / "clip").glob("*.png"))])
    assert not np.array_equal(*masks)


def test_objects_that_overlap_have_folders_of_their_own(
    rendered: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, out = tmp_path / "sav", tmp_path / "out"
    images = [cv2.imread(str(path))[..., ::-1] for path in sorted((rendered / "clip" / "frames").iterdir())]
    write_frames(root / "JPEGImages_24fps" / "v", images)
    for name, value in (("000", 3), ("001", 7)):
        labels = {i: values(rendered / "clip" / "masks" / f"{i:05d}.png") == value for i in (1, 3, 5)}
        write_masks(root / "Annotations_6fps" / "v" / name, labels)
    report = report_of(capsys, root, "--prompt", "mask", "--out", out)
    summary = json.loads((out / "summary.json").read_text())
    assert list(summary["objects"]["model"]["v"]) == ["000"]  # 001 first appears too late to be scored
    assert report["J"] == summary["objects"]["model"]["v"]["000"]["J"]
    assert not values(out / "v" / "000" / "00000.png").any()  # before its prompt
    assert set(np.unique(values(out / "v" / "000" / "00003.png"))) == {0, 255}
    assert len(list((out / "v" / "001").iterdir())) == 6


def test_a_longer_earlier_run_leaves_no_masks_behind(
    rendered: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clips = tmp_path / "clips"
    shutil.copytree(rendered, clips)
    report_of(capsys, clips, "--prompt", "mask", "--out", tmp_path / "out")
    (tmp_path / "out" / "clip" / "notes.txt").write_text("mine")
    for last in clips.glob("clip/*/00005.*"):
        last.unlink()
    report_of(capsys, clips, "--prompt", "mask", "--out", tmp_path / "out")
    left = sorted(path.name for path in (tmp_path / "out" / "clip").iterdir())
    assert left == [*(f"{i:05d}.png" for i in range(5)), "notes.txt", "overlay.mp4", "result.json"]


def test_options_that_cannot_be_used(
    rendered: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "--prompt scribble given, one of mask, box, click1" in error_of(
        capsys, rendered, "--prompt", "scribble"
    )
    assert "lie one inside the other" in error_of(
        capsys, rendered, "--prompt", "box", "--out", rendered / "clip"
    )
    assert "lie one inside the other" in error_of(
        capsys, rendered / "clip", "--prompt", "box", "--out", rendered
    )
    assert "--baseline kcf given, one of flow, grabcut" in error_of(
        capsys, rendered, "--prompt", "box", "--baseline", "kcf"
    )
    assert "--numerics exact given, one of stream" in error_of(
        capsys, rendered, "--prompt", "box", "--numerics", "exact"
    )
    assert "memory_every = 6: expected 1 (exact)..3, one less than memory_frames" in error_of(
        capsys, rendered, "--prompt", "box", "--memory-frames", "4", "--memory-every", "6"
    )
    assert "--workers -1 given, 1 or more expected" in error_of(
        capsys, rendered, "--prompt", "box", "--workers", "-1"
    )
    assert "--fresh without --out" in error_of(capsys, rendered, "--prompt", "box", "--fresh")
    assert "--ray local without --out" in error_of(capsys, rendered, "--prompt", "box", "--ray", "local")
    assert "does not exist" in error_of(capsys, tmp_path / "nowhere", "--prompt", "box")


def test_a_set_without_published_truth_is_refused_before_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_sequence(tmp_path / "set" / "a", grey_frames(5), {0: ONE})
    error = error_of(capsys, tmp_path / "set", "--prompt", "box", "--model", "not loaded")
    assert "no sequence with three annotated frames" in error


def test_a_sequence_without_objects_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_sequence(tmp_path / "set" / "a", grey_frames(3), dict.fromkeys(range(3), ONE * 0))
    assert "sequence 'a' has no object" in error_of(capsys, tmp_path / "set", "--prompt", "box")


def test_real_sequence(shared_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = report_of(
        capsys,
        shared_data / "vos",
        "--sequence",
        "davis16_car-shadow",
        "--prompt",
        "mask",
        "--baseline",
        "flow",
    )
    assert report["JF"] > 50
    assert list(report["baselines"]["flow"]["sequences"]) == ["davis16_car-shadow"]
