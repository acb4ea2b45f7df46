# SPDX-License-Identifier: Apache-2.0
"""Decodes a source once, in the background, into a pack of JPEGs. Resumes where an earlier process ended.

Does not know who reads the pack.
"""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Callable

import cv2
import numpy as np

from sam2_ros.errors import one_line
from sam2_ros.media.frame_source import Frame

from .pack import FramePack
from .source_spec import SourceSpec

JPEG_QUALITY = 90
_REPORT_EVERY_S = 0.5

Progress = Callable[[int, int, float], None]
"""Frames decoded, frames in all (0 = unknown), frames per second."""


class Decoder(threading.Thread):
    """A background thread that fills a pack.

    Attributes:
        total: frames of the source; exact once it is `done`.
        done: every frame is in the pack, or decoding has failed.
        error: one line, if it failed.
        grown: notified after every frame, and at the end.
    """

    def __init__(
        self,
        spec: SourceSpec,
        pack: FramePack,
        hw: tuple[int, int],
        total: int,
        on_progress: Progress,
        on_end: Callable[[], None],
    ) -> None:
        super().__init__(name=f"decode {spec.path.name}", daemon=True)
        self._spec, self._pack, self._hw = spec, pack, hw
        self._on_progress, self._on_end = on_progress, on_end
        self._stopping = threading.Event()
        self.grown = threading.Condition()
        self.total, self.done, self.error = total, False, ""

    def begin(self, complete: bool) -> None:
        """Start the thread; with `complete`, every frame is in the pack already."""
        if complete:
            self.total, self.done = self._pack.count, True
        else:
            self.start()

    def run(self) -> None:
        """Decode until the end of the source, or until `stop`."""
        started, reported, first = time.monotonic(), 0.0, self._pack.count
        try:
            with self._spec.open() as source:
                for frame in source.frames_from(first):
                    if self._stopping.is_set():
                        return
                    self._add(frame)
                    now = time.monotonic()
                    if now - reported >= _REPORT_EVERY_S:
                        reported, rate = now, (self._pack.count - first) / max(now - started, 1e-3)
                        self._on_progress(self._pack.count, self.total, rate)
        except Exception as error:
            self.error = one_line(error)
        if not self._pack.count and not self.error:
            self.error = f"no frame of '{self._spec.path}' decodes: check it in a viewer"
        with self.grown:
            self.total, self.done = self._pack.count, True
            self.grown.notify_all()
        self._on_end()

    def stop(self) -> None:
        """End the thread, and waiting for its frames; what is decoded stays."""
        self._stopping.set()
        with self.grown:
            self.grown.notify_all()
        if self.is_alive():
            self.join()

    def wait_for(self, index: int, timeout_s: float) -> bool:
        """Wait until a frame is in the pack; False if it is not by then, or never will be."""
        with self.grown:
            self.grown.wait_for(
                lambda: self.done or self._stopping.is_set() or self._pack.count > index, timeout_s
            )
        return self._pack.count > index

    def _add(self, frame: Frame) -> None:
        checksum = pixel_checksum(frame.image)
        shown = cv2.cvtColor(fitted(frame.image, self._hw), cv2.COLOR_RGB2BGR)
        _, jpeg = cv2.imencode(".jpg", shown, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        gap = frame.index - self._pack.count
        with self.grown:
            self._pack.append(jpeg.tobytes(), frame.stamp_ns, checksum, max(gap, 0))
            self.total = max(self.total, self._pack.count)
            self.grown.notify_all()


def pixel_checksum(image: np.ndarray) -> int:
    """CRC-32 of the pixels of a frame as the source gives it."""
    return zlib.crc32(np.ascontiguousarray(image).data)


def fitted(image: np.ndarray, hw: tuple[int, int]) -> np.ndarray:
    """The image at the size of the source's first frame; unchanged if it has it."""
    if image.shape[:2] == hw:
        return image
    return cv2.resize(image, (hw[1], hw[0]), interpolation=cv2.INTER_AREA)
