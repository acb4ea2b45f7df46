"""Scores of hand-made results against a truth in which one object hides."""

from __future__ import annotations

import numpy as np
import pytest

from sam2_ros.engine import FrameResult, ObjectState, TrackedObject
from sam2_ros.eval.scoring import ObjectTruth, hidden_stretches, reappearances, score_clip

HEIGHT, WIDTH, FRAMES = 40, 60, 10
SQUARE = np.zeros((HEIGHT, WIDTH), dtype=bool)
SQUARE[10:30, 10:30] = True
HALF = SQUARE.copy()
HALF[20:] = False
EMPTY = np.zeros_like(SQUARE)


def hiding_truth(object_id: str = "cup") -> ObjectTruth:
    """Visible except in frames 4, 5 and 6."""
    visible = np.ones(FRAMES, dtype=bool)
    visible[4:7] = False
    masks = np.where(visible[:, None, None], SQUARE, EMPTY)
    return ObjectTruth(object_id, masks, visible)


def tracked(mask: np.ndarray, state: ObjectState, object_id: str = "cup") -> TrackedObject:
    return TrackedObject(
        id=object_id,
        label=1,
        class_id="",
        mask=mask,
        logits=np.zeros((0, 0), np.float32),
        score=0.9,
        presence=3.0,
        state=state,
        age_s=0.0,
        box=(0, 0, 0, 0),
        area_px=int(mask.sum()),
        centroid_xy=(0.0, 0.0),
    )


def result(frame: int, *objects: TrackedObject) -> FrameResult:
    return FrameResult(frame, frame / 10, HEIGHT, WIDTH, list(objects))


def perfect(truth: ObjectTruth, frame: int) -> TrackedObject:
    state = ObjectState.TRACKING if truth.visible_t[frame] else ObjectState.OCCLUDED
    return tracked(truth.masks_thw[frame], state, truth.id)


def test_perfect_tracking_scores_one_and_claims_nothing_false() -> None:
    truth = hiding_truth()
    score = score_clip([result(frame, perfect(truth, frame)) for frame in range(FRAMES)], [truth])
    assert (score.mean_iou, score.missed, score.false_presence) == (1.0, 0.0, 0.0)
    assert score.per_object[0].frames_visible == 6  # ten, less three hidden and the prompted one
    assert score.per_object[0].frames_hidden == 3
    assert score.per_object[0].reacquired_frames == (0,)


def test_prompted_frame_does_not_count() -> None:
    truth = hiding_truth()
    results = [result(0, tracked(EMPTY, ObjectState.PENDING))]
    results += [result(frame, perfect(truth, frame)) for frame in range(1, FRAMES)]
    assert score_clip(results, [truth]).mean_iou == 1.0


def test_dropped_frames_count_neither_way() -> None:
    truth = hiding_truth()
    kept = [result(frame, tracked(HALF, ObjectState.TRACKING)) for frame in (0, 2, 5, 9)]
    score = score_clip(kept, [truth])
    assert score.mean_iou == 0.5  # frames 2 and 9
    assert score.false_presence == 1.0  # frame 5
    assert score.per_object[0].reacquired_frames == (2,)  # back in frame 7, next seen in frame 9


def test_state_decides_presence_and_mask_decides_overlap() -> None:
    truth = hiding_truth()
    results = [result(frame, tracked(SQUARE, ObjectState.OCCLUDED)) for frame in range(FRAMES)]
    score = score_clip(results, [truth])
    assert score.mean_iou == 1.0
    assert score.missed == 1.0
    assert score.false_presence == 0.0


def test_object_that_is_not_listed_is_an_empty_mask_called_hidden() -> None:
    score = score_clip([result(frame) for frame in range(FRAMES)], [hiding_truth()])
    assert (score.mean_iou, score.missed, score.false_presence) == (0.0, 1.0, 0.0)
    assert score.per_object[0].reacquired_frames == (None,)


def test_means_are_over_pairs_of_frame_and_object() -> None:
    hiding, steady = (
        hiding_truth(),
        ObjectTruth("box", np.stack([SQUARE] * FRAMES), np.ones(FRAMES, dtype=bool)),
    )
    results = [
        result(frame, perfect(hiding, frame), tracked(EMPTY, ObjectState.LOST, "box"))
        for frame in range(FRAMES)
    ]
    score = score_clip(results, [hiding, steady])
    assert score.mean_iou == pytest.approx(6 / (6 + 9))
    assert score.per_object[1].false_presence is None


def test_stretches() -> None:
    truth = hiding_truth()
    assert hidden_stretches(truth) == [(4, 7)]
    assert reappearances(truth) == [(7, 10)]


def test_truth_of_unequal_lengths_is_refused() -> None:
    with pytest.raises(ValueError, match="one length"):
        ObjectTruth("cup", np.zeros((3, 4, 4), bool), np.ones(2, bool))
