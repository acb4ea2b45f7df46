# SPDX-License-Identifier: Apache-2.0
"""Policy `motion`: a Kalman filter of the box has a say in which candidate is the mask.

Described as SAMURAI (arXiv 2411.11922): after 15 good frames the score of a candidate is 0.15 x IoU with the predicted
box + 0.85 x predicted IoU. Knows boxes alone. It assumes smooth motion in the image, thus a calm camera.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sam2_ros.engine.postprocess import tight_box

from .policy import Policy, Seen, State, box_iou

GOOD_FRAMES = 15
GOOD_IOU = 0.3  # of box and prediction; below this predicted IoU the filter starts again
SHARE = 0.15  # of the motion in a candidate's score
POSITION_NOISE, VELOCITY_NOISE = 1 / 20, 1 / 160  # standard deviations / height of the box
SIZE = 8  # of the filter's state: centre x, y, width / height, height, and their velocities


class Motion(Policy):
    """Keeps the number of good frames, and the filter: 8 means and 8 x 8 covariances."""

    name = "motion"

    def choose_mask(self, state: State, candidates_4hw: np.ndarray, scores_4: Sequence[float]) -> int | None:
        if not state or state[0] < GOOD_FRAMES:
            return None
        box = predicted_box(np.array(state[1 : 1 + SIZE]))
        mixed = [
            SHARE * box_iou(tight_box(mask), box) + (1 - SHARE) * score
            for mask, score in zip(candidates_4hw, scores_4, strict=True)
        ]
        return int(np.argmax(mixed))

    def admit(self, state: State, seen: Seen) -> bool:
        if not seen.visible or (seen.score < GOOD_IOU and not seen.prompted):
            state.clear()
            return True
        box = tight_box(seen.mask)
        if not state:
            mean, covariance = started(box)
            state[:] = [0.0, *mean, *covariance.ravel()]
            return True
        mean, covariance = np.array(state[1 : 1 + SIZE]), np.array(state[1 + SIZE :]).reshape(SIZE, SIZE)
        good = box_iou(predicted_box(mean), box) > GOOD_IOU
        mean, covariance = moved(*updated(mean, covariance, box))
        state[:] = [min(state[0] + 1, GOOD_FRAMES) if good else 0.0, *mean, *covariance.ravel()]
        return True


def started(box: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Mean ``[8]`` and covariance ``[8, 8]`` for the frame after the first box, x0, y0, x1, y1."""
    measured = _measured(box)
    height = measured[3]
    deviation = np.r_[np.full(4, 2 * POSITION_NOISE), np.full(4, 10 * VELOCITY_NOISE)] * height
    deviation[[2, 6]] = 1e-2, 1e-5
    return moved(np.r_[measured, np.zeros(4)], np.diag(deviation**2))


def moved(mean: np.ndarray, covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The prediction one frame later: constant velocity."""
    step = np.eye(SIZE) + np.eye(SIZE, k=4)
    noise = np.r_[np.full(4, POSITION_NOISE), np.full(4, VELOCITY_NOISE)] * max(mean[3], 1.0)
    noise[[2, 6]] = 1e-2, 1e-5
    return step @ mean, step @ covariance @ step.T + np.diag(noise**2)


def updated(mean: np.ndarray, covariance: np.ndarray, box: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Correct a prediction by a measured box."""
    noise = np.full(4, POSITION_NOISE * max(mean[3], 1.0))
    noise[2] = 1e-1
    innovation = covariance[:4, :4] + np.diag(noise**2)
    gain = np.linalg.solve(innovation, covariance[:4]).T
    return mean + gain @ (_measured(box) - mean[:4]), covariance - gain @ covariance[:4]


def predicted_box(mean: np.ndarray) -> tuple[float, float, float, float]:
    """The box of a mean: x0, y0, x1, y1 in cells."""
    x, y, aspect, height = mean[:4]
    width = aspect * height
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def _measured(box: Sequence[float]) -> np.ndarray:
    width, height = max(box[2] - box[0], 1), max(box[3] - box[1], 1)
    return np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2, width / height, height])
