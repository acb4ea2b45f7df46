"""Opens whatever holds frames: a video file, a folder of images, a rosbag2.

Knows how to tell them apart; reading each is a module of its own (`file_frames`, `bag_frames`).
"""

from __future__ import annotations

from pathlib import Path

from sam2_ros.engine.text import readable, text_problem
from sam2_ros.media.bag import is_bag
from sam2_ros.media.bag_frames import BagFrames
from sam2_ros.media.file_frames import IMAGE_SUFFIXES, FolderFrames, VideoFrames
from sam2_ros.media.frame import Frame, FrameSource, SourceError

__all__ = ["Frame", "FrameSource", "SourceError", "open_source"]

_EXPECTED = "expected a video file, a folder of frames or a rosbag2 (folder, .mcap, .db3)"


def open_source(path: str | Path, topic: str | None = None) -> FrameSource:
    """The frames of `path`; `topic` chooses among the image topics of a bag (needed when it has several).

    Raises SourceError, in one line, for anything that is not there, not readable or not frames.

        with open_source("clip.mp4") as source:
            for frame in source:
                tracker.step(frame.image, stamp_s=frame.stamp_s)
    """
    path = Path(path)
    if problem := text_problem(str(path)):  # OpenCV and SQLite take no such name
        raise SourceError(f"source '{readable(str(path))}': its name {problem}; rename it")
    if not path.exists():
        raise SourceError(f"source '{path}' does not exist; {_EXPECTED}")
    try:
        if is_bag(path):
            return BagFrames(path, topic)
        if topic is not None:
            raise SourceError(
                f"topic '{topic}' was asked for, but '{path}' is not a rosbag2; leave --topic out"
            )
        if path.is_dir():
            return FolderFrames(path)
        return _open_file(path)
    except (PermissionError, IsADirectoryError) as error:
        raise SourceError(f"source '{path}' cannot be read: {error.strerror}") from error


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
            f"'{path}' is a compressed storage file; give the bag's folder, or unpack it with `unzstd`"
        )
    return VideoFrames(path)
