"""Scores a tracker's results on a clip with known masks: overlap, and honesty about hidden objects.

Does not know where results came from: a live node, a bag, or a tracker in the same process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sam2_ros.engine import FrameResult, ObjectState

from .metrics import mask_iou

REACQUIRED_IOU = 0.5
"""An object that comes back counts as found again from the first processed frame with this overlap."""


@dataclass(frozen=True)
class ObjectTruth:
    """One object's known masks over a whole clip, and the frame on which it is prompted (not scored)."""

    id: str
    masks_thw: np.ndarray  # [T, H, W] bool, visible pixels only
    visible_t: np.ndarray  # [T] bool
    prompted_frame: int = 0

    def __post_init__(self) -> None:
        if self.masks_thw.ndim != 3 or self.visible_t.shape != self.masks_thw.shape[:1]:
            raise ValueError(
                f"truth of '{self.id}' has masks {self.masks_thw.shape} and visibility "
                f"{self.visible_t.shape}: [T, H, W] and [T] of one length expected"
            )


@dataclass(frozen=True)
class ObjectScore:
    """One object over one clip. Shares are None when there was nothing to count."""

    id: str
    mean_iou: float | None  # over the processed frames in which it is visible
    missed: float | None  # share of those in which the tracker did not call it visible
    false_presence: float | None  # share of the processed frames in which it is hidden but was called visible
    frames_visible: int
    frames_hidden: int
    reacquired_frames: tuple[
        int | None, ...
    ]  # per reappearance: frames until IoU 0.5 again; None = not found again
    iou_by_frame: Mapping[int, float]  # processed frames in which it is visible
    called_visible_by_frame: Mapping[int, bool]  # all processed frames


@dataclass(frozen=True)
class ClipScore:
    """All objects of one clip; means are over (processed frame, object) pairs."""

    mean_iou: float | None
    missed: float | None
    false_presence: float | None
    per_object: tuple[ObjectScore, ...]


def score_clip(results: Sequence[FrameResult], truths: Sequence[ObjectTruth]) -> ClipScore:
    """Score the processed frames (`frame_index` counts in the clip) of one run.

    The frame an object was prompted on, and those before it, do not count. An object that a result does not
    list counts as an empty mask called hidden.
    """
    scores = tuple(_score_object(results, truth) for truth in truths)
    visible = sum(score.frames_visible for score in scores)
    return ClipScore(
        mean_iou=_share(sum(sum(score.iou_by_frame.values()) for score in scores), visible),
        missed=_share(sum((score.missed or 0.0) * score.frames_visible for score in scores), visible),
        false_presence=_share(
            sum((score.false_presence or 0.0) * score.frames_hidden for score in scores),
            sum(score.frames_hidden for score in scores),
        ),
        per_object=scores,
    )


def _score_object(results: Sequence[FrameResult], truth: ObjectTruth) -> ObjectScore:
    iou_by_frame: dict[int, float] = {}
    called_visible: dict[int, bool] = {}
    for result in results:
        frame = result.frame_index
        if frame <= truth.prompted_frame:
            continue
        tracked = next((found for found in result.objects if found.id == truth.id), None)
        called_visible[frame] = tracked is not None and tracked.state == ObjectState.TRACKING
        if truth.visible_t[frame]:
            truth_hw = truth.masks_thw[frame]
            iou_by_frame[frame] = mask_iou(tracked.mask if tracked else np.zeros_like(truth_hw), truth_hw)
    hidden = [frame for frame in called_visible if not truth.visible_t[frame]]
    return ObjectScore(
        id=truth.id,
        mean_iou=_share(sum(iou_by_frame.values()), len(iou_by_frame)),
        missed=_share(sum(not called_visible[frame] for frame in iou_by_frame), len(iou_by_frame)),
        false_presence=_share(sum(called_visible[frame] for frame in hidden), len(hidden)),
        frames_visible=len(iou_by_frame),
        frames_hidden=len(hidden),
        reacquired_frames=tuple(
            _reacquired_after(iou_by_frame, start, end) for start, end in reappearances(truth)
        ),
        iou_by_frame=iou_by_frame,
        called_visible_by_frame=called_visible,
    )


def reappearances(truth: ObjectTruth) -> list[tuple[int, int]]:
    """(first, end) frames of each visible stretch after a hidden one and the prompt; end exclusive."""
    return [(start, end) for start, end in stretches(truth.visible_t, True) if start > truth.prompted_frame]


def hidden_stretches(truth: ObjectTruth) -> list[tuple[int, int]]:
    """(first, end) frames of each stretch in which the object cannot be seen; end exclusive."""
    return stretches(truth.visible_t, False)


def stretches(flags_t: np.ndarray, wanted: bool) -> list[tuple[int, int]]:
    """Runs of `wanted` in a [T] series of booleans as half-open intervals."""
    match = np.concatenate(([False], np.asarray(flags_t, dtype=bool) == wanted, [False]))
    edges = np.flatnonzero(match[1:] != match[:-1])
    return [(int(start), int(end)) for start, end in zip(edges[::2], edges[1::2], strict=True)]


def _reacquired_after(iou_by_frame: Mapping[int, float], start: int, end: int) -> int | None:
    found = [frame for frame, iou in iou_by_frame.items() if start <= frame < end and iou >= REACQUIRED_IOU]
    return min(found) - start if found else None


def _share(total: float, count: int) -> float | None:
    return total / count if count else None
