"""The simple trackers do what they are there for: they follow what moves over a background that does not."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from sam2_ros.eval.metrics import mask_iou
from sam2_ros.eval.vos.baselines import BASELINES, FlowBaseline, grabcut
from sam2_ros.eval.vos.prompting import tight_box

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
def test_it_follows_a_moving_disc_and_staying_put_would_not(name: str) -> None:
    baseline = BASELINES[name]()
    image, start = scene(40)
    assert baseline.follow(image) == {}
    baseline.start("disc", image, start, tight_box(start))
    for step in range(1, 9):
        image, truth = scene(40 + 3 * step)
        masks = baseline.follow(image)
    assert mask_iou(masks["disc"], truth) > 0.7
    assert mask_iou(start, truth) < 0.3


def test_the_box_tracker_repeats_itself_whatever_ran_before() -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (120, 200, 3), dtype=np.uint8)  # nothing to hold on to: chance decides
    images = [
        np.roll(noise, 7 * step, axis=1) // 2 + rng.integers(0, 127, noise.shape, dtype=np.uint8)
        for step in range(6)
    ]
    mask = np.zeros(noise.shape[:2], bool)
    mask[40:80, 60:100] = True

    def followed() -> np.ndarray:
        baseline = BASELINES["grabcut"]()
        baseline.start("1", images[0], mask, tight_box(mask))
        return np.array([baseline.follow(image)["1"] for image in images[1:]])

    first = followed()
    BASELINES["grabcut"]().start("other", images[3], mask, (10, 10, 50, 60))
    np.testing.assert_array_equal(followed(), first)


def test_flow_carries_motion_of_less_than_a_pixel() -> None:
    baseline = FlowBaseline()
    image, start = scene(60)
    baseline.follow(image)
    baseline.start("disc", image, start, tight_box(start))
    for step in range(1, 21):
        image, truth = scene(60 + 0.4 * step)
        masks = baseline.follow(image)
    assert mask_iou(masks["disc"], truth) > 0.85
    assert mask_iou(start, truth) < 0.65


@pytest.mark.parametrize("name", BASELINES)
def test_without_a_first_mask_there_is_none_later(name: str) -> None:
    baseline = BASELINES[name]()
    image, mask = scene(60)
    baseline.follow(image)
    baseline.start("disc", image, mask & False, None)
    assert not baseline.follow(scene(62)[0])["disc"].any()


def test_grabcut_fills_a_box() -> None:
    image, truth = scene(60)
    assert mask_iou(grabcut(image, (38, 38, 82, 82)), truth) > 0.8
    assert not grabcut(image, (10, 10, 11, 50)).any()
    assert grabcut(image, (-5, -5, 400, 400)).all()  # the box is the image
    np.testing.assert_array_equal(grabcut(image, (38, 38, 82, 82)), grabcut(image, (38, 38, 82, 82)))
