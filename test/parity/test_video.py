# SPDX-License-Identifier: Apache-2.0
"""Compares video mode with transformers' `Sam2VideoModel`: 24 frames, tiny, fp32, tensors filled from a seed and a key.

Does not compare resize filters (frames already have the model's input size), or what the port computes differently from
the official code: see transformers_reference.py.

The clip turns white twice. With these weights the object score is then below 0, so that the next frames are decoded
with memories of an absent object and with the "no object" pointer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import Tensor

pytest.importorskip("transformers", reason="transformers is the reference of the parity tests")

from parity.pair import TOLERANCE, official_weights, our_model, relative_error, rms
from parity.scene import moving_disc, normalised
from parity.transformers_reference import ReferenceFrame, ReferenceTracker, video_model

from sam2_ros.engine import Prompt, Tracker, TrackerConfig
from sam2_ros.engine.model.transformers_layout import to_transformers

pytestmark = pytest.mark.long

SEED, PRESENCE_BIAS = 6, -3.95
MUTANT_ERROR = 5e-3
WHITE_FRAMES = (4, 5, 14, 15)
PORT = TrackerConfig(numerics="official_video", fill_hole_area=0)  # the port fills no holes
QUANTITIES = ("logits", "iou", "object_score", "pointer")

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Case:
    """One object prompted on frame 0; coordinates are those of a 128 px frame."""

    name: str
    prompt: Prompt
    points_xy: list[list[float]] | None
    labels: list[int] | None
    mask_hw: np.ndarray | None = None


def mask_without_corners() -> np.ndarray:
    """A vertical bar whose edges lie between low-resolution pixels.

    The official predictor encodes the memory of a mask prompt after resizing it to a quarter of the resolution and
    back; the port does not. Resizing does not change this mask, so both must agree.
    """
    mask = np.zeros((128, 128), bool)
    mask[:, 24:68] = True
    return mask


CLICK = Case("click", Prompt("a", points=np.array([[40.0, 64.0]])), [[40.0, 64.0]], [1])
CASES = [
    CLICK,
    Case(
        "two clicks",
        Prompt("a", points=np.array([[40.0, 64.0], [100.0, 20.0]]), labels=np.array([1, 0])),
        [[40.0, 64.0], [100.0, 20.0]],
        [1, 0],
    ),
    Case("box", Prompt("a", box=(18.5, 40.0, 62.0, 90.0)), [[18.5, 40.0], [62.0, 90.0]], [2, 3]),
    Case("mask", Prompt("a", mask=mask_without_corners()), None, None, mask_without_corners()),
]


def clip_with_white_frames(frames: int, size_px: int) -> np.ndarray:
    clip = moving_disc(frames, size_px)
    for index in WHITE_FRAMES:
        if index < frames:
            clip[index] = 255
    return clip


CLIP = clip_with_white_frames(24, 128)


@torch.inference_mode()
def run_reference(weights: Weights, case: Case, version: str = "2.1") -> list[ReferenceFrame]:
    tracker = ReferenceTracker(video_model(to_transformers(weights), CLIP.shape[1], version))
    mask = None if case.mask_hw is None else torch.from_numpy(case.mask_hw)
    frames = [tracker.step(normalised(CLIP[0]), case.points_xy, case.labels, mask)]
    return frames + [tracker.step(normalised(frame)) for frame in CLIP[1:]]


def run_ours(
    weights: Weights, case: Case, version: str = "2.1", change: Callable[[Tracker], None] | None = None
) -> list[dict[str, Tensor]]:
    tracker = Tracker(our_model(weights, CLIP.shape[1], version), PORT)
    if change is not None:
        change(tracker)
    frames = []
    for index, frame in enumerate(CLIP):
        result = tracker.step(frame, [case.prompt] if index == 0 else [])
        (found,) = result.objects
        (slot,) = np.flatnonzero(tracker.bank.pointer_frame[0] == index)
        frames.append(
            {
                "logits": torch.from_numpy(found.logits),
                "iou": torch.tensor(found.score),
                "object_score": torch.tensor(found.presence),
                "pointer": tracker.bank.pointers[0, slot].clone(),
            }
        )
    return frames


def errors(ours: list[dict[str, Tensor]], reference: list[ReferenceFrame]) -> dict[str, list[float]]:
    """Relative error per quantity and frame."""
    assert len(ours) == len(reference)
    theirs = [
        {"logits": r.logits_hw, "iou": r.iou, "object_score": r.object_score, "pointer": r.pointer_c}
        for r in reference
    ]
    return {
        name: [relative_error(a[name], b[name]) for a, b in zip(ours, theirs, strict=True)]
        for name in QUANTITIES
    }


def worst_visible_error(ours: list[dict[str, Tensor]], reference: list[ReferenceFrame]) -> float:
    """Largest error of the logits over frames on which the object is visible on both sides.

    Where only one side blanks the mask, the error is enormous and shows little.
    """
    per_frame = errors(ours, reference)["logits"]
    return max(
        error
        for error, a, b in zip(per_frame, ours, reference, strict=True)
        if a["object_score"] > 0 and b.object_score > 0
    )


@pytest.fixture(scope="module")
def weights() -> Weights:
    return official_weights(SEED, PRESENCE_BIAS)


@pytest.fixture(scope="module")
def reference(weights: Weights) -> list[ReferenceFrame]:
    return run_reference(weights, CLICK)


def test_the_weights_make_the_comparison_mean_something(reference: list[ReferenceFrame]) -> None:
    scores = [float(frame.object_score) for frame in reference]
    absent = [index for index, score in enumerate(scores) if score <= 0]
    assert absent == list(WHITE_FRAMES)
    assert min(abs(score) for score in scores) > 0.1  # no frame on which rounding could decide on absence
    assert min(rms(frame.ungated_logits_hw) for frame in reference) > 1
    assert min(frame.iou_margin for frame in reference) > 0.01  # nor which candidate is the best
    logits = torch.stack([frame.ungated_logits_hw for frame in reference[1:]])
    assert rms(logits - logits.mean(dim=0)) > 0.1 * rms(logits)  # frames differ


@pytest.mark.parametrize("version", ["2.1", "2.0"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_24_frames_agree(case: Case, version: str, request: pytest.FixtureRequest) -> None:
    weights = official_weights(SEED, PRESENCE_BIAS, version)
    found = errors(run_ours(weights, case, version), run_reference(weights, case, version))
    for name, per_frame in found.items():
        worst = int(np.argmax(per_frame))
        request.node.user_properties.append((name, max(per_frame)))
        assert per_frame[worst] < TOLERANCE, f"{name} differs by {per_frame[worst]:.1e} on frame {worst}"


def temporal_table_reversed(weights: Weights) -> Weights:
    return weights | {"maskmem_tpos_enc": weights["maskmem_tpos_enc"].flip(0)}


def no_object_embedding_off(weights: Weights) -> Weights:
    return weights | {"no_obj_embed_spatial": torch.zeros(1, 64)}


def memory_zeroed(weights: Weights) -> Weights:
    keys = ("memory_encoder.out_proj.weight", "memory_encoder.out_proj.bias", "no_obj_embed_spatial")
    return weights | {key: torch.zeros_like(weights[key]) for key in keys}


def rope_axes_swapped(weights: Weights) -> Weights:
    """Exchanges the halves of the query and key projections, the first of which rotates with x, the second with y: only
    the rotation of each half changes in the products of queries and keys."""
    changed = dict(weights)
    for key, tensor in weights.items():
        if key.startswith("memory_attention.") and (".q_proj." in key or ".k_proj." in key):
            changed[key] = tensor.roll(tensor.shape[0] // 2, dims=0)
    return changed


WEIGHT_MUTANTS = [temporal_table_reversed, no_object_embedding_off, memory_zeroed, rope_axes_swapped]


@pytest.mark.parametrize("mutant", WEIGHT_MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_mutant_would_be_noticed(
    mutant: Callable[[Weights], Weights], weights: Weights, reference: list[ReferenceFrame]
) -> None:
    assert worst_visible_error(run_ours(mutant(weights), CLICK), reference) > MUTANT_ERROR


def test_seven_pointers_instead_of_sixteen_would_be_noticed(
    weights: Weights, reference: list[ReferenceFrame]
) -> None:
    # As in trackers that keep only the last six complete memories. The divisor of distances stays 15.
    def keep_seven(tracker: Tracker) -> None:
        bank, view = tracker.bank, tracker.bank.view

        def fewer(rows, now):
            everything = view(rows, now)
            # conditioning first, then from old to new
            keep = [0, *range(1, everything.pointers_bpd.shape[1])[-6:]]
            return everything._replace(
                pointers_bpd=everything.pointers_bpd[:, keep], distances_bp=everything.distances_bp[:, keep]
            )

        bank.view = fewer

    ours = run_ours(weights, CLICK, change=keep_seven)
    assert worst_visible_error(ours, reference) > MUTANT_ERROR
    # up to frame 7 there are at most seven
    assert max(errors(ours[:8], reference[:8])["logits"]) < TOLERANCE


def test_a_clip_shorter_than_sixteen_frames_scales_time_by_its_length(weights: Weights) -> None:
    clip = CLIP[:8]
    pixels = torch.stack([normalised(frame) for frame in clip])
    reference = ReferenceTracker(video_model(to_transformers(weights), 128), pixels)
    worst = {}
    expected = [
        reference.step(frame, CLICK.points_xy if index == 0 else None, CLICK.labels)
        for index, frame in enumerate(pixels)
    ]
    for clip_frames in (len(clip), 0):
        config = replace(PORT, clip_frames=clip_frames)
        ours = Tracker(our_model(weights, 128), config)
        results = [ours.step(frame, [CLICK.prompt] if index == 0 else []) for index, frame in enumerate(clip)]
        worst[clip_frames] = max(
            relative_error(torch.from_numpy(result.objects[0].logits), frame.logits_hw)
            for result, frame in zip(results, expected, strict=True)
        )
    assert worst[8] < TOLERANCE
    assert worst[0] > MUTANT_ERROR  # with the setting of a live stream


@pytest.mark.slow
def test_three_frames_at_1024() -> None:
    weights = official_weights(SEED, PRESENCE_BIAS)
    clip = moving_disc(3, 1024)
    theirs = ReferenceTracker(video_model(to_transformers(weights), 1024))
    ours = Tracker(our_model(weights, 1024), replace(PORT, max_objects=1))
    for index, frame in enumerate(clip):
        points = [[320.0, 512.0]] if index == 0 else None
        expected = theirs.step(normalised(frame), points, [1] if index == 0 else None)
        result = ours.step(frame, [Prompt("a", points=np.array(points))] if points else [])
        (found,) = result.objects
        assert rms(expected.ungated_logits_hw) > 1
        assert relative_error(torch.from_numpy(found.logits), expected.logits_hw) < TOLERANCE
        assert relative_error(torch.tensor(found.score), expected.iou) < TOLERANCE
        assert relative_error(torch.tensor(found.presence), expected.object_score) < TOLERANCE
