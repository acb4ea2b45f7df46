# SPDX-License-Identifier: Apache-2.0
"""The baseline trackers follow an object that moves over a static background."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from sam2_ros.engine.postprocess import tight_box
from sam2_ros.eval.benchmark.baselines import BASELINES, FlowBaseline, grabcut
from sam2_ros.eval.metrics import mask_iou

SIZE = 120, 160


def scene(x: float) -> tuple[np.ndarray, np.ndarray]:
    """A textured orange disc of radius 20 at (x, 60) on a textured blue ground, and its mask."""
    rng = np.random.default_rng(3)
    ground, texture = (
        cv2.GaussianBlur(rng.uniform(-80, 80, SIZE).astype(np.float32), (0, 0), 1.5) for _ in "ab"
    )
    image = np.clip(np.array([40, 60, 160]) + ground[..., None], 0, 255).astype(np.float32)
    shift = np.array([[1, 0, x - 80], [0, 1, 0]], np.float32)
    alpha = np.zeros(SIZE, np.float32)
    cv2.circle(alpha, (80, 60), 20, 1.0, -1)
    alpha = cv2.warpAffine(alpha, shift, SIZE[::-1])
    moved = cv2.warpAffine(texture, shift, SIZE[::-1])
    disc = np.clip(np.array([220, 130, 30]) + moved[..., None], 0, 255)
    image = image * (1 - alpha[..., None]) + disc * alpha[..., None]
    return image.astype(np.uint8), alpha > 0.5


@pytest.mark.parametrize("name", BASELINES)
def test_it_tracks_a_moving_disc(name: str) -> None:
    baseline = BASELINES[name]()
    image, start = scene(40)
    assert baseline.track(image) == {}
    baseline.add_object("disc", image, start, tight_box(start))
    for step in range(1, 9):
        image, truth = scene(40 + 3 * step)
        masks = baseline.track(image)
    assert mask_iou(masks["disc"], truth) > 0.7
    assert mask_iou(start, truth) < 0.3


def test_flow_carries_motion_of_less_than_a_pixel() -> None:
    baseline = FlowBaseline()
    image, start = scene(60)
    baseline.track(image)
    baseline.add_object("disc", image, start, tight_box(start))
    for step in range(1, 21):
        image, truth = scene(60 + 0.4 * step)
        masks = baseline.track(image)
    assert mask_iou(masks["disc"], truth) > 0.85
    assert mask_iou(start, truth) < 0.65


@pytest.mark.parametrize("name", BASELINES)
def test_without_a_first_mask_there_is_none_later(name: str) -> None:
    baseline = BASELINES[name]()
    image, mask = scene(60)
    baseline.track(image)
    baseline.add_object("disc", image, mask & False, None)
    assert not baseline.track(scene(62)[0])["disc"].any()


def test_grabcut_fills_a_box() -> None:
    image, truth = scene(60)
    assert mask_iou(grabcut(image, (38, 38, 82, 82)), truth) > 0.8
    assert not grabcut(image, (10, 10, 11, 50)).any()
    assert grabcut(image, (-5, -5, 400, 400)).all()  # the box is the image
    np.testing.assert_array_equal(grabcut(image, (38, 38, 82, 82)), grabcut(image, (38, 38, 82, 82)))
