# SPDX-License-Identifier: Apache-2.0
"""Depth messages read in metres: encodings, byte orders, padding, missing readings, and invalid depth images."""

from types import SimpleNamespace

import numpy as np
import pytest
from depth_scenes import depth_message
from hypothesis import given
from hypothesis import strategies as st

from sam2_ros.node.spatial.depth import DepthImage, check_registered
from sam2_ros.node.spatial.location import NoPositionError

METRES = np.array([[0.5, 1.25, np.nan], [2.0, 4.75, 65.0]])


def everywhere(depth: DepthImage) -> np.ndarray:
    rows, columns = np.indices(depth.values.shape)
    return depth.metres(rows.ravel(), columns.ravel()).reshape(depth.values.shape)


@pytest.mark.parametrize("encoding", ["16UC1", "32FC1"])
@pytest.mark.parametrize("bigendian", [False, True])
@pytest.mark.parametrize("padding", [0, 3, 8])
def test_metres_come_out_of_every_layout(encoding, bigendian, padding):
    depth = DepthImage(depth_message(METRES, encoding, bigendian, padding), 1000)
    assert everywhere(depth).dtype == np.float32
    np.testing.assert_allclose(everywhere(depth), METRES, rtol=1e-6)


def test_the_divisor_is_of_integers_only():
    np.testing.assert_allclose(
        everywhere(DepthImage(depth_message(METRES, "16UC1", divisor=100), 100)), METRES
    )
    np.testing.assert_allclose(everywhere(DepthImage(depth_message(METRES, "32FC1"), 100)), METRES)


def test_a_missing_reading_is_nan():
    floats = depth_message(np.array([[np.nan, np.inf, -np.inf, 0.0, -1.0, 1.0]]))
    assert np.isnan(everywhere(DepthImage(floats, 1000))).tolist() == [[True] * 5 + [False]]
    integers = depth_message(np.array([[0.0, 0.001]]), "16UC1")
    assert np.isnan(everywhere(DepthImage(integers, 1000))).tolist() == [[True, False]]


def test_the_values_are_a_view_of_the_message():
    message = depth_message(METRES, "16UC1")
    depth = DepthImage(message, 1000)
    message.data[0:2] = message.data[2:4]
    assert everywhere(depth)[0, 0] == np.float32(1.25)


def test_the_last_row_may_lack_its_padding():
    message = depth_message(METRES, "32FC1", padding=8)
    message.data = message.data[:-8]
    np.testing.assert_allclose(everywhere(DepthImage(message, 1000)), METRES)
    message.data = message.data[:-1]
    with pytest.raises(NoPositionError, match="truncated"):
        DepthImage(message, 1000)


@pytest.mark.parametrize("encoding", ["rgb8", "mono16", "64FC1", "16UC1; compressedDepth", ""])
def test_another_encoding_is_named(encoding):
    message = depth_message(METRES)
    message.encoding = encoding
    with pytest.raises(NoPositionError, match=f"encoding '{encoding}', expected 16UC1 or 32FC1"):
        DepthImage(message, 1000)


@given(
    height=st.integers(0, 5),
    width=st.integers(0, 5),
    step=st.integers(0, 30),
    size=st.integers(0, 130),
    encoding=st.sampled_from(["16UC1", "32FC1"]),
)
def test_sizes_that_do_not_fit_are_refused_and_no_other_byte_is_read(height, width, step, size, encoding):
    message = SimpleNamespace(
        height=height, width=width, step=step, encoding=encoding, is_bigendian=0, data=bytes(size)
    )
    row_bytes = width * (2 if encoding == "16UC1" else 4)
    if height and width and step >= row_bytes and size >= step * (height - 1) + row_bytes:
        assert np.isnan(everywhere(DepthImage(message, 1000))).all()
    else:
        with pytest.raises(NoPositionError, match=f"depth image {width}x{height}"):
            DepthImage(message, 1000)


def test_depth_must_be_registered_to_the_image():
    message = depth_message(METRES)
    check_registered(message, 2, 3, "camera")
    check_registered(message, 2, 3, "")
    with pytest.raises(NoPositionError, match=r"3x2 in frame 'camera', expected .* 6x4 in .*align_depth"):
        check_registered(message, 4, 6, "camera")
    with pytest.raises(
        NoPositionError, match=r"in frame 'camera', expected .* frame 'colour'.*depth_registered"
    ):
        check_registered(message, 2, 3, "colour")
    message.header.frame_id = ""
    check_registered(message, 2, 3, "colour")
