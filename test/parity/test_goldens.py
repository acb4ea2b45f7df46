# SPDX-License-Identifier: Apache-2.0
"""Compares with the official implementation: its outputs for `golden_cases`, stored by `make_goldens.py`.

fp32 on the CPU; every tensor is filled from a seed and its key. Errors are rms(difference) / rms(reference).
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from parity.golden_cases import (
    CLICK,
    CORRECTION,
    EVERYTHING_CASES,
    GENERATOR_OPTIONS,
    IMAGE_CASES,
    IMAGE_SEED,
    SIZE_PX,
    STATE_DICTS,
    VIDEO_CASES,
    VIDEO_SEED,
    Event,
    VideoCase,
    clip,
    digest,
    file_of,
    image,
)
from parity.pair import TOLERANCE, relative_error

from sam2_ros.bench.against.seeded_weights import fill_by_key
from sam2_ros.engine import (
    EverythingConfig,
    ImageSegmenter,
    Prompt,
    Sam2Model,
    Tracker,
    TrackerConfig,
    config_for,
    segment_everything,
)
from sam2_ros.engine import tracker as tracker_module
from sam2_ros.engine.model.state_dict import load_strictly, recognise
from sam2_ros.media.annotations import annotation

pytestmark = pytest.mark.long

MUTANT_ERROR = 5e-3


def load(kind: str, name: str) -> dict[str, np.ndarray]:
    with np.load(file_of(kind, name)) as golden:
        return dict(golden)


def seeded(size: str, seed: int, presence_bias: float = 0.0) -> Sam2Model:
    model = Sam2Model(config_for(size).at_image_size(SIZE_PX)).eval()
    model.load_state_dict(fill_by_key(model.state_dict(), seed, presence_bias), strict=True)
    return model


def error(ours: np.ndarray, reference: np.ndarray) -> float:
    return relative_error(torch.as_tensor(ours), torch.as_tensor(reference))


@pytest.mark.parametrize("version", ["2.1", "2.0"])
@pytest.mark.parametrize(
    "size",
    [
        "tiny",
        pytest.param("small", marks=pytest.mark.slow),
        "base_plus",
        pytest.param("large", marks=pytest.mark.slow),
    ],
)
def test_official_state_dicts_load_strictly_and_come_back(size: str, version: str) -> None:
    config = config_for(size, version)
    with torch.device("meta"):
        shapes = {key: tensor.shape for key, tensor in Sam2Model(config).state_dict().items()}
    official = json.loads(STATE_DICTS.read_text())[f"{size} {version}"]
    assert (len(shapes), digest(shapes)) == (official["tensors"], official["digest"])
    state = fill_by_key(shapes)
    assert recognise(state) == config
    model = Sam2Model(config)
    load_strictly(model, state)
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, state[key]), key


@pytest.fixture(scope="module")
def image_model() -> Sam2Model:
    return seeded("tiny", IMAGE_SEED)


@pytest.mark.parametrize("multimask", [True, False])
@pytest.mark.parametrize("name", IMAGE_CASES)
def test_the_segmenter_gives_what_the_official_predictor_gives(
    name: str, multimask: bool, image_model: Sam2Model
) -> None:
    golden, kind = load("image", name), "multi" if multimask else "single"
    points, labels, box, mask = IMAGE_CASES[name].arguments()
    segmenter = ImageSegmenter(image_model, stability_fallback=IMAGE_CASES[name].postprocessing)
    segmenter.set_image(image())
    ours = segmenter.predict(points, labels, box, mask, multimask)
    assert error(ours.logits, golden[f"{kind}_logits"]) < TOLERANCE
    assert error(ours.scores, golden[f"{kind}_scores"]) < TOLERANCE
    masks = np.unpackbits(golden[f"{kind}_masks"], axis=-1, count=image().shape[1]).astype(bool)
    assert (ours.masks != masks).mean() < TOLERANCE


@pytest.mark.parametrize("name", EVERYTHING_CASES)
def test_everything_is_what_the_official_generator_finds(name: str, image_model: Sam2Model) -> None:
    golden = load("everything", name)
    config = EverythingConfig(**EVERYTHING_CASES[name])
    ours = [annotation(mask, "binary_mask") for mask in segment_everything(image_model, image(), config)]
    assert len(ours) == len(golden["area"])
    masks = np.unpackbits(golden["masks"], axis=-1, count=image().shape[1]).astype(bool)
    for key in ("predicted_iou", "stability_score"):
        np.testing.assert_allclose([record[key] for record in ours], golden[key], atol=2e-3)
    for key in ("point_coords", "crop_box"):
        np.testing.assert_allclose([record[key] for record in ours], golden[key], atol=1e-3)
    for record, mask, box in zip(ours, masks, golden["bbox"], strict=True):
        assert (record["segmentation"] != mask).mean() < TOLERANCE
        np.testing.assert_allclose(record["bbox"], box, atol=1)


def test_everything_has_the_options_and_defaults_of_the_official_generator() -> None:
    official = json.loads(GENERATOR_OPTIONS.read_text())
    # No option here: `annotation` makes records in any of the three modes.
    assert official.pop("output_mode") == "binary_mask"
    own = {option.name: option.default for option in fields(EverythingConfig)}
    thresholds = zip(
        ("pred_iou_thresh", "stability_score_thresh"), EverythingConfig().thresholds("tiny"), strict=True
    )
    assert official == own | dict(thresholds)


def prompt_of(event: Event) -> Prompt:
    return Prompt(
        event.object_id,
        points=None if event.points is None else np.array(event.points),
        labels=None if event.labels is None else np.array(event.labels),
        box=None if event.box is None else (event.box[0], event.box[1], event.box[2], event.box[3]),
        mask=event.mask,
    )


class Followed:
    """Results of one object over the frames."""

    def __init__(self) -> None:
        self.frames: list[int] = []
        self.scores: list[float] = []
        self.logits: list[np.ndarray] = []
        self.pointers: list[np.ndarray] = []


def run_ours(case: VideoCase, change: Callable[[Tracker], None] | None = None) -> dict[str, Followed]:
    """Runs a case as a stream. A correction is given with its frame; backward means the frames in reverse order."""
    config = TrackerConfig(
        max_objects=2,
        max_conditioning_frames=8,
        numerics=case.flavour,
        memory_policy="official",
        fill_hole_area=case.fill_hole_area,
        corrections_are_conditioning=case.corrections_are_conditioning,
    )
    tracker = Tracker(seeded(case.size, VIDEO_SEED, case.presence_bias), config)
    if change is not None:
        change(tracker)
    followed: dict[str, Followed] = defaultdict(Followed)
    frames = clip()[::-1] if case.backward else clip()
    for index, frame in enumerate(frames[: case.last_frame + 1]):
        now = [event for event in case.events if event.frame == index]
        for event in now:
            if event.remove:
                assert tracker.remove(event.object_id)
            if event.take_back is not None:
                assert tracker.take_back(event.object_id, event.take_back)
        prompts = [prompt_of(event) for event in now if event.is_prompt and not event.refine]
        result = tracker.step(np.ascontiguousarray(frame), prompts)
        for event in now:
            if event.refine:
                result = tracker.refine([prompt_of(event)])
        for found in result.objects:
            own = followed[found.id]
            own.frames.append(index)
            own.scores.append(found.presence)
            if index in case.kept_frames:
                row = tracker.tracks[found.id].row
                (slot,) = np.flatnonzero(tracker.bank.pointer_frame[row] == index)
                own.logits.append(found.logits)
                own.pointers.append(tracker.bank.pointers[row, slot].numpy().copy())
    return followed


def worst_error(ours: dict[str, Followed], golden: dict[str, np.ndarray]) -> dict[str, float]:
    """Largest error over objects and frames, by quantity."""
    worst: dict[str, float] = defaultdict(float)
    for object_id, own in ours.items():
        for quantity in ("logits", "pointers"):
            reference = golden[f"{object_id}_{quantity}"]
            assert len(getattr(own, quantity)) == len(reference)
            for a, b in zip(getattr(own, quantity), reference, strict=True):
                worst[quantity] = max(worst[quantity], error(a, b))
        worst["scores"] = max(worst["scores"], error(np.array(own.scores), golden[f"{object_id}_scores"]))
    return worst


@pytest.mark.parametrize("name", VIDEO_CASES)
def test_a_stream_says_what_the_official_predictor_says(name: str) -> None:
    golden = load("video", name)
    ours = run_ours(VIDEO_CASES[name])
    assert {key.split("_")[0] for key in golden} == set(ours)
    for object_id, own in ours.items():
        assert own.frames == golden[f"{object_id}_frames"].tolist()
    for quantity, worst in worst_error(ours, golden).items():
        assert worst < TOLERANCE, f"{quantity} differ by {worst:.1e}"


def test_the_goldens_see_objects_come_and_go() -> None:
    scores = load("video", "click")["a_scores"]
    assert np.flatnonzero(scores <= 0).tolist() == [4, 14, 15]
    assert np.abs(scores).min() > 0.05  # no frame on which rounding could decide


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("correction", {"flavour": "official_video"}),  # the click is decoded without memory
        ("a second prompt", {"flavour": "stream"}),  # the prompt is decoded with memory
        ("box, vos", {"flavour": "official_video"}),  # binarised memory of the prompted frame
        ("box", {"flavour": "official_vos"}),
        ("backward", {"backward": False}),
        ("box, holes filled", {"fill_hole_area": 0}),
        ("correction, holes filled", {"fill_hole_area": 0}),
        ("correction, not conditioning", {"corrections_are_conditioning": True}),
        ("another click on a correction", {"corrections_are_conditioning": False}),
    ],
)
def test_another_rule_would_be_noticed(name: str, wrong: dict[str, object]) -> None:
    ours = run_ours(replace(VIDEO_CASES[name], **wrong))
    assert max(worst_error(ours, load("video", name)).values()) > MUTANT_ERROR


def test_a_correction_after_its_frame_is_the_official_one_with_the_official_settings() -> None:
    """`step`, then `refine`: the order of calls of the official predictor, which tracks a frame before the click."""
    name = "correction, not conditioning"
    events = (CLICK, replace(CORRECTION, refine=True))
    asked = replace(
        VIDEO_CASES[name], events=events, flavour="official_video", corrections_are_conditioning=None
    )
    assert max(worst_error(run_ours(asked), load("video", name)).values()) < TOLERANCE


@pytest.mark.parametrize("name", ["another click", "a click on a box"])
def test_both_prompts_at_once_would_be_noticed(name: str) -> None:
    """Two prompts given as one are decoded without the result of the first."""
    case = VIDEO_CASES[name]
    at_once = tuple(replace(event, refine=False) for event in case.events)
    assert (
        max(worst_error(run_ours(replace(case, events=at_once)), load("video", name)).values()) > MUTANT_ERROR
    )


@pytest.mark.parametrize("given", ["dense mask not filled", "first answer forgotten"])
def test_another_input_of_a_correction_would_be_noticed(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def unfilled(model, prompt, hw, features, fused, earlier, *others):  # type: ignore[no-untyped-def]
        if earlier is not None and given == "dense mask not filled":
            earlier = unfilled_masks[-1]
        elif given == "first answer forgotten":
            earlier = None
        return decode(model, prompt, hw, features, fused, earlier, *others)

    def keep(output, area):  # type: ignore[no-untyped-def]
        unfilled_masks.append(output)
        return fill(output, area)

    decode, fill, unfilled_masks = tracker_module.decode_prompt, tracker_module.with_holes_filled, []
    monkeypatch.setattr(tracker_module, "decode_prompt", unfilled)
    monkeypatch.setattr(tracker_module, "with_holes_filled", keep)
    name = "correction, holes filled" if given == "dense mask not filled" else "another click"
    assert max(worst_error(run_ours(VIDEO_CASES[name]), load("video", name)).values()) > MUTANT_ERROR
