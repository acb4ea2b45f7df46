# SPDX-License-Identifier: Apache-2.0
"""Opens a frame source: a video file, a folder of images or a rosbag2.

Knows how to distinguish them; each kind is read by its own module.
"""

from __future__ import annotations

from pathlib import Path

from sam2_ros.text import readable, text_problem

from .bag.frames import BagFrames
from .bag.storage import is_bag
from .files.image_folder import IMAGE_SUFFIXES, FolderFrames
from .files.video import VideoFrames
from .frame_source import Frame, FrameSource, SourceError
from .pixels.image_reader import ImageReader

__all__ = ["Frame", "FrameSource", "SourceError", "open_source"]

_EXPECTED = "expected a video file, a folder of frames or a rosbag2 (folder, .mcap, .db3, either also .zstd)"


def open_source(
    path: str | Path,
    topic: str | None = None,
    images: ImageReader | None = None,
    glob: str | None = None,
    fps: float | None = None,
) -> FrameSource:
    """Open the frames of `path`.

    Args:
        path: a video file, a folder of images or a rosbag2.
        topic: the image topic of a bag; required if it has several.
        images: converts the pixels to RGB, with its options for 16 bits and untyped encodings; one for each stream.
        glob: for a folder: only files whose names match, such as `*_rgb.png`.
        fps: for a folder: stamps are index / fps; None = stamps from the file names, else 30 frames per second.

    Raises SourceError if the source does not exist, cannot be read or has no frames.

        with open_source("clip.mp4") as source:
            for frame in source:
                tracker.step(frame.image, stamp_s=frame.stamp_s)
    """
    path = Path(path)
    if problem := text_problem(str(path)):  # OpenCV and SQLite accept no such name
        raise SourceError(f"source '{readable(str(path))}': its name {problem}; rename it")
    if not path.exists():
        raise SourceError(f"source '{path}' does not exist; {_EXPECTED}")
    try:
        if is_bag(path):
            _only_of_folders(path, glob, fps)
            return BagFrames(path, topic, images)
        if topic is not None:
            raise SourceError(
                f"topic '{topic}' was asked for, but '{path}' is not a rosbag2; leave --topic out"
            )
        if path.is_dir():
            return FolderFrames(path, images, glob, fps)
        _only_of_folders(path, glob, fps)
        return _open_file(path)
    except (PermissionError, IsADirectoryError) as error:
        raise SourceError(f"source '{path}' cannot be read: {error.strerror}") from error


def _only_of_folders(path: Path, glob: str | None, fps: float | None) -> None:
    for option, value in (("--glob", glob), ("--fps", fps)):
        if value is not None:
            raise SourceError(
                f"{option} '{value}' was asked for, but '{path}' is not a folder of images; leave {option} out"
            )


def _open_file(path: Path) -> FrameSource:
    suffix = path.suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        raise SourceError(f"'{path}' is a single image, {_EXPECTED}; `sam2-ros segment` takes single images")
    if suffix == ".bag":
        raise SourceError(
            f"'{path}' is a ROS 1 bag; convert it with `rosbags-convert --src {path} --dst OUT_FOLDER`"
        )
    if suffix == ".zstd":
        raise SourceError(
            f"'{path}' is compressed with zstd, and its name has no format: expected .mcap.zstd or .db3.zstd "
            "of a rosbag2, or unpack it with `unzstd`"
        )
    return VideoFrames(path)
