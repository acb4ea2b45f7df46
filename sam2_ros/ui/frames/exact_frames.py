# SPDX-License-Identifier: Apache-2.0
"""The pixels of a source as `sam2-ros track` sees them, in any order: read again from the source, never from a JPEG.

A folder is read by file. A video is sought; where seeking fails it is read from its start. A bag is read from its start
without decoding images that are not needed. Going backward, a window of frames is read at a time. Every frame is
compared with the checksum of the first pass. Does not know the tracker.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from sam2_ros.media.frame_source import FrameSource, SourceError
from sam2_ros.media.opencv_log import quiet_opencv

from .decoder import fitted, pixel_checksum
from .pack import FramePack
from .source_spec import SourceSpec

_WINDOW_BYTES, _MOST_WINDOW = 64 << 20, 64
_NEAR = 48  # so many frames ahead are read through rather than sought

Numbered = tuple[int, np.ndarray]


class ExactFrames:
    """Random access to exact pixels. Not thread-safe: the worker that owns the model owns it.

    Attributes:
        seeks: False once seeking in the video has given another frame than expected.
    """

    def __init__(self, spec: SourceSpec, pack: FramePack, hw: tuple[int, int]) -> None:
        self._spec, self._pack, self._hw = spec, pack, hw
        self._window_frames = max(1, min(_MOST_WINDOW, _WINDOW_BYTES // (3 * hw[0] * hw[1])))
        self._window: dict[int, np.ndarray] = {}
        self._source: FrameSource | None = None
        self._reading: Iterator[Numbered] | None = None
        self._next = 0
        self.seeks = True

    def read(self, index: int) -> np.ndarray:
        """Pixels ``[H, W, 3]`` uint8 RGB of a frame that is in the pack and that the source has.

        Raises:
            SourceError: the source no longer has the frame.
        """
        if index in self._window:
            return self._window[index]
        ahead = index - self._next
        if self._reading is None or not 0 <= ahead <= _NEAR:
            backward = self._reading is not None and -self._window_frames * 2 <= ahead < 0
            self._open_at(max(0, index - self._window_frames + 1) if backward else index)
            self._window = {}
        return self._through(index)

    def close(self) -> None:
        """Close the source."""
        if self._source is not None:
            self._source.close()
        self._source = self._reading = None
        self._window = {}

    def _through(self, index: int) -> np.ndarray:
        """Read on to a frame; the frames on the way stay in the window."""
        while True:
            try:
                found = next(self._reading, None) if self._reading is not None else None
            except _WrongFrame:
                self.seeks = False
                self._open_at(self._next)
                continue
            lost = found is None or found[0] > index
            if found is None or lost or pixel_checksum(found[1]) != self._pack.entry(found[0]).checksum:
                self._reading = None
                raise SourceError(
                    f"frame {index} of '{self._spec.path}' is no longer what it was: the source has changed; "
                    "restart the server to read it anew"
                )
            self._next = found[0] + 1
            self._window[found[0]] = fitted(found[1], self._hw)
            if len(self._window) > self._window_frames:
                del self._window[min(self._window)]
            if found[0] == index:
                return self._window[index]

    def _open_at(self, first: int) -> None:
        if self._source is None:
            self._source = self._spec.open()
        self._next = first
        if self._source.kind == "video" and self.seeks and first:
            self._reading = _sought(str(self._spec.path), first, self._pack)
        else:
            self._reading = ((frame.index, frame.image) for frame in self._source.frames_from(first))


class _WrongFrame(Exception):
    """Seeking led to another frame than the first pass had there."""


def open_video(path: str) -> cv2.VideoCapture:
    """Open a video in which frames are sought."""
    with quiet_opencv():
        return cv2.VideoCapture(path)


def _sought(path: str, first: int, pack: FramePack) -> Iterator[Numbered]:
    capture = open_video(path)
    try:
        capture.set(cv2.CAP_PROP_POS_FRAMES, first)
        for index in range(first, pack.count):
            entry = pack.entry(index)
            if entry.missing:
                raise _WrongFrame
            ok, image_bgr = capture.read()
            if not ok:
                raise _WrongFrame
            image = cv2.cvtColor(image_bgr, cv2.COLOR_BGR2RGB)
            if pixel_checksum(image) != entry.checksum:
                raise _WrongFrame
            yield index, image
    finally:
        capture.release()
