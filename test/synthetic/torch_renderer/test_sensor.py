# SPDX-License-Identifier: Apache-2.0
"""The sensor's faults on a device match the reference in strength, with other random numbers.

Knows nothing of scenes.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from sam2_ros.synthetic.sensor import Sensor
from sam2_ros.synthetic.torch_renderer.sensor import expose, jpeg

FAULTLESS = Sensor(flicker=0.0, blur_px=1, noise=0.0, jpeg_quality=0)


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """Colours, edges and detail, [77, 101, 3] uint8; the size is not a multiple of a JPEG's blocks."""
    y, x = np.mgrid[:77, :101]
    waves = [128 + 90 * np.sin(x / 9 + c) * np.cos(y / (6 + c)) for c in range(3)]
    image = np.stack(waves, axis=-1)
    image[20:50, 30:70] = (220, 30, 60)
    return np.clip(image + np.random.default_rng(0).normal(0, 6, image.shape), 0, 255).astype(np.uint8)


def _frames(picture: np.ndarray, count: int = 1) -> torch.Tensor:
    return torch.from_numpy(picture).permute(2, 0, 1)[None].repeat(count, 1, 1, 1)


@pytest.mark.parametrize("quality", [25, 49, 50, 75, 90])
def test_jpeg_matches_opencv(picture: np.ndarray, quality: int) -> None:
    _, packed = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    expected = cv2.imdecode(packed, cv2.IMREAD_COLOR).astype(int)
    left = jpeg(_frames(picture).float(), quality)[0].permute(1, 2, 0).numpy()
    loss = np.abs(expected - picture).mean()
    assert np.abs(left - expected).mean() < 0.25 * loss
    assert loss > 2


def test_blur_is_the_same(picture: np.ndarray) -> None:
    blurred = expose(replace(FAULTLESS, blur_px=3), _frames(picture), 0)[0].permute(1, 2, 0).numpy()
    assert np.abs(cv2.GaussianBlur(picture, (3, 3), 0).astype(int) - blurred).max() <= 1


def test_noise_is_as_strong_and_as_soft() -> None:
    grey = np.full((96, 96, 3), 128, np.uint8)
    sensor = replace(FAULTLESS, noise=6.0)
    expected = sensor.expose(np.random.default_rng(0), grey).astype(float) - 128
    noise = expose(sensor, _frames(grey), 0)[0].permute(1, 2, 0).numpy().astype(float) - 128
    assert noise.std() == pytest.approx(expected.std(), rel=0.05)

    def beside(field: np.ndarray) -> float:
        return float((field[:, 1:] * field[:, :-1]).mean() / field.var())

    assert beside(noise) == pytest.approx(beside(expected), abs=0.05)


def test_flicker_changes_the_brightness_of_whole_frames() -> None:
    grey = np.full((16, 16, 3), 100, np.uint8)
    frames = expose(replace(FAULTLESS, flicker=0.05), _frames(grey, 200), 3).float()
    assert (frames.amax(dim=(1, 2, 3)) == frames.amin(dim=(1, 2, 3))).all()
    assert frames[:, 0, 0, 0].std().item() == pytest.approx(5.0, rel=0.25)


def test_a_faultless_camera_changes_nothing(picture: np.ndarray) -> None:
    assert torch.equal(expose(FAULTLESS, _frames(picture), 0), _frames(picture))
