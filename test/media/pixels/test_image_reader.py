# SPDX-License-Identifier: Apache-2.0
"""Images of one stream: untyped encodings with one warning, planar YUV."""

from __future__ import annotations

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from image_encodings import PLANAR, encoded, padded

from sam2_ros.media.pixels.image_error import ImageError
from sam2_ros.media.pixels.image_reader import ImageReader, PixelConfig
from sam2_ros.media.ros_image import image_to_rgb


def message(image_rgb: np.ndarray, encoding: str) -> SimpleNamespace:
    step, data = padded(encoded(image_rgb, encoding), 0, encoding)
    height, width = image_rgb.shape[:2]
    return SimpleNamespace(
        height=height, width=width, encoding=encoding, is_bigendian=0, step=step, data=data
    )


@pytest.mark.parametrize("encoding", ["8UC3", "8UC4", "8uc3"])
def test_channels_without_a_name_are_bgr_with_one_warning(scene_rgb, encoding):
    said: list[str] = []
    reader = ImageReader(warn=said.append)
    sent = message(scene_rgb, encoding.upper())
    sent.encoding = encoding
    for _ in range(3):
        np.testing.assert_array_equal(reader.message(sent), scene_rgb)
    (line,) = said
    assert f"{encoding} do not say what their channels are: read as bgr" in line
    assert "untyped_encoding" in line


def test_the_user_can_set_the_channel_order(scene_rgb):
    reader = ImageReader(PixelConfig(untyped="rgb"))
    np.testing.assert_array_equal(reader.message(message(scene_rgb, "8UC3")), scene_rgb[..., ::-1])


def test_one_channel_is_grey_without_a_warning(scene_rgb):
    said: list[str] = []
    grey = ImageReader(warn=said.append).message(message(scene_rgb, "8UC1"))
    np.testing.assert_array_equal(grey[..., 1], scene_rgb[..., 0])
    assert said == []


@pytest.mark.parametrize("padding", [0, 8])
@pytest.mark.parametrize("encoding", PLANAR)
def test_planes_show_the_same_scene(scene_rgb, encoding, padding):
    step, data = padded(encoded(scene_rgb, encoding), padding, encoding)
    decoded = image_to_rgb(48, 64, encoding.upper(), 0, step, data)
    assert decoded.flags.c_contiguous
    # The scene's edges are at even pixels. Rounding changes a few levels; a wrong plane would change two hundred.
    assert np.abs(decoded.astype(int) - scene_rgb).max() <= 8


def test_planes_as_opencv_lays_them_out(scene_rgb):
    i420 = cv2.cvtColor(scene_rgb, cv2.COLOR_RGB2YUV_I420)
    decoded = image_to_rgb(48, 64, "i420", 0, 64, i420.tobytes())
    assert np.abs(decoded.astype(int) - scene_rgb).max() <= 8


def test_data_of_exactly_the_images_size_are_tight_for_any_step(scene_rgb):
    data = encoded(scene_rgb, "nv12").tobytes()
    expected = image_to_rgb(48, 64, "nv12", 0, 64, data)
    for step in (96, 192, 0):
        np.testing.assert_array_equal(image_to_rgb(48, 64, "nv12", 0, step, data), expected)
    with pytest.raises(
        ImageError, match="nv12 image 64x48 with step 96 has 4607 bytes of data, expected 6912"
    ):
        image_to_rgb(48, 64, "nv12", 0, 96, data[:-1])
