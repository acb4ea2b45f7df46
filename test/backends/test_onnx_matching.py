# SPDX-License-Identifier: Apache-2.0
"""Export of a model with a matching memory: its further graphs, and a stream that is the same as in PyTorch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from matching_models import matching_model, moving_boxes

from sam2_ros.backends.onnx.check import engine_outputs, example_inputs, largest_error
from sam2_ros.backends.onnx.export import export_onnx, weights_digest
from sam2_ros.backends.onnx.layout import FILES, MANIFEST, MATCHING_STAGES, STAGES, ExportLayout
from sam2_ros.backends.onnx.model import OnnxModel
from sam2_ros.backends.onnx.sessions import StageSession
from sam2_ros.engine import FrameResult, ImageSegmenter, Prompt, Sam2Model, Tracker, TrackerConfig
from sam2_ros.engine.adoption import adopt
from sam2_ros.eval.metrics import mask_iou

pytestmark = pytest.mark.long

SIZE, COUNT = 128, 10
SETTINGS = TrackerConfig(max_objects=3, max_conditioning_frames=2, memory_policy="official")
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def model() -> Sam2Model:
    return matching_model(SIZE)


@pytest.fixture(scope="module")
def folder(onnx_packages: None, model: Sam2Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For three objects, with room for two prompted frames."""
    out = tmp_path_factory.mktemp("export") / "nano"
    report = export_onnx(model, layout_of(model), out)
    assert max(report["max_error"].values()) < TOLERANCE
    assert set(report["bytes"]) == {path.name for path in out.iterdir()} == set(FILES)
    return out


@pytest.fixture(scope="module")
def exported(folder: Path) -> Sam2Model:
    return OnnxModel(folder)


@pytest.fixture(scope="module")
def scene() -> tuple[np.ndarray, np.ndarray]:
    return moving_boxes(COUNT, SIZE)


def layout_of(model: Sam2Model) -> ExportLayout:
    config = model.config
    return ExportLayout(
        config.name,
        config.version,
        config.image_size,
        objects=3,
        conditioning_frames=2,
        weights=weights_digest(model),
        parameters=model.parameter_count,
    )


def test_the_folder_says_what_its_graphs_are(folder: Path, model: Sam2Model, exported: Sam2Model) -> None:
    held = json.loads((folder / MANIFEST).read_text())
    assert list(held["stages"]) == [*STAGES, *MATCHING_STAGES]
    n, cells = 3, (SIZE // 8) ** 2
    assert held["stages"]["image_encoder"]["outputs"]["keys"] == [1, cells, 64]
    for stage in MATCHING_STAGES[:2]:
        assert held["stages"][stage]["inputs"] == {
            "keys": [cells, 64],
            "past_keys": [cells, 64],
            "masks": [n, cells],
        }
        assert held["stages"][stage]["outputs"] == {"covered": [n, cells], "weights": [1, cells]}
    assert held["stages"]["matching_embedding"]["inputs"] == {"evidence": [n, 6, SIZE // 8, SIZE // 8]}
    assert held["stages"]["mask_decoder"]["inputs"]["s8"][0] == n
    assert exported.parameter_count == model.parameter_count


def test_graphs_have_fixed_shapes_and_make_no_decisions(folder: Path) -> None:
    import onnx

    for stage, entry in json.loads((folder / MANIFEST).read_text())["stages"].items():
        graph = onnx.load(str(folder / entry["file"]))
        onnx.checker.check_model(graph)
        operators = {node.op_type for node in graph.graph.node}
        assert not operators & {"Shape", "Mod", "ConstantOfShape", "If", "Loop", "NonZero"}, stage


def test_models_without_it_are_exported_as_before() -> None:
    for name in ("nano1", "tiny"):
        layout = ExportLayout(name, "2.1", 256, objects=3)
        assert layout.stages == STAGES
        assert list(layout.outputs("image_encoder")) == ["s4", "s8", "s16"]
        assert [layout.inputs("mask_decoder")[key][0] for key in ("embedding", "s8", "s4")] == [3, 1, 1]


@pytest.mark.parametrize("stage", MATCHING_STAGES)
def test_a_graph_gives_what_the_engine_gives(stage: str, folder: Path, model: Sam2Model) -> None:
    layout = ExportLayout.read(folder)
    inputs = example_inputs(model, layout, stage)
    generator = torch.Generator().manual_seed(100)  # other values than those that the export checks
    for name, x in inputs.items():
        drawn = torch.randn(x.shape, generator=generator)
        inputs[name] = drawn.sigmoid() if name == "masks" else drawn
    for name in {"keys", "past_keys"} & inputs.keys():
        inputs[name] = torch.nn.functional.normalize(inputs[name], dim=1)
    with torch.inference_mode():
        expected = engine_outputs(model, stage, inputs)
    found = StageSession(folder, stage, layout)(inputs)
    assert [tuple(x.shape) for x in found] == list(layout.outputs(stage).values())
    assert largest_error(found, expected) < TOLERANCE


def schedule(scene) -> dict[int, list[Prompt]]:
    masks = scene[1]
    return {
        0: [Prompt("a", mask=masks[0, 0])],
        2: [Prompt("b", mask=masks[2, 1])],
        5: [Prompt("a", points=np.array([[40.0, 50.0], [1.0, 1.0]]), labels=np.array([1, 0]))],
        7: [Prompt("b", box=(60.0, 60.0, 100.0, 100.0))],
    }


def follow(model: Sam2Model, scene) -> tuple[list[FrameResult], Tracker]:
    tracker, prompts = Tracker(model, SETTINGS), schedule(scene)
    results = [tracker.step(frame, prompts.get(index, ())) for index, frame in enumerate(scene[0])]
    results.append(tracker.refine([Prompt("a", points=np.array([[45.0, 55.0]]), labels=np.array([1]))]))
    return results, tracker


def test_a_stream_is_the_same_as_in_pytorch(exported: Sam2Model, model: Sam2Model, scene) -> None:
    """Prompts on several frames, a correction with memory, and objects copied into another tracker."""
    trackers = []
    for each in (exported, model):
        results, tracker = follow(each, scene)
        other = Tracker(each, SETTINGS)
        other.step(scene[0][0], [Prompt("c", mask=scene[1][0, 1])])
        assert {adopt(id, tracker, other) for id in "ab"} == {""}
        results += [other.step(frame) for frame in scene[0][:2]]
        trackers.append(results)
    for t, (found, expected) in enumerate(zip(*trackers, strict=True)):
        assert [obj.id for obj in found.objects] == [obj.id for obj in expected.objects]
        for a, b in zip(found.objects, expected.objects, strict=True):
            assert mask_iou(a.mask, b.mask) > 0.99, (t, a.id)
            assert np.abs(a.logits - b.logits).max() < 0.02 * np.abs(b.logits).max(), (t, a.id)
    assert {len(result.objects) for result in trackers[0]} == {1, 2, 3}


def test_evidence_changes_the_masks_of_an_export(exported: Sam2Model, scene) -> None:
    with torch.inference_mode():
        features = exported.encode_image(
            torch.randn(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
        )
        fused = exported.without_memory(features.s16).expand(2, -1, -1, -1)
        evidence = torch.ones(2, 6, SIZE // 8, SIZE // 8)
        plain, helped = (exported.decode(fused, features, evidence_b6hw=x) for x in (None, evidence))
    assert (plain.logits_b4hw - helped.logits_b4hw).abs().max() > 0.1


def test_without_evidence_masks_are_those_of_a_model_that_has_none(exported, model, scene) -> None:
    """One image, several prompts: more than the export has objects."""
    boxes = np.array([[10, 10, 50, 50], [30, 30, 80, 90], [60, 60, 100, 100], [5, 60, 60, 120.0]])
    logits = []
    for each in (exported, model):
        segmenter = ImageSegmenter(each)
        segmenter.set_image(scene[0][0])
        logits.append(segmenter.predict_batch(boxes=boxes)[2])
    assert len(logits[0]) == 4
    np.testing.assert_allclose(logits[0], logits[1], atol=1e-2)


def test_half_precision_is_close(onnx_packages: None, tmp_path: Path) -> None:
    model = matching_model(96)
    layout = ExportLayout("nano", "2.1", 96, "fp16", objects=1, weights=weights_digest(model))
    errors = export_onnx(model, layout, tmp_path)["max_error"]
    assert 1e-5 < max(errors.values()) < 2e-2
