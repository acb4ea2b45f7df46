# SPDX-License-Identifier: Apache-2.0
"""A stream with `backend=onnx` gives the results of PyTorch: masks, states and scores, as objects come and go."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sam2_ros.backends.onnx.export import export_onnx, weights_digest
from sam2_ros.backends.onnx.layout import ExportLayout
from sam2_ros.backends.onnx.model import OnnxModel
from sam2_ros.bench.against.seeded_weights import fill_by_key
from sam2_ros.engine import FrameResult, ImageSegmenter, Prompt, Sam2Model, Tracker, TrackerConfig, config_for
from sam2_ros.engine.postprocess import tight_box
from sam2_ros.errors import CheckpointError
from sam2_ros.eval.metrics import mask_iou
from sam2_ros.synthetic.clip import Clip
from sam2_ros.weights.open_model import ModelOptions, open_model

pytestmark = pytest.mark.long

SETTINGS = TrackerConfig(max_objects=2, max_conditioning_frames=2)


@pytest.fixture(scope="module")
def exported(nano_export: Path) -> Sam2Model:
    return open_model(ModelOptions(str(nano_export), "cpu", backend="onnx"), SETTINGS)


def schedule(clip: Clip) -> dict[int, list[Prompt]]:
    """Two objects, the second one added later; a correction with clicks, and a mask."""
    y, x = np.argwhere(clip.masks[7, 0])[0]
    return {
        0: [Prompt("first", box=tight_box(clip.masks[0, 0]))],
        4: [Prompt("second", box=tight_box(clip.masks[4, 1]))],
        7: [Prompt("first", points=np.array([[x, y], [1.0, 1.0]]), labels=np.array([1, 0]))],
        9: [Prompt("second", mask=clip.masks[9, 1] > 0)],
    }


def follow(
    model: Sam2Model, frames: np.ndarray, prompts: dict[int, list[Prompt]], settings: TrackerConfig = SETTINGS
) -> list[FrameResult]:
    tracker = Tracker(model, settings)
    return [tracker.step(frame, prompts.get(index, ())) for index, frame in enumerate(frames)]


def test_a_stream_is_the_same_as_in_pytorch(exported: Sam2Model, nano: Sam2Model, clip: Clip) -> None:
    prompts = schedule(clip)
    visible = 0
    for found, expected in zip(
        follow(exported, clip.frames, prompts), follow(nano, clip.frames, prompts), strict=True
    ):
        assert [obj.id for obj in found.objects] == [obj.id for obj in expected.objects]
        for a, b in zip(found.objects, expected.objects, strict=True):
            assert (a.state, a.label) == (b.state, b.label)
            assert mask_iou(a.mask, b.mask) > 0.99
            assert a.presence == pytest.approx(b.presence, abs=1e-2)
            assert a.score == pytest.approx(b.score, abs=1e-2)
            visible += bool(b.mask.any())
    assert visible == 12 + 8  # empty masks would agree trivially


@pytest.fixture(scope="module")
def without_matching(onnx_packages: None, tmp_path_factory: pytest.TempPathFactory) -> Sam2Model:
    """A model whose memories of other objects do not count, and with six recent frames in its bank."""
    model = Sam2Model(config_for("nano1").at_image_size(128)).eval().requires_grad_(False)
    model.load_state_dict(fill_by_key(model.state_dict(), seed=1, presence_bias=6.0))
    layout = ExportLayout(
        "nano1", "2.1", 128, objects=2, conditioning_frames=2, weights=weights_digest(model)
    )
    folder = tmp_path_factory.mktemp("nano1")
    export_onnx(model, layout, folder)
    return OnnxModel(folder)


def test_objects_of_any_age_are_one_batch_with_the_results_of_each_alone(
    without_matching: Sam2Model, clip: Clip
) -> None:
    """One object with a full bank, one without: the padding of its row has no weight."""
    exported, prompts = without_matching, schedule(clip)
    together = follow(exported, clip.frames, prompts)
    for id in ("first", "second"):
        own = {index: [p for p in given if p.id == id] for index, given in prompts.items()}
        for alone, both in zip(follow(exported, clip.frames, own), together, strict=True):
            a = {obj.id: obj for obj in alone.objects}.get(id)
            b = {obj.id: obj for obj in both.objects}.get(id)
            assert (a is None) == (b is None)
            if a is not None and b is not None:
                np.testing.assert_allclose(a.logits, b.logits, atol=2e-3)
    tracker = Tracker(exported, SETTINGS)
    for index in range(6):
        tracker.step(clip.frames[index], prompts.get(index, ()))
    assert tracker.bank.groups([0, 1], now=6) == [[0, 1]]
    counts = tracker.bank.view([0, 1], now=6).spatial_valid_bf
    assert counts is not None
    assert counts.sum(dim=1).tolist() == [6, 2]


@pytest.mark.usefixtures("onnx_packages")
@pytest.mark.parametrize("version", [pytest.param("2.1", marks=pytest.mark.slow), "2.0"])
def test_a_stream_of_an_official_size_with_seeded_weights(version: str, clip: Clip, tmp_path: Path) -> None:
    config = config_for("tiny", version).at_image_size(128)
    model = Sam2Model(config).eval().requires_grad_(False)
    model.load_state_dict(fill_by_key(model.state_dict(), seed=1, presence_bias=6.0))
    layout = ExportLayout(
        "tiny", version, 128, objects=2, conditioning_frames=2, weights=weights_digest(model)
    )
    export_onnx(model, layout, tmp_path)
    prompts = schedule(clip)
    for found, expected in zip(
        follow(OnnxModel(tmp_path), clip.frames, prompts), follow(model, clip.frames, prompts), strict=True
    ):
        for a, b in zip(found.objects, expected.objects, strict=True):
            assert a.state == b.state
            error = np.sqrt(np.mean((a.logits - b.logits) ** 2) / np.mean(b.logits**2))
            assert error < 1e-2
            assert mask_iou(a.mask, b.mask) > 0.99


def test_image_mode_decodes_more_prompts_than_the_graph_has_objects(
    exported: Sam2Model, nano: Sam2Model, clip: Clip
) -> None:
    boxes = np.array(
        [[20, 20, 90, 90], [100, 50, 220, 160], [5, 5, 40, 200], [60, 60, 300, 220], [1, 1, 9, 9]]
    )
    answers = []
    for model in (exported, nano):
        segmenter = ImageSegmenter(model)
        segmenter.set_image(clip.frames[0])
        answers.append(segmenter.predict_batch(boxes=boxes, multimask=True))
    assert answers[0].logits.shape == (5, 3, 112, 112)
    np.testing.assert_allclose(answers[0].logits, answers[1].logits, atol=1e-3)
    np.testing.assert_allclose(answers[0].scores, answers[1].scores, atol=1e-4)


def test_settings_beyond_the_export_are_refused_before_the_stream(nano_export: Path) -> None:
    for settings, words in (
        (
            TrackerConfig(max_objects=3, max_conditioning_frames=2),
            "3 objects wanted.*exported for 2.*--objects 3",
        ),
        (TrackerConfig(max_objects=2), "4 conditioning frames wanted.*exported for 2"),
    ):
        with pytest.raises(CheckpointError, match=words):
            open_model(ModelOptions(str(nano_export), backend="onnx"), settings)


def test_a_third_object_and_a_sixth_click_are_refused_in_the_stream(exported: Sam2Model, clip: Clip) -> None:
    tracker = Tracker(exported, TrackerConfig(max_objects=3, max_conditioning_frames=2))
    boxes = [Prompt(str(n), box=(10.0 * n, 10.0, 60.0 + n, 60.0)) for n in range(3)]
    with pytest.raises(CheckpointError, match=r"3 objects at once: .* exported for 2; set max_objects to 2"):
        tracker.step(clip.frames[0], boxes)
    after = tracker.step(clip.frames[0], boxes[:1])  # the failed objects do not exist, and tracking continues
    assert [obj.id for obj in after.objects] == ["0"]
    clicks = Prompt("0", points=np.full((6, 2), 30.0), labels=np.ones(6, int))
    with pytest.raises(CheckpointError, match=r"a prompt of 6 clicks.*at most 5.*--points 6"):
        tracker.step(clip.frames[1], [clicks])


@torch.inference_mode()
def test_a_bank_that_is_larger_than_the_export_is_refused(exported: Sam2Model, clip: Clip) -> None:
    tracker = Tracker(exported, TrackerConfig(max_objects=2))
    tracker.step(clip.frames[0], [Prompt("a", box=(10, 10, 60, 60))])
    with pytest.raises(CheckpointError, match=r"4 spatial memories and 4 pointers.*for 2 and 2"):
        tracker.step(clip.frames[1])
