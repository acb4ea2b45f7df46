# SPDX-License-Identifier: Apache-2.0
"""Suppresses the log lines of OpenCV and FFmpeg on standard error while a video is opened.

Knows nothing of videos: the caller raises its own error, once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import cv2

# OpenCV 4.5, which Ubuntu 22.04 has, keeps the two functions in cv2 itself.
_logging = getattr(cv2.utils, "logging", cv2)
_SILENT = 0


@contextmanager
def quiet_opencv() -> Iterator[None]:
    """Silence OpenCV and FFmpeg in the block. FFmpeg reads its log level once, at the first video of the process."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    level = _logging.getLogLevel()
    _logging.setLogLevel(_SILENT)
    try:
        yield
    finally:
        _logging.setLogLevel(level)
