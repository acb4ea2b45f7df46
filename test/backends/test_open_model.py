# SPDX-License-Identifier: Apache-2.0
"""A folder, file, device or setting that a backend cannot use gives an error of one line that says what to do."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sam2_ros.backends.onnx.export import ExportConfig
from sam2_ros.backends.onnx.layout import MANIFEST, TABLES
from sam2_ros.engine import Sam2Model
from sam2_ros.errors import CheckpointError
from sam2_ros.weights.open_model import ModelOptions, open_model

from .conftest import export_nano


def assert_one_line(call: Callable[[], object], words: str) -> None:
    with pytest.raises(CheckpointError, match=words) as error:
        call()
    assert "\n" not in str(error.value)


def open_export(folder: Path | str, **options: Any) -> Sam2Model:
    return open_model(ModelOptions(str(folder), **{"backend": "onnx", **options}))


@pytest.fixture
def folder(nano_export: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(nano_export, tmp_path / "copy"))


@pytest.mark.long
def test_an_export_opens_and_knows_what_it_is(nano_export: Path) -> None:
    model = open_export(nano_export, device="cpu", precision="fp32", image_size=448)
    assert (model.config.name, model.config.image_size, model.parameter_count) == ("nano", 448, 4001317)
    assert sum(p.numel() for p in model.parameters()) < 0.05 * model.parameter_count
    assert model.takes_padded_memory


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"backend": "tensorrt"}, "backend 'tensorrt': expected one of torch, onnx"),
        ({"backend": "torch"}, "is an ONNX export: give backend onnx"),
        ({"precision": "bf16"}, "precision 'bf16': .* exported in fp32"),
        ({"image_size": 512}, "image size 512: .* exported for 448"),
        ({"device": "tpu"}, "device 'tpu': backend onnx expects auto, cpu or cuda:N"),
    ],
)
def test_what_an_export_is_not(nano_export: Path, arguments: dict, words: str) -> None:
    assert_one_line(lambda: open_export(nano_export, **arguments), words)


def test_a_device_that_onnxruntime_does_not_have(nano_export: Path) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has a GPU")
    assert_one_line(
        lambda: open_export(nano_export, device="cuda:0"), "device 'cuda:0': this onnxruntime has"
    )


def test_a_checkpoint_is_not_an_export(tmp_path: Path) -> None:
    assert_one_line(lambda: open_export("nano"), "sam2-ros export nano --format onnx --out DIR")
    assert_one_line(lambda: open_export(tmp_path), f"no {MANIFEST} there")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
        ('{"format": 99}', "format 99, expected 1: export the model again"),
        ('{"format": 1, "model": "nano"}', "cannot be read .KeyError"),
    ],
)
def test_a_broken_manifest(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_text(text)
    assert_one_line(lambda: open_export(tmp_path), words)


def test_a_manifest_of_another_model(folder: Path) -> None:
    held = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(held | {"model": "tiny"}))
    assert_one_line(
        lambda: open_export(folder), "image_encoder.onnx has model nano, sam2_ros_onnx.json has tiny"
    )


@pytest.mark.parametrize("stage", ["image_encoder", "memory_encoder"])
def test_a_missing_and_a_broken_graph(stage: str, folder: Path) -> None:
    path = folder / f"{stage}.onnx"
    path.write_bytes(path.read_bytes()[:1000])
    assert_one_line(lambda: open_export(folder), f"{stage}.onnx is not a graph that onnxruntime can run")
    path.unlink()
    assert_one_line(lambda: open_export(folder), f"{stage}.onnx is missing: export the model again")


@pytest.mark.long
def test_files_of_two_exports_are_not_mixed(folder: Path, tmp_path: Path) -> None:
    """The same model, size and precision; only the number of objects differs."""
    export_nano(ExportConfig(tmp_path / "other", objects=1, conditioning_frames=2, points=5))
    shutil.copy(tmp_path / "other" / "memory_attention.onnx", folder)
    assert_one_line(
        lambda: open_export(folder), "memory_attention.onnx has objects 1, sam2_ros_onnx.json has 2"
    )


def test_graphs_of_other_shapes_and_tables_of_other_weights(folder: Path) -> None:
    held = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(held | {"prompt_points": 6}))
    assert_one_line(lambda: open_export(folder), "mask_decoder.onnx has inputs")
    (folder / MANIFEST).write_text(json.dumps(held))
    with np.load(folder / TABLES) as tables:
        others = {key: tables[key] for key in tables.files}
    np.savez(folder / TABLES, **{**others, "weights": np.array("0" * 64)})
    assert_one_line(lambda: open_export(folder), "tables.npz is of other weights")
    (folder / TABLES).unlink()
    assert_one_line(lambda: open_export(folder), "tables.npz cannot be read")


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_a_package_that_is_not_installed(
    package: str, nano_export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # `import` then fails as if it were not there
    words = rf"^{package} cannot be imported .*pip install sam2_ros\[onnx\]$"
    assert_one_line(lambda: export_nano(ExportConfig(tmp_path / "out")), words)
    assert not (tmp_path / "out").exists()
    if package == "onnxruntime":
        assert_one_line(lambda: open_export(nano_export), words)
    else:
        assert open_export(nano_export).config.name == "nano"
