# SPDX-License-Identifier: Apache-2.0
"""Frames from videos, folders and bags: pixels, order, stamps, and a one-line error for unusable sources."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from compressed_images import write_compressed

from sam2_ros.media.bag.storage import BagWriter
from sam2_ros.media.frame_source import SourceError, natural_key
from sam2_ros.media.frames import open_source
from sam2_ros.media.messages.message_types import header, recorded_image, standard_types
from sam2_ros.media.overlay import VideoWriter
from sam2_ros.media.ros_image import rgb_to_image_fields

REPOSITORY = Path(__file__).parents[2]
STAMP_NS = 1_700_000_000_000_000_000


def shade(index: int) -> np.ndarray:
    """Make a flat 48x64 frame whose red value encodes its index."""
    return np.full((48, 64, 3), (10 * index, 90, 200), np.uint8)


def write_video(path, frames=10, fps=12.5):
    writer = VideoWriter(path, fps)
    for index in range(frames):
        writer.write(shade(index))
    writer.close()
    return path


def write_png(path, image_rgb):
    cv2.imwrite(str(path), cv2.cvtColor(image_rgb, cv2.COLOR_RGB2BGR))


@pytest.fixture
def bag(tmp_path):
    """Two image topics of 10 Hz, one of them compressed, and a topic without images."""
    with BagWriter(tmp_path / "bag") as writer:
        for index in range(5):
            stamp_ns = STAMP_NS + index * 100_000_000
            write_compressed(writer, "/front/image_raw/compressed", stamp_ns, "front", shade(index))
            writer.write_image("/rear/image_raw", stamp_ns, "rear", shade(index + 10))
        types = standard_types()
        writer.write_raw("/map_header", "std_msgs/msg/Header", STAMP_NS, header(types, STAMP_NS, "map"))
    return tmp_path / "bag"


def test_video(tmp_path):
    with open_source(write_video(tmp_path / "clip.mp4")) as source:
        assert (source.kind, source.fps, source.length, source.topic) == ("video", 12.5, 10, None)
        frames = list(source)
        assert [frame.index for frame in frames] == list(range(10))
        assert [frame.stamp_ns for frame in frames] == [index * 80_000_000 for index in range(10)]
        for frame in frames:
            # Lossy: within a few levels of the written values, red and blue not swapped.
            assert np.abs(frame.image.mean(axis=(0, 1)) - shade(frame.index)[0, 0]).max() < 8
        assert [frame.index for frame in source] == list(range(10))


def test_a_truncated_video_gives_the_frames_that_decode_and_a_warning(tmp_path, caplog):
    """An AVI without its end still announces all its frames."""
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (64, 48))
    noise = np.random.default_rng(0)
    for _ in range(20):
        writer.write(noise.integers(0, 255, (48, 64, 3), np.uint8))
    writer.release()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with open_source(path) as source, caplog.at_level(logging.WARNING):
        decoded = len(list(source))
    assert source.length is not None
    assert 0 < decoded < source.length
    assert source.skipped == source.length - decoded
    assert caplog.text.count("ends early") == 1
    assert f"{decoded} frames decode, {source.length} announced" in caplog.text


@pytest.mark.parametrize("content", [b"", b"certainly not a video", None])
def test_an_unreadable_video_gives_one_line(tmp_path, content):
    """In a separate process: FFmpeg sets its log level when the first video is opened."""
    path = tmp_path / "clip01.mp4"
    if content is None:  # the index of an .mp4 is at its end: a truncated file has none
        write_video(path)
        content = path.read_bytes()[:-1000]
    path.write_bytes(content)
    script = (
        "from sam2_ros.media.frames import SourceError, open_source\n"
        f"try: open_source({str(path)!r})\n"
        "except SourceError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=REPOSITORY)
    assert done.stderr == ""
    assert f"clip01.mp4' ({len(content)} bytes) does not open as a video" in done.stdout
    assert done.stdout.count("\n") == 1


def test_folder_in_natural_order(tmp_path):
    for index in (10, 9, 1, 2):
        write_png(tmp_path / f"frame{index}.png", shade(index))
    (tmp_path / "notes.txt").write_text("not a frame")
    (tmp_path / "._frame1.png").write_bytes(b"left by macOS")
    with open_source(tmp_path) as source:
        assert (source.kind, source.fps, source.length) == ("folder", 30.0, 4)
        frames = list(source)
    assert [frame.image[0, 0, 0] for frame in frames] == [10, 20, 90, 100]
    assert [frame.stamp_ns for frame in frames] == [0, 33333333, 66666667, 100000000]


def test_natural_order_with_and_without_zeros():
    names = ["b1.png", "a10.png", "a9.png", "a09.png", "a.png", "007.png", "10.png"]
    assert sorted(names, key=natural_key) == [
        "007.png",
        "10.png",
        "a09.png",
        "a9.png",
        "a10.png",
        "a.png",
        "b1.png",
    ]


def test_damaged_frames_of_a_folder_leave_a_gap(tmp_path, caplog):
    for index in range(4):
        write_png(tmp_path / f"{index:05d}.png", shade(index))
    whole = (tmp_path / "00002.png").read_bytes()
    (tmp_path / "00002.png").write_bytes(whole[: len(whole) // 2])
    source = open_source(tmp_path)
    with caplog.at_level(logging.WARNING):
        assert [frame.index for frame in source] == [0, 1, 3]
    assert source.skipped == 1
    assert "skipped 00002.png" in caplog.text


def test_a_folder_where_nothing_decodes(tmp_path):
    (tmp_path / "0.jpg").write_bytes(b"")
    (tmp_path / "1.jpg").write_bytes(b"hello")
    with pytest.raises(SourceError, match=r"no frame of .* decodes, though it announces 2"):
        list(open_source(tmp_path))


def test_folders_without_frames_say_what_to_do(tmp_path):
    with pytest.raises(SourceError, match="is empty, expected image files"):
        open_source(tmp_path)
    (tmp_path / "meta.json").write_text("{}")
    with pytest.raises(SourceError, match="holds no images among its 1 entries"):
        open_source(tmp_path)
    (tmp_path / "frames").mkdir()
    write_png(tmp_path / "frames" / "0.png", shade(0))
    with pytest.raises(SourceError, match=r"did you mean '.*frames'"):
        open_source(tmp_path)


def test_bag_topic_must_be_chosen_among_several(bag):
    with pytest.raises(
        SourceError,
        match=r"has 2 image topics: /front/image_raw/compressed \(CompressedImage, 5\), "
        r"/rear/image_raw \(Image, 5\); choose one with --topic",
    ):
        open_source(bag)


@pytest.mark.parametrize("topic", ["/rear/image_raw", "rear/image_raw"])
def test_raw_topic(bag, topic):
    with open_source(bag, topic) as source:
        assert (source.kind, source.topic, source.frame_id, source.length) == (
            "bag",
            "/rear/image_raw",
            "rear",
            5,
        )
        assert source.fps == pytest.approx(10.0)
        for _ in range(2):  # again from the start
            frames = list(source)
            assert [frame.stamp_ns for frame in frames] == [STAMP_NS + i * 100_000_000 for i in range(5)]
            np.testing.assert_array_equal(frames[3].image, shade(13))
            assert frames[3].frame_id == "rear"


@pytest.mark.parametrize("topic", ["/front/image_raw/compressed", "/front/image_raw"])
def test_compressed_topic_by_its_own_or_its_base_name(bag, topic):
    with open_source(bag, topic) as source:
        assert source.topic == "/front/image_raw/compressed"
        frames = list(source)
    assert len(frames) == 5
    assert np.abs(frames[4].image.astype(int) - shade(4)).max() < 8


def test_wrong_topics_list_those_there(bag):
    with pytest.raises(
        SourceError, match=r"no topic '/x'; its image topics are /front.*, /rear/image_raw \(Image, 5\)"
    ):
        open_source(bag, "/x")
    with pytest.raises(
        SourceError, match=r"'/map_header' .* is std_msgs/msg/Header, expected images; its image topics"
    ):
        open_source(bag, "/map_header")


def test_a_bag_without_images(tmp_path):
    types = standard_types()
    with BagWriter(tmp_path / "bag") as writer:
        writer.write_raw("/h", "std_msgs/msg/Header", STAMP_NS, header(types, STAMP_NS, "map"))
    with pytest.raises(SourceError, match=r"has no images, only /h \(std_msgs/msg/Header\)"):
        open_source(tmp_path / "bag")


def test_the_only_topic_is_chosen_and_a_zero_stamp_becomes_the_time_of_reception(tmp_path):
    types = standard_types()
    with BagWriter(tmp_path / "bag") as writer:
        for index in range(3):
            message = recorded_image(types, 0, "camera", rgb_to_image_fields(shade(index)))
            writer.write_raw("/image", "sensor_msgs/msg/Image", STAMP_NS + index * 50_000_000, message)
    with open_source(tmp_path / "bag") as source:
        assert source.fps == pytest.approx(20.0)
        assert [frame.stamp_ns for frame in source] == [
            STAMP_NS,
            STAMP_NS + 50_000_000,
            STAMP_NS + 100_000_000,
        ]


def test_the_header_stamp_has_priority_over_the_time_of_reception(tmp_path):
    types = standard_types()
    with BagWriter(tmp_path / "bag") as writer:
        message = recorded_image(types, STAMP_NS + 5, "camera", rgb_to_image_fields(shade(1)))
        writer.write_raw("/image", "sensor_msgs/msg/Image", STAMP_NS + 90_000_000, message)
    with open_source(tmp_path / "bag") as source:
        assert [frame.stamp_ns for frame in source] == [STAMP_NS + 5]


def test_damaged_images_of_a_bag_leave_a_gap(tmp_path, caplog):
    types = standard_types()
    with BagWriter(tmp_path / "bag") as writer:
        for index in range(4):
            message = recorded_image(types, STAMP_NS + index, "camera", rgb_to_image_fields(shade(index)))
            if index == 1:
                message.data = message.data[:100]
            if index == 2:
                message.encoding = "32FC1"
            writer.write_raw("/image", "sensor_msgs/msg/Image", STAMP_NS + index, message)
    source = open_source(tmp_path / "bag")
    with caplog.at_level(logging.WARNING):
        assert [frame.index for frame in source] == [0, 3]
    assert source.skipped == 2
    assert "skipped message 1 on /image" in caplog.text
    assert "'32FC1' is usually depth" in caplog.text


def test_files_that_are_not_sources_are_refused(tmp_path):
    with pytest.raises(
        SourceError, match="does not exist; expected a video file, a folder of frames or a rosbag2"
    ):
        open_source(tmp_path / "nowhere")
    write_png(tmp_path / "one.png", shade(0))
    with pytest.raises(SourceError, match="is a single image"):
        open_source(tmp_path / "one.png")
    (tmp_path / "old.bag").write_bytes(b"#ROSBAG V2.0\n")
    with pytest.raises(SourceError, match="ROS 1 bag; convert it with `rosbags-convert"):
        open_source(tmp_path / "old.bag")
    with pytest.raises(SourceError, match=r"topic '/image' was asked for, but .* is not a rosbag2"):
        open_source(write_video(tmp_path / "clip.mp4"), "/image")


@pytest.mark.parametrize(
    ("path", "topic", "expected"),
    [
        ("bags/derived_kite-surf_compressed_mcap", None, (50, 480, 854, 24.0)),
        ("bags/derived_libby_raw320_db3", None, (17, 180, 320, 8.0)),
        ("bags/real_klintan_sample", "/image", (1, 480, 640, 30.0)),
        ("bags/real_klintan_sample/sample.db3", "/image/compressed", (1, 480, 640, 30.0)),
        ("vos/davis17_gold-fish_512/frames", None, (78, 512, 512, 30.0)),
        ("clips/robotarm.mp4", None, None),
    ],
)
def test_real_sources(shared_data, path, topic, expected):
    with open_source(shared_data / path, topic) as source:
        frames = [(frame.image.shape, frame.stamp_ns) for frame in source]
        assert source.skipped == 0
        assert len(frames) == source.length
        stamps_ns = [stamp_ns for _, stamp_ns in frames]
        assert stamps_ns == sorted(set(stamps_ns))
        if expected is not None:
            assert (len(frames), *frames[0][0][:2], source.fps) == (
                *expected[:3],
                pytest.approx(expected[3], abs=1e-3),
            )


def test_bag_frames_are_the_frames_it_was_made_from(shared_data):
    """The bag holds every third frame of libby at 320x180: the same scene in the same colours."""
    with open_source(shared_data / "bags/derived_libby_raw320_db3") as bag:
        from_bag = next(iter(bag)).image
    original = next(iter(open_source(shared_data / "vos/davis16_libby/frames"))).image
    small = cv2.resize(original, (320, 180), interpolation=cv2.INTER_AREA)
    assert np.abs(small.astype(int) - from_bag).mean() < 4
