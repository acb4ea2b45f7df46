# SPDX-License-Identifier: Apache-2.0
"""Graphs written by `sam2-ros export`: onnxruntime reads them, and they give the outputs of the engine."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from sam2_ros.backends.onnx import export
from sam2_ros.backends.onnx.check import engine_outputs, example_inputs, largest_error
from sam2_ros.backends.onnx.export import ExportConfig, export_onnx, weights_digest
from sam2_ros.backends.onnx.layout import MANIFEST, MATCHING_STAGES, STAGES, ExportLayout
from sam2_ros.backends.onnx.sessions import StageSession
from sam2_ros.bench.against.seeded_weights import fill_by_key
from sam2_ros.engine import Sam2Model, config_for
from sam2_ros.errors import CheckpointError

from .conftest import export_nano

pytestmark = pytest.mark.long

TOLERANCE = 1e-4


def seeded(name: str, version: str, image_size: int) -> Sam2Model:
    model = Sam2Model(config_for(name, version).at_image_size(image_size)).eval().requires_grad_(False)
    model.load_state_dict(fill_by_key(model.state_dict(), seed=1, presence_bias=3.0))
    return model


def layout_of(model: Sam2Model, **shape: int) -> ExportLayout:
    config = model.config
    return ExportLayout(
        config.name, config.version, config.image_size, weights=weights_digest(model), **shape
    )


def test_the_folder_holds_the_graphs_and_says_what_they_are(nano_export: Path, nano: Sam2Model) -> None:
    import onnx

    held = json.loads((nano_export / MANIFEST).read_text())
    assert (held["model"], held["version"], held["image_size"], held["objects"]) == ("nano", "2.1", 448, 2)
    assert held["bank"] == {"frames": 2, "pointers": 2, "keys": 2 * 28 * 28 + 2 * 2}
    assert held["parameters"] == nano.parameter_count
    assert list(held["stages"]) == [*STAGES, *MATCHING_STAGES]
    for stage in held["stages"].values():
        graph = onnx.load(str(nano_export / stage["file"]))
        onnx.checker.check_model(graph)
        shapes = {
            entry.name: [axis.dim_value for axis in entry.type.tensor_type.shape.dim]
            for entry in (*graph.graph.input, *graph.graph.output)
        }
        assert shapes == stage["inputs"] | stage["outputs"]  # fixed: a dimension without a number reads as 0
        assert graph.opset_import[0].version == export.OPSET
        operators = {node.op_type for node in graph.graph.node}
        left = operators & {"Shape", "Mod", "ConstantOfShape", "If", "Loop", "NonZero"}
        assert not left, "something of fixed shape is still decided at run time"


@pytest.mark.parametrize("stage", STAGES)
def test_a_graph_gives_what_the_engine_gives_for_each_object_alone(
    stage: str, nano_export: Path, nano: Sam2Model
) -> None:
    layout = ExportLayout.read(nano_export)
    inputs = example_inputs(nano, layout, stage)
    generator = torch.Generator().manual_seed(100)  # other values than those that the export checks
    for name, x in inputs.items():
        if name not in ("slots", "pointer_age", "binarize") and "valid" not in name:
            inputs[name] = 1.5 * torch.randn(x.shape, generator=generator)
    with torch.inference_mode():
        expected = engine_outputs(nano, stage, inputs)
    found = StageSession(nano_export, stage, layout)(inputs)
    assert [tuple(x.shape) for x in found] == list(layout.outputs(stage).values())
    assert largest_error(found, expected) < TOLERANCE


@pytest.mark.parametrize(
    ("stage", "validity"),
    [
        ("memory_attention", {"spatial_valid": ["spatial"], "pointer_valid": ["pointers", "pointer_age"]}),
        ("mask_decoder", {"token_valid": ["tokens"]}),
    ],
)
def test_padding_does_not_change_the_outputs_by_one_bit(
    stage: str, validity: dict[str, list[str]], nano_export: Path, nano: Sam2Model
) -> None:
    layout = ExportLayout.read(nano_export)
    session, inputs = StageSession(nano_export, stage, layout), example_inputs(nano, layout, stage)
    before = session(inputs)
    for flags, names in validity.items():
        empty = inputs[flags] == 0
        assert empty.any()
        for name in names:
            inputs[name][empty] = 7.0
    for a, b in zip(before, session(inputs), strict=True):
        assert torch.equal(a, b)
    valid = next(iter(validity))
    inputs[validity[valid][0]][inputs[valid] == 1] += 0.1
    assert not torch.equal(before[0], session(inputs)[0])


@pytest.mark.usefixtures("onnx_packages")
@pytest.mark.parametrize(
    ("name", "version", "image_size"),
    [
        ("tiny", "2.1", 160),
        ("nano", "2.0", 96),
        pytest.param("tiny", "2.0", 128, marks=pytest.mark.slow),
        pytest.param("nano", "2.1", 544, marks=pytest.mark.slow),
    ],
)
def test_other_sizes_and_versions_are_exported(
    name: str, version: str, image_size: int, tmp_path: Path
) -> None:
    model = seeded(name, version, image_size)
    report = export_onnx(model, layout_of(model, objects=3, conditioning_frames=1), tmp_path)
    assert max(report["max_error"].values()) < TOLERANCE
    assert min(report["bytes"].values()) > 0


@pytest.mark.usefixtures("onnx_packages")
def test_scores_of_a_large_image_are_computed_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sam2_ros.engine.kernels.attention.SCORES", 1 << 12)
    model = seeded("nano", "2.1", 128)
    report = export_onnx(model, layout_of(model, objects=1), tmp_path)
    assert report["max_error"]["memory_attention"] < TOLERANCE


def test_half_precision_is_close_and_half_as_large(nano_export: Path, tmp_path: Path) -> None:
    report = export_nano(ExportConfig(tmp_path, precision="fp16", objects=1), image_size=128)
    assert 1e-5 < max(report["max_error"].values()) < 2e-2
    full = (nano_export / "mask_decoder.onnx").stat().st_size
    assert report["bytes"]["mask_decoder.onnx"] < 0.6 * full


def test_an_export_that_differs_from_pytorch_is_an_error(
    nano_export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = ExportLayout.read(nano_export)
    other = seeded("nano", "2.1", 448)
    for stage in STAGES:
        inputs = example_inputs(other, layout, stage)
        found = StageSession(nano_export, stage, layout)(inputs)
        assert largest_error(found, engine_outputs(other, stage, inputs)) > export.TOLERANCE["fp16"]
    monkeypatch.setitem(export.TOLERANCE, "fp32", 0.0)
    with pytest.raises(CheckpointError, match=r"image_encoder\.onnx differs from PyTorch by"):
        export_nano(ExportConfig(tmp_path, objects=1), image_size=96)
    assert not (tmp_path / MANIFEST).exists()
    assert np.isnan(largest_error([torch.tensor([float("nan")])], [torch.ones(1)]))


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ({"objects": 0}, "--objects 0: expected a number from 1 to 256"),
        ({"conditioning_frames": 0}, "--conditioning-frames 0"),
        ({"recent_frames": 7}, "--memory-frames 8"),
        ({"prompt_points": 1}, "--points 1"),
        ({"precision": "bf16"}, "--precision bf16: expected one of fp32, fp16"),
        ({"precision": "fp16", "conditioning_frames": 10}, "65636 memory tokens per object"),
    ],
)
def test_shapes_out_of_range_are_one_line(shape: dict, words: str) -> None:
    with pytest.raises(CheckpointError, match=words) as error:
        ExportLayout("tiny", "2.1", 1024, **shape)
    assert "\n" not in str(error.value)
