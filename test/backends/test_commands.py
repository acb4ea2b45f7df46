"""`sam2-ros export`, then `--backend onnx` on what it left, and the node's parameter `backend`."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from sam2_ros.backends.onnx.layout import MANIFEST, STAGES
from sam2_ros.backends.onnx.model import OnnxModel
from sam2_ros.cli.main import run
from sam2_ros.engine import Prompt
from sam2_ros.engine.postprocess import tight_box
from sam2_ros.eval.metrics import mask_iou
from sam2_ros.node.loading import load
from sam2_ros.node.parameters.params import NodeParams
from sam2_ros.synthetic.clip import Clip


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
    assert report["max_error"].keys() == set(STAGES)
    assert report["bytes"] == {
        path.name: path.stat().st_size for path in out.iterdir() if path.name[0] != "."
    }
    assert MANIFEST in report["bytes"]


def test_export_tells_what_it_cannot_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
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
    assert_one_line(pooled, "memory_pooling 2: exports hold whole memories", capsys)
    timed = [*bench, "--backend", "onnx", "--objects", "1", "--frames", "2", "--memory-every", "2", "--json"]
    assert run(timed) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (report["backend"], report["weights"]) == ("onnx", "exported")
    assert "launches" not in report["objects"]["1"]


def test_the_node_loads_an_export_and_its_tracker_follows(
    nano_export: Path, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(
        "OMP_NUM_THREADS", str(torch.get_num_threads())
    )  # the node leaves PyTorch's threads alone
    params = NodeParams(
        model=str(nano_export), backend="onnx", device="cpu", max_objects=2, max_conditioning_frames=2
    )
    loaded = load(params)
    assert isinstance(loaded.model, OnnxModel)
    assert "nano (5.7 M parameters, cpu float32" in loaded.summary
    prompt = Prompt("thing", box=tight_box(clip.masks[0, 0]))
    first = loaded.tracker.step(clip.frames[0], [prompt]).objects[0]
    second = loaded.tracker.step(clip.frames[1]).objects[0]
    assert mask_iou(first.mask, clip.masks[0, 0]) > 0.7
    assert mask_iou(second.mask, clip.masks[1, 0]) > 0.7
    assert np.isfinite(second.logits).all()
