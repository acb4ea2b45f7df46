"""Frames of plain files: a video, or a folder of images in natural order of their names.

Knows containers and image files: a video's frame count is only announced, and a folder has no rate.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from pathlib import Path

import cv2

from sam2_ros.media.frame import DEFAULT_FPS, NS_PER_S, Frame, FrameSource, SourceError, natural_key
from sam2_ros.media.opencv_log import quiet_opencv
from sam2_ros.media.pixels.image_reader import ImageReader
from sam2_ros.media.ros_image import ImageError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")

_log = logging.getLogger(__name__)


class VideoFrames(FrameSource):
    """Stamps are index / fps from 0, as a constant-rate player shows them."""

    kind = "video"

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path
        capture = self._capture()
        fps, count = capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)
        decodes = capture.read()[0]
        capture.release()
        self.length = int(count) if count > 0 else None
        if not decodes:
            raise SourceError(
                f"video '{path}' opens but not one frame decodes{self._announced()}; it is truncated or its "
                "codec is not in this OpenCV build, re-encode it (`ffmpeg -i IN -c:v libx264 OUT.mp4`)"
            )
        if not (math.isfinite(fps) and 0 < fps <= 1000):
            _log.warning("video '%s' announces %s frames per second: assuming %g", path, fps, DEFAULT_FPS)
            fps = DEFAULT_FPS
        self.fps = float(fps)

    def _frames(self) -> Iterator[Frame]:
        capture = self._capture()
        index = 0
        try:
            while True:
                ok, image_bgr = capture.read()
                if not ok:
                    break
                image_rgb = cv2.cvtColor(image_bgr, cv2.COLOR_BGR2RGB)
                yield Frame(index, round(index * NS_PER_S / self.fps), image_rgb)
                index += 1
        finally:
            capture.release()
        if self.length is not None and index < self.length:
            self.skipped = self.length - index
            _log.warning(
                "video '%s' ends early: %d frames decode, %d announced; it may be truncated",
                self.name,
                index,
                self.length,
            )

    def _capture(self) -> cv2.VideoCapture:
        # OpenCV would otherwise also try a broken `clip01.mp4` as a numbered series of images.
        has_ffmpeg = cv2.CAP_FFMPEG in cv2.videoio_registry.getStreamBackends()
        with quiet_opencv():
            capture = cv2.VideoCapture(self.name, cv2.CAP_FFMPEG if has_ffmpeg else cv2.CAP_ANY)
        if not capture.isOpened():
            size_bytes = self._path.stat().st_size
            raise SourceError(
                f"'{self.name}' ({size_bytes} bytes) does not open as a video: empty, truncated (an .mp4 "
                "whose recorder was killed has no index) or no video at all; expected a video file, a folder "
                "of frames or a rosbag2"
            )
        return capture


def image_files(folder: Path) -> list[Path]:
    """The images directly in `folder`, in natural order, without hidden ones (`._0001.jpg` of macOS)."""
    files = (p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith("."))
    return sorted((p for p in files if p.is_file()), key=lambda p: natural_key(p.name))


class FolderFrames(FrameSource):
    """Stamps are index / fps from 0."""

    kind = "folder"

    def __init__(self, folder: Path, fps: float = DEFAULT_FPS, images: ImageReader | None = None) -> None:
        self._images = images or ImageReader()
        self.name = str(folder)
        self.fps = fps
        self._files = image_files(folder)
        self.length = len(self._files)
        if not self._files:
            raise SourceError(f"folder '{folder}' {_what_is_there(folder)}")

    def _frames(self) -> Iterator[Frame]:
        for index, file in enumerate(self._files):
            try:
                image_rgb = self._images.file(file.read_bytes())
            except (ImageError, OSError) as error:
                self._skip(file.name, error)
                continue
            yield Frame(index, round(index * NS_PER_S / self.fps), image_rgb)


def _what_is_there(folder: Path) -> str:
    """For the error: a folder one level too high is the usual mistake."""
    expected = f"expected image files ({', '.join(s[1:] for s in IMAGE_SUFFIXES)}) or a rosbag2"
    inside = sorted(p for p in folder.iterdir() if p.is_dir())
    holding = next((p for p in inside if image_files(p)), None)
    if holding is not None:
        return f"holds no images itself, {expected}; did you mean '{holding}'?"
    count = sum(1 for _ in folder.iterdir())
    return f"is empty, {expected}" if not count else f"holds no images among its {count} entries, {expected}"
