# SPDX-License-Identifier: Apache-2.0
"""Suppresses the log lines of OpenCV and FFmpeg on standard error while a video is opened.

Knows nothing of videos: the caller raises its own error, once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import cv2


@contextmanager
def quiet_opencv() -> Iterator[None]:
    """Silence OpenCV and FFmpeg in the block. FFmpeg reads its log level once, at the first video of the process."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)
