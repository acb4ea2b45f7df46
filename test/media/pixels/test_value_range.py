# SPDX-License-Identifier: Apache-2.0
"""Values of more than 8 bits: the full range, with a warning if it is hardly used; a fixed range; fixed percentiles."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from sam2_ros.media.pixels.image_error import ImageError
from sam2_ros.media.pixels.image_reader import ImageReader, PixelConfig
from sam2_ros.media.pixels.value_range import ValueRange
from sam2_ros.media.ros_image import image_to_rgb


@pytest.fixture(scope="module")
def grey() -> np.ndarray:
    """[60, 80] uint8 with every value."""
    return np.linspace(0, 255, 60 * 80).astype(np.uint8).reshape(60, 80)


def png(values: np.ndarray) -> bytes:
    return cv2.imencode(".png", values)[1].tobytes()


def tiff(values: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(values).save(file, "TIFF")
    return file.getvalue()


@pytest.mark.parametrize(("used", "high"), [(16, 4080), (9, 2040)])
def test_an_image_with_few_grey_values_gives_one_warning_with_the_remedy(grey, used, high):
    said: list[str] = []
    reader = ImageReader(warn=said.append)
    thermal = grey.astype(np.uint16) * (high // 255)
    for _ in range(3):
        reader.file(png(thermal))
    (line,) = said
    assert f"values from 0 to {high} uses only {thermal.max() // 256 + 1} of the 256 grey values" in line
    assert "--range percentiles" in line
    assert "mono16_range" in line
    assert used in (16, 9)


def test_an_image_that_uses_the_full_range_gives_no_warning(grey):
    said: list[str] = []
    picture = ImageReader(warn=said.append).file(png(grey.astype(np.uint16) * 257))
    np.testing.assert_array_equal(picture[..., 1], grey)
    assert said == []


@pytest.mark.parametrize("encode", [png, tiff])
def test_a_range_restores_the_image_that_was_compressed_into_it(grey, encode):
    thermal = 7000 + grey.astype(np.uint16) * 8
    picture = ImageReader(PixelConfig("7000,9040")).file(encode(thermal))
    np.testing.assert_array_equal(picture[..., 0], grey)
    by_percent = ImageReader(PixelConfig("percentiles")).file(encode(thermal))
    assert np.abs(by_percent[..., 0].astype(int) - grey).max() <= 4


def test_percentiles_of_the_first_image_are_kept_so_that_brightness_does_not_flicker(grey):
    reader = ImageReader(PixelConfig("percentiles"))
    dark, bright = 7000 + grey.astype(np.uint16) * 8, 7400 + grey.astype(np.uint16) * 8
    first, second = reader.file(png(dark)), reader.file(png(bright))
    np.testing.assert_array_equal(first, reader.file(png(dark)))
    shift = second[..., 0].astype(int) - first[..., 0]
    assert np.median(shift[(first[..., 0] > 0) & (second[..., 0] < 255)]) == pytest.approx(51, abs=2)


def test_a_lens_cap_at_the_start_does_not_fix_the_range(grey):
    reader = ImageReader(PixelConfig("percentiles"))
    assert reader.file(png(np.full((60, 80), 7000, np.uint16))).max() == 0
    assert reader.file(png(7000 + grey.astype(np.uint16) * 8)).max() == 255


def test_16_bit_colour_keeps_its_colours(grey):
    colour = np.dstack([grey, np.roll(grey, 20), np.roll(grey, 40)])  # OpenCV's order, blue first
    picture = ImageReader(PixelConfig("100,4180")).file(png(100 + colour.astype(np.uint16) * 16))
    np.testing.assert_array_equal(picture, colour[..., ::-1])


def test_floats_and_32_bit_integers_need_a_range_unless_they_are_0_to_1(grey):
    np.testing.assert_array_equal(ImageReader().file(tiff(grey.astype(np.float32) / 255))[..., 2], grey)
    for values in (grey.astype(np.float32) * 10, grey.astype(np.int32) * 10):
        with pytest.raises(ImageError, match=r"values from 0 to 2550, expected.*--range percentiles"):
            ImageReader().file(tiff(values))
        np.testing.assert_array_equal(ImageReader(PixelConfig("0,2550")).file(tiff(values))[..., 2], grey)


def test_nan_becomes_black():
    values = np.array([[np.nan, 0.0, 10.0, np.inf]], np.float32)
    assert ValueRange("0,10").to_8_bits(values).tolist() == [[0, 0, 255, 255]]


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("padding", [0, 6])
def test_raw_messages_use_the_range_too(grey, big_endian, padding):
    wire = (
        (7000 + grey.astype(np.uint16) * 8)
        .astype(">u2" if big_endian else "<u2")
        .view(np.uint8)
        .reshape(60, -1)
    )
    data = np.pad(wire, ((0, 0), (0, padding))).tobytes()
    for encoding in ("mono16", "16UC1"):
        read = image_to_rgb(60, 80, encoding, big_endian, 160 + padding, data, ValueRange("7000,9040"))
        np.testing.assert_array_equal(read[..., 0], grey)
    with pytest.raises(ImageError, match="'16UC1' is usually depth"):
        image_to_rgb(60, 80, "16UC1", big_endian, 160 + padding, data)


def test_8_bit_images_are_not_changed(grey):
    np.testing.assert_array_equal(ImageReader(PixelConfig("7000,9040")).file(png(grey))[..., 0], grey)


@pytest.mark.parametrize("text", ["9000,7000", "7000", "a,b", "1,2,3", "nan,7", "percentile", "5,5"])
def test_an_invalid_range_is_refused(text):
    with pytest.raises(ImageError, match=f"range '{text}' cannot be read: expected full, percentiles or"):
        PixelConfig(text)
