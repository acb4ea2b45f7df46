# SPDX-License-Identifier: Apache-2.0
"""The number of copies of an image between DDS and the model is the one in docs/reference/images.md."""

from __future__ import annotations

import array
import re
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from image_encodings import encoded, padded

from sam2_ros.engine.preprocess import preprocess
from sam2_ros.media.pixels.image_reader import ImageReader
from sam2_ros.media.ros_image import ENCODINGS, image_to_rgb
from sam2_ros.node.convert import ImageDecoder

HEIGHT_PX, WIDTH_PX = 480, 640
RGB_BYTES = HEIGHT_PX * WIDTH_PX * 3
PADDING = 32
SMALL = 0.01  # of an image: views, headers, Python objects
PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "images.md").read_text()

TAKE_LIKE_RCLPY = r"""
import re, sys
from pathlib import Path
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import Image
cdr = open(sys.argv[1], "rb").read()
deserialize_message(open(sys.argv[2], "rb").read(), Image)  # loads the type support
# Not getrusage: its maximum includes that of the process this one was forked from.
def peak_kb():
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])
before_kb = peak_kb()
message = deserialize_message(cdr, Image)
print((peak_kb() - before_kb) * 1024 / len(cdr))
"""


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    """[480, 640, 3] uint8 RGB; smooth, so that a JPEG of it is small."""
    noise = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    return cv2.resize(noise, (WIDTH_PX, HEIGHT_PX), interpolation=cv2.INTER_CUBIC)


def documented(encoding: str) -> tuple[float, float]:
    """New memory of an encoding by docs/reference/images.md, in RGB images: (tight rows, padded rows)."""
    row = re.search(rf"^\| `{encoding}` \|.*\| ([\d.]+) \| ([\d.]+) \|$", PAGE, re.MULTILINE)
    assert row is not None, f"docs/reference/images.md has no row for {encoding}"
    return float(row[1]), float(row[2])


def new_memory(convert: Callable[[], np.ndarray]) -> float:
    """Peak of newly allocated memory, in RGB images."""
    convert()  # allocates what is made once
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        kept = convert()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert kept.shape == (HEIGHT_PX, WIDTH_PX, 3)
    return (peak - before) / RGB_BYTES


def test_the_measure_sees_what_numpy_and_opencv_return(photo):
    assert new_memory(lambda: photo) == pytest.approx(0, abs=SMALL)
    assert new_memory(lambda: photo.copy()) == pytest.approx(1, abs=SMALL)
    assert new_memory(lambda: cv2.cvtColor(photo, cv2.COLOR_BGR2RGB)) == pytest.approx(1, abs=SMALL)
    assert new_memory(lambda: photo.copy()[:, :, ::-1].copy()) == pytest.approx(2, abs=SMALL)


@pytest.mark.parametrize("padding", [0, PADDING])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_conversion_takes_the_memory_that_the_table_says(photo, encoding, padding):
    step, data = padded(encoded(photo, encoding), padding, encoding)
    message_data = array.array("B", data)
    taken = new_memory(lambda: image_to_rgb(HEIGHT_PX, WIDTH_PX, encoding, 0, step, message_data))
    assert taken == pytest.approx(documented(encoding)[padding > 0], abs=SMALL)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_compressed_image_takes_two_images_and_its_own_bytes(photo, suffix):
    data = array.array("B", cv2.imencode(suffix, photo)[1].tobytes())
    message = SimpleNamespace(data=data, format=suffix)
    taken = new_memory(lambda: ImageDecoder(ImageReader()).to_rgb(message)) - len(data) / RGB_BYTES
    (said,) = re.findall(r"^\| JPEG, PNG \|.*\| ([\d.]+) \| - \|$", PAGE, re.MULTILINE)
    # The copy of the compressed bytes may be freed before the second image is allocated.
    assert float(said) - len(data) / RGB_BYTES - SMALL < taken < float(said) + SMALL


def test_rgb8_without_padding_is_seen_where_it_lies(photo):
    data = array.array("B", photo.tobytes())
    message = SimpleNamespace(
        height=HEIGHT_PX, width=WIDTH_PX, encoding="rgb8", is_bigendian=0, step=3 * WIDTH_PX, data=data
    )
    seen = ImageDecoder(ImageReader()).to_rgb(message)
    assert np.shares_memory(seen, np.frombuffer(data, np.uint8))
    # The tracker uses a writeable array directly, and would copy a read-only one.
    assert seen.flags.writeable


def allocated_by_torch(frame_hwc: np.ndarray, resize: str, size_px: int) -> float:
    """Sum of the full-size buffers that PyTorch allocates for the model's input, in bytes per byte of the frame."""
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        preprocess(frame_hwc, size_px, resize, torch.device("cpu"))
    sizes = [event.self_cpu_memory_usage / frame_hwc.nbytes for event in profile.events()]
    return sum(size for size in sizes if size >= 1)


def test_the_models_input_costs_what_the_table_says():
    frame = np.zeros((1080, 1920, 3), np.uint8)
    (said,) = re.findall(r"input, CPU \| (\d+) bytes per byte of RGB", PAGE)
    small = 256  # so small that no intermediate buffer is as large as the frame
    assert allocated_by_torch(frame, "image", small) == pytest.approx(float(said), abs=SMALL)
    assert allocated_by_torch(frame, "video", small) == 0
    assert allocated_by_torch(frame, "fast", small) == 0


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="needs /proc to read a process's peak memory"
)
def test_rclpy_copies_an_image_at_most_as_often_as_the_table_says(tmp_path):
    pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
    from rclpy.serialization import serialize_message
    from sensor_msgs.msg import Image

    for name, side_px in (("large", 4000), ("tiny", 2)):
        message = Image(height=side_px, width=side_px, encoding="rgb8", step=3 * side_px)
        message.data = array.array("B", bytes(3 * side_px * side_px))
        (tmp_path / name).write_bytes(serialize_message(message))
    done = subprocess.run(
        [sys.executable, "-c", TAKE_LIKE_RCLPY, str(tmp_path / "large"), str(tmp_path / "tiny")],
        capture_output=True,
        text=True,
        check=True,
    )
    said = [int(count) for count in re.findall(r"^\| (?:DDS to|C to) .*?\| (\d) \|", PAGE, re.MULTILINE)]
    assert len(said) == 2
    assert 0.9 < float(done.stdout) < sum(said) + 0.1
