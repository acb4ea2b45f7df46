# SPDX-License-Identifier: Apache-2.0
"""Keeps OpenCV's and FFmpeg's own lines off standard error while a video is opened.

Knows nothing of videos: what goes wrong is said once, by the error of whoever opens one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import cv2


@contextmanager
def quiet_opencv() -> Iterator[None]:
    """Silences both; FFmpeg reads its level once, when the process opens its first video."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)
