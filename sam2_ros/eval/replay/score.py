# SPDX-License-Identifier: Apache-2.0
"""Scores a run's masks against the ground truth, on processed images only and on every image as a robot sees it.

Knows results, truth and stamps; does not know which run it was, nor where the scores go.

A robot uses the newest result: a dropped image is scored with the result of the last processed image before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from sam2_ros.datasets.sequence import FrameTruth
from sam2_ros.engine import FrameResult, ObjectState, TrackedObject
from sam2_ros.eval.metrics import boundary_f, mask_iou, region_j
from sam2_ros.media.frame_source import SourceError

from .measures import matched_object
from .truth import ReplayTruth

FOUND_IOU = 0.5
"""Least IoU with the true mask for an answer to count as the object found."""


@dataclass
class ObjectAnswer:
    """The newest answer for one object at one image, and its scores.

    Attributes:
        stamp_s: stamp of the image, seconds from the first one.
        processed: True if the answer is of this image, False if of an earlier one.
        state, presence: None and NaN if the result does not contain the object.
        has_mask: the mask has at least one pixel.
        scored: there is ground truth, and the object was prompted on an earlier image. Else the fields below are unset.
        visible: the object is visible in the ground truth.
        j, f: 0..1.
        matched: the object whose true mask the answer lies on, see `measures.matched_object`.
        answer_iou, truth_iou: IoU with the mask of the previous scored image; NaN without one, and if the object is
            hidden in either image.
        answer_iou_processed, truth_iou_processed: the same with the previous scored and processed image.
    """

    stamp_s: float
    processed: bool
    state: ObjectState | None
    presence: float
    has_mask: bool
    scored: bool = False
    visible: bool = False
    j: float = np.nan
    f: float = np.nan
    matched: str | None = None
    answer_iou: float = np.nan
    truth_iou: float = np.nan
    answer_iou_processed: float = np.nan
    truth_iou_processed: float = np.nan

    @property
    def tracking(self) -> bool:
        return self.state == ObjectState.TRACKING

    @property
    def found(self) -> bool:
        """True if the state is TRACKING and the mask lies on the object."""
        return self.tracking and self.j >= FOUND_IOU


@dataclass
class ObjectTrack:
    """One object over all images of a bag. `prompted`: index of the image of its first prompt."""

    id: str
    prompted: int
    answers: list[ObjectAnswer] = field(default_factory=list)

    @property
    def processed(self) -> list[bool]:
        return [answer.processed for answer in self.answers]


@dataclass
class _PreviousMasks:
    """The masks of an object in the previous scored image."""

    answer: np.ndarray | None = None
    truth: np.ndarray | None = None

    def advance(self, answer: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
        """IoU of answer and truth with the previous ones, which they replace; NaN if the pair is not counted."""
        before_answer, before_truth = self.answer, self.truth
        self.answer, self.truth = answer, truth
        if before_answer is None or before_truth is None or answer.shape != before_answer.shape:
            return np.nan, np.nan
        # A hidden object has no outline, and two empty answers do not show that an outline is stable.
        if not (truth.any() and before_truth.any()) or not (answer.any() or before_answer.any()):
            return np.nan, np.nan
        return mask_iou(answer, before_answer), mask_iou(truth, before_truth)


def score_run(
    stamps_s: Sequence[float],
    results: Iterable[FrameResult],
    prompted: Mapping[str, int],
    known: ReplayTruth | None,
) -> list[ObjectTrack]:
    """Scores every prompted object over all images. Reads results and truth one by one, each once.

    Args:
        stamps_s: stamps of the images.
        results: results with the index of their image in `frame_index`; one out of order is ignored.
        prompted: object -> index of the image of its first prompt.
        known: the truth; None = nothing is scored.

    Raises SourceError if the truth of an image differs in size from its answer.
    """
    tracks = [ObjectTrack(object_id, first) for object_id, first in prompted.items()]
    before = {track.id: (_PreviousMasks(), _PreviousMasks()) for track in tracks}
    for index, (stamp_s, newest) in enumerate(
        zip(stamps_s, newest_results(results, len(stamps_s)), strict=True)
    ):
        truth = known.at(index) if known is not None else None
        if truth is not None and newest is not None and truth.hw != (newest.height_px, newest.width_px):
            raise SourceError(
                f"the truth of image {index} is {truth.hw[1]} x {truth.hw[0]} px, the answer to it "
                f"{newest.width_px} x {newest.height_px}: one size expected"
            )
        objects = {obj.id: obj for obj in newest.objects} if newest is not None else {}
        processed = newest is not None and newest.frame_index == index
        for track in tracks:
            obj = objects.get(track.id)
            answer = ObjectAnswer(
                stamp_s,
                processed,
                None if obj is None else obj.state,
                np.nan if obj is None else obj.presence,
                obj is not None and bool(obj.mask.any()),
            )
            if (
                truth is not None
                and known is not None
                and track.id in known.values
                and index > track.prompted
            ):
                _score(answer, track.id, obj, truth, *before[track.id])
            track.answers.append(answer)
    return tracks


def _score(
    answer: ObjectAnswer,
    own: str,
    obj: TrackedObject | None,
    truth: FrameTruth,
    every: _PreviousMasks,
    processed: _PreviousMasks,
) -> None:
    truth_hw = truth.mask(own)
    answer_hw = np.zeros(truth.hw, bool) if obj is None else obj.mask
    if truth.void_hw is not None:
        truth_hw, answer_hw = truth_hw & ~truth.void_hw, answer_hw & ~truth.void_hw
    answer.scored = True
    answer.visible = bool(truth_hw.any())
    answer.j, answer.f = region_j(answer_hw, truth_hw), boundary_f(answer_hw, truth_hw)
    if answer_hw.any():
        answer.matched = matched_object(
            own, {name: mask_iou(answer_hw, mask) for name, mask in truth.masks.items()}
        )
    answer.answer_iou, answer.truth_iou = every.advance(answer_hw, truth_hw)
    if answer.processed:
        answer.answer_iou_processed, answer.truth_iou_processed = processed.advance(answer_hw, truth_hw)


def newest_results(results: Iterable[FrameResult], images: int) -> Iterator[FrameResult | None]:
    """For each image, the result of the last processed image up to it; None before the first."""
    coming = iter(results)
    newest: FrameResult | None = None
    following = next(coming, None)
    for index in range(images):
        while following is not None and following.frame_index <= index:
            if newest is None or following.frame_index > newest.frame_index:
                newest = following
            following = next(coming, None)
        yield newest
