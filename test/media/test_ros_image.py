# SPDX-License-Identifier: Apache-2.0
"""Image buffers of camera drivers: every encoding, padded rows, both byte orders, damaged data."""

from __future__ import annotations

import array

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from image_encodings import PATTERNS, encoded, padded

from sam2_ros.media.pixels.image_error import ImageError
from sam2_ros.media.ros_image import (
    ENCODINGS,
    compressed_to_rgb,
    image_to_rgb,
    mono_to_image_fields,
    rgb_to_image_fields,
)


@given(
    image_rgb=hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3))),
    encoding=st.sampled_from(["rgb8", "bgr8", "rgba8", "bgra8"]),
    padding=st.integers(0, 7),
    big_endian=st.booleans(),
)
@settings(deadline=None, max_examples=200)
def test_colour_encodings_give_the_same_rgb_exactly(image_rgb, encoding, padding, big_endian):
    step, data = padded(encoded(image_rgb, encoding), padding, encoding)
    height, width = image_rgb.shape[:2]
    decoded = image_to_rgb(height, width, encoding, big_endian, step, data)
    np.testing.assert_array_equal(decoded, image_rgb)
    assert decoded.flags.c_contiguous


@given(
    values=hnp.arrays(np.uint16, st.tuples(st.integers(1, 9), st.integers(1, 9))),
    padding=st.integers(0, 5),
    big_endian=st.booleans(),
)
@settings(deadline=None, max_examples=100)
def test_mono16_keeps_the_high_byte_in_either_byte_order(values, padding, big_endian):
    wire = values.astype(">u2" if big_endian else "<u2")
    step, data = padded(wire.view(np.uint8).reshape(values.shape[0], -1), padding)
    decoded = image_to_rgb(*values.shape, "mono16", big_endian, step, data)
    for channel in range(3):
        np.testing.assert_array_equal(decoded[:, :, channel], values // 256)


@given(grey=hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9))), padding=st.integers(0, 5))
@settings(deadline=None, max_examples=50)
def test_mono8_is_grey(grey, padding):
    step, data = padded(grey, padding)
    np.testing.assert_array_equal(
        image_to_rgb(*grey.shape, "mono8", 0, step, data), np.repeat(grey[..., None], 3, 2)
    )


@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize("encoding", ["yuv422", "uyvy", "yuv422_yuy2", "yuyv"])
def test_422_shows_the_same_scene(scene_rgb, encoding, padding):
    step, data = padded(encoded(scene_rgb, encoding), padding, encoding)
    decoded = image_to_rgb(48, 64, encoding, 0, step, data)
    # Rounding of luma and chroma changes a few levels; swapped channels would change two hundred.
    assert np.abs(decoded.astype(int) - scene_rgb).max() <= 6


@pytest.mark.parametrize("padding", [0, 3])
@pytest.mark.parametrize("pattern", sorted(PATTERNS))
def test_bayer_shows_the_same_scene(scene_rgb, pattern, padding):
    encoding = f"bayer_{pattern}8"
    step, data = padded(encoded(scene_rgb, encoding), padding, encoding)
    decoded = image_to_rgb(48, 64, encoding, 0, step, data)
    for rows, columns in [
        (slice(7, 17), slice(9, 23)),
        (slice(7, 17), slice(39, 55)),
        (slice(31, 41), slice(9, 23)),
    ]:
        # Inside a flat quadrant, away from its edges, demosaicing is exact.
        np.testing.assert_array_equal(decoded[rows, columns], scene_rgb[rows, columns])


def test_rgb8_without_padding_is_a_view(scene_rgb):
    data = array.array("B", scene_rgb.tobytes())
    decoded = image_to_rgb(48, 64, "rgb8", 0, 192, data)
    data[0] = 17
    assert decoded[0, 0, 0] == 17


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview, list, lambda b: np.frombuffer(b, np.uint8)])
def test_any_buffer_type_is_accepted(scene_rgb, wrap):
    data = wrap(scene_rgb.tobytes())
    np.testing.assert_array_equal(image_to_rgb(48, 64, "rgb8", 0, 192, data), scene_rgb)


def test_padding_of_the_last_row_may_be_missing(scene_rgb):
    step, data = padded(encoded(scene_rgb, "bgr8"), 8)
    np.testing.assert_array_equal(image_to_rgb(48, 64, "bgr8", 0, step, data[:-8]), scene_rgb)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_truncated_data_names_the_sizes(scene_rgb, encoding):
    step, data = padded(encoded(scene_rgb, encoding), 4, encoding)
    with pytest.raises(
        ImageError, match=rf"{encoding} image 64x48 with step {step} has 1000 bytes.*expected \d+"
    ):
        image_to_rgb(48, 64, encoding, 0, step, data[:1000])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((48, 64, "32FC1", 0, 256, b""), "'32FC1' is usually depth"),
        ((48, 64, "8UC2", 0, 128, bytes(48 * 128)), "'8UC2' is not supported, expected rgb, bgr"),
        ((48, 64, "16UC1", 0, 128, bytes(48 * 128)), "'16UC1' is usually depth.*mono16_range"),
        ((4, 5, "nv12", 0, 5, bytes(30)), "nv12 image is 5x4 px, expected an even width"),
        ((3, 4, "i420", 0, 4, bytes(18)), "i420 image is 4x3 px, expected an even width and an even height"),
        ((4, 4, "nv12", 0, 4, bytes(16)), "16 bytes of data, expected 24.*height is the image's"),
        ((48, 64, "rgb8", 0, 64, bytes(48 * 192)), "step 64, expected at least 192"),
        ((0, 64, "rgb8", 0, 192, b""), "64x0 px, expected at least 1x1"),
        ((4, 5, "yuv422", 0, 10, bytes(40)), "odd width of 5"),
        ((1, 5, "bayer_rggb8", 0, 5, bytes(5)), "smaller than its 2x2 pattern"),
    ],
)
def test_unusable_images_say_why(arguments, message):
    with pytest.raises(ImageError, match=message):
        image_to_rgb(*arguments)


def test_rgb_fields_round_trip(scene_rgb):
    fields = rgb_to_image_fields(scene_rgb[:, 5:40])  # a crop, so not contiguous
    assert (fields.height, fields.width, fields.encoding, fields.step) == (48, 35, "rgb8", 105)
    np.testing.assert_array_equal(image_to_rgb(*fields), scene_rgb[:, 5:40])


def test_label_image_fields_are_little_endian_uint16():
    labels = np.array([[0, 1, 258], [65534, 2, 0]], np.uint16)
    fields = mono_to_image_fields(labels)
    assert (fields.encoding, fields.is_bigendian, fields.step) == ("mono16", 0, 6)
    assert fields.data.tobytes() == labels.astype("<u2").tobytes()


def test_bool_mask_fields_are_0_and_255():
    fields = mono_to_image_fields(np.array([[True, False]]))
    assert (fields.encoding, fields.data.tolist()) == ("mono8", [255, 0])


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3))]
)
def test_only_rgb_becomes_rgb_fields(image):
    with pytest.raises(ImageError, match="expected uint8"):
        rgb_to_image_fields(image)


def compressed(image_rgb: np.ndarray, suffix: str) -> bytes:
    return cv2.imencode(suffix, cv2.cvtColor(image_rgb, cv2.COLOR_RGB2BGR))[1].tobytes()


def test_png_is_exact_and_jpeg_close(scene_rgb):
    np.testing.assert_array_equal(
        compressed_to_rgb(compressed(scene_rgb, ".png"), "rgb8; png compressed bgr8"), scene_rgb
    )
    jpeg = compressed_to_rgb(compressed(scene_rgb, ".jpg"), "jpeg")
    assert np.abs(jpeg.astype(int) - scene_rgb).mean() < 5


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("share", [0.5, 0.9, 0.98])
def test_a_truncated_file_is_refused(scene_rgb, suffix, share):
    whole = compressed(np.tile(scene_rgb, (4, 4, 1)), suffix)
    with pytest.raises(ImageError, match=r"ends early|does not decode"):
        compressed_to_rgb(whole[: int(len(whole) * share)], "bgr8; jpeg compressed bgr8")


def test_a_camera_may_append_padding(scene_rgb):
    whole = compressed(scene_rgb, ".jpg")
    np.testing.assert_array_equal(compressed_to_rgb(whole + bytes(100)), compressed_to_rgb(whole))


@pytest.mark.parametrize("data", [b"", b"not an image at all"])
def test_arbitrary_bytes_do_not_decode(data):
    with pytest.raises(ImageError, match=f"{len(data)} bytes .format 'jpeg'. does not decode"):
        compressed_to_rgb(data, "jpeg")


def test_compressed_depth_is_not_colour():
    with pytest.raises(ImageError, match="is a depth image"):
        compressed_to_rgb(b"\x00" * 20, "16UC1; compressedDepth png")
