# SPDX-License-Identifier: Apache-2.0
"""`sam2-ros export`, then `--backend onnx` with its folder, and the node's parameter `backend`."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from vos_layouts import write_sequence

from sam2_ros.backends.onnx.layout import MANIFEST, MATCHING_STAGES, STAGES
from sam2_ros.backends.onnx.model import OnnxModel
from sam2_ros.cli.main import run
from sam2_ros.engine import Prompt
from sam2_ros.engine.postprocess import tight_box
from sam2_ros.eval.metrics import mask_iou
from sam2_ros.node.loading import load
from sam2_ros.node.parameters.params import NodeParams
from sam2_ros.synthetic.clip import Clip

pytestmark = pytest.mark.long


@pytest.fixture
def frames(clip: Clip, tmp_path: Path) -> Path:
    folder = tmp_path / "frames"
    folder.mkdir()
    for index, frame in enumerate(clip.frames[:4]):
        cv2.imwrite(str(folder / f"{index:05d}.png"), cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    return folder


def box_of(clip: Clip, thing: int) -> str:
    return f"thing{thing}@0:" + ",".join(str(edge) for edge in tight_box(clip.masks[0, thing]))


def assert_one_line(arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert expected in lines[0]


@pytest.mark.usefixtures("onnx_packages")
def test_export_ends_with_one_json_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    arguments = ["export", "nano", "--format", "onnx", "--out", str(out), "--objects", "1"]
    assert run([*arguments, "--image-size", "96", "--json"]) == 0
    report = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert (report["model"], report["objects"], report["image_size"]) == ("nano", 1, 96)
    assert report["max_error"].keys() == {*STAGES, *MATCHING_STAGES}
    assert report["bytes"] == {
        path.name: path.stat().st_size for path in out.iterdir() if path.name[0] != "."
    }
    assert MANIFEST in report["bytes"]


def test_an_export_that_is_not_possible_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path / "out")]
    assert_one_line(
        ["export", "nano", "--format", "tflite", *out], "--format 'tflite': expected onnx", capsys
    )
    (tmp_path / "file").touch()
    assert_one_line(["export", "nano", "--out", str(tmp_path / "file")], "is a file", capsys)
    pytest.importorskip("onnx", reason="the export needs it: pip install sam2_ros[onnx]")
    assert_one_line(["export", "gigantic", *out], "gigantic", capsys)
    assert_one_line(["export", "nano", "--objects", "0", *out], "--objects 0: expected a number", capsys)
    assert not (tmp_path / "out").exists()


def test_track_with_onnx_leaves_the_masks_of_torch(
    nano_export: Path, frames: Path, clip: Clip, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    boxes = ["--box", box_of(clip, 0), "--box", box_of(clip, 1)]
    given = [str(frames), *boxes, "--save", "masks,json"]
    exported = ["--model", str(nano_export), "--backend", "onnx", "--device", "cpu"]
    assert_one_line(
        ["track", *given, "--out", str(tmp_path / "onnx"), *exported], "conditioning frames wanted", capsys
    )
    whole = tmp_path / "whole"
    assert run(["export", "nano", "--out", str(whole), "--objects", "2"]) == 0
    exported[1] = str(whole)
    assert run(["track", *given, "--out", str(tmp_path / "onnx"), *exported]) == 0
    torch_only = ["--precision", "fp32", "--device", "cpu"]
    assert run(["track", *given, "--out", str(tmp_path / "torch"), *torch_only]) == 0
    for path in sorted((tmp_path / "torch" / "masks").iterdir()):
        a, b = (cv2.imread(str(tmp_path / kind / "masks" / path.name)) for kind in ("onnx", "torch"))
        assert b.any()
        assert mask_iou(a.any(axis=2), b.any(axis=2)) > 0.99
    third = [*given, "--box", "third@0:1,1,50,50", "--out", str(tmp_path / "no")]
    assert_one_line(["track", *third, *exported], "3 objects wanted", capsys)


def test_bench_says_which_backend_was_timed(nano_export: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bench = ["bench", "--model", str(nano_export)]
    assert_one_line(bench, "is an ONNX export: give backend onnx", capsys)
    against = [*bench, "--backend", "onnx", "--against", "official"]
    assert_one_line(against, "the reference needs the weights", capsys)
    pooled = [*bench, "--backend", "onnx", "--objects", "1", "--memory-pooling", "2"]
    assert_one_line(pooled, "memory_pooling 2: exports support 1 only", capsys)
    timed = [*bench, "--backend", "onnx", "--objects", "1", "--frames", "2", "--memory-every", "2", "--json"]
    assert run(timed) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (report["backend"], report["weights"]) == ("onnx", "exported")
    assert "launches" not in report["objects"]["1"]


def test_the_node_loads_an_export_and_its_tracker_follows(
    nano_export: Path, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    # With this variable the node does not change PyTorch's number of threads.
    monkeypatch.setenv("OMP_NUM_THREADS", str(torch.get_num_threads()))
    params = NodeParams(
        model=str(nano_export), backend="onnx", device="cpu", max_objects=2, max_conditioning_frames=2
    )
    loaded = load(params)
    assert isinstance(loaded.model, OnnxModel)
    assert "nano (4.0 M parameters, cpu float32" in loaded.summary
    prompt = Prompt("thing", box=tight_box(clip.masks[0, 0]))
    first = loaded.tracker.step(clip.frames[0], [prompt]).objects[0]
    second = loaded.tracker.step(clip.frames[1]).objects[0]
    assert mask_iou(first.mask, clip.masks[0, 0]) > 0.7
    assert mask_iou(second.mask, clip.masks[1, 0]) > 0.7
    assert np.isfinite(second.logits).all()


@pytest.fixture
def whole_export(onnx_packages: None, tmp_path: Path) -> Path:
    """nano exported for two objects, with room for the memories of a tracker with default settings."""
    folder = tmp_path / "whole"
    assert run(["export", "nano", "--out", str(folder), "--objects", "2"]) == 0
    return folder


def evaluated(*arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[dict, str]:
    """The report of `eval`, and its other output."""
    assert run(["eval", *arguments, "--prompt", "box", "--device", "cpu", "--json"]) == 0
    shown = capsys.readouterr()
    return json.loads(shown.out.strip().splitlines()[-1]), shown.err


def test_eval_of_an_export_scores_what_torch_scores(
    whole_export: Path, clip: Clip, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The report names the backend, so that results of one are not reused for the other."""
    labels = {index: (masks[0] + 2 * masks[1]).astype(np.uint8) for index, masks in enumerate(clip.masks[:6])}
    dataset, out = str(tmp_path / "set"), ["--out", str(tmp_path / "out")]
    write_sequence(tmp_path / "set" / "clip", list(clip.frames[:6]), labels)
    plain, _ = evaluated(dataset, "--precision", "fp32", *out, capsys=capsys)
    exported = ["--model", str(whole_export), "--backend", "onnx"]
    again, said = evaluated(dataset, *exported, *out, capsys=capsys)
    assert plain["JF"] > 50  # two failures would also agree
    assert again["JF"] == pytest.approx(plain["JF"], abs=0.1)
    assert again["model"] == "nano"
    assert "run again: the model's file is another one; backend was torch, is onnx" in said
    made_with = json.loads((tmp_path / "out" / "clip" / "result.json").read_text())["fingerprint"]
    assert (made_with["backend"], made_with["compile"], made_with["precision"]) == ("onnx", "off", "fp32")


def test_eval_lists_a_sequence_that_an_export_has_no_room_for_as_failed(
    nano_export: Path, clip: Clip, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    masks = clip.masks[0]
    for name, objects in (("two", 2), ("three", 3)):
        labels = (masks[0] + 2 * masks[1]).astype(np.uint8)
        labels[:20, :20] = objects  # a third one in the corner, or more of the second
        write_sequence(tmp_path / "set" / name, list(clip.frames[:3]), dict.fromkeys(range(3), labels))
    exported = ["--model", str(nano_export), "--backend", "onnx", "--numerics", "official_vos"]
    arguments = ["eval", str(tmp_path / "set"), "--prompt", "mask", *exported, "--json"]
    assert run(arguments) == 1
    report = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert list(report["sequences"]) == ["two"]
    assert "3 objects wanted" in report["failed"]["three"]
    assert "--objects 3" in report["failed"]["three"]


def test_segment_with_onnx_leaves_the_mask_of_torch(
    nano_export: Path, frames: Path, clip: Clip, tmp_path: Path
) -> None:
    box = box_of(clip, 0).replace("@0", "")
    given = ["segment", str(frames / "00000.png"), "--box", box, "--device", "cpu", "--precision", "fp32"]
    exported = ["--model", str(nano_export), "--backend", "onnx"]
    assert run([*given, "--out", str(tmp_path / "torch")]) == 0
    assert run([*given, "--out", str(tmp_path / "onnx"), *exported]) == 0
    a, b = (cv2.imread(str(tmp_path / kind / "labels.png")).any(axis=2) for kind in ("onnx", "torch"))
    assert b.any()
    assert mask_iou(a, b) > 0.99


@pytest.mark.parametrize(
    "command",
    [
        ["track", "clip", "--out", "out"],
        ["segment", "image.png", "--out", "out"],
        ["eval", "set", "--prompt", "box"],
        ["replay", "bag", "--out", "out"],
        ["demo"],
        ["bench"],
        ["soak"],
        ["soak", "--direct"],
    ],
    ids=" ".join,
)
def test_every_command_takes_the_same_options_of_a_model(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A model that cannot be opened is refused with the same line, before anything else is checked."""
    assert_one_line([*command, "--backend", "tpu"], "backend 'tpu': expected one of torch, onnx", capsys)
    assert_one_line(
        [*command, "--compile", "most"], "compile = 'most': expected one of off, graphs, max", capsys
    )
    compiled = ["--backend", "onnx", "--compile", "max", "--precision", "fp32", "--image-size", "256"]
    assert_one_line(
        [*command, *compiled], "compile = 'max' with backend onnx: expected backend torch", capsys
    )
