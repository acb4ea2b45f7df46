# SPDX-License-Identifier: Apache-2.0
"""The frames of one opened source: JPEGs, thumbnails, stamps, and exact pixels.

Puts pack, decoder and exact frames together. Does not know who asks.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from sam2_ros.atomic_write import write_json
from sam2_ros.errors import UserError

from .decoder import JPEG_QUALITY, Decoder, Progress
from .exact_frames import ExactFrames
from .pack import FramePack
from .source_spec import SourceSpec

_NOTE = "source.json"
_WAIT_S = 5.0  # for a frame that the decoder has not reached
_THUMBNAILS = 512
_MOST_THUMBNAIL_PX = 512


class SourceFrames:
    """Frames of a source, decoded in the background from the moment it is made.

    Attributes:
        hw: height and width of its frames, pixels; frames of another size are resized.
        exact: exact pixels; for one thread.
        changed: True if the source changed since its frames were decoded before: they were decoded anew.
    """

    def __init__(
        self,
        spec: SourceSpec,
        folder: Path,
        hw: tuple[int, int],
        announced: int,
        on_progress: Progress = lambda done, total, rate: None,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        self._pack = FramePack(folder)
        self.hw = hw
        self._spec, self._on_end = spec, on_end
        before = self._noted()
        self.changed = before is not None and before.get("fingerprint") != spec.fingerprint
        if before is None or self.changed:
            self._pack.clear()
            self._note(None)
        self.exact = ExactFrames(spec, self._pack, hw)
        self._decoder = Decoder(spec, self._pack, hw, announced, on_progress, self._ended)
        self._thumbnail = functools.lru_cache(_THUMBNAILS)(self._drawn_thumbnail)
        frames = self._pack.count
        self._decoder.begin(complete=frames > 0 and before is not None and before.get("frames") == frames)

    @property
    def count(self) -> int:
        """Number of frames; announced until all are decoded, then exact."""
        return max(self._decoder.total, self._pack.count)

    @property
    def decoded(self) -> int:
        """Number of frames that are decoded: those below it."""
        return self._pack.count

    @property
    def done(self) -> bool:
        """True if every frame is decoded, or decoding failed, see `error`."""
        return self._decoder.done

    @property
    def error(self) -> str:
        """One line if decoding failed, else empty."""
        return self._decoder.error

    def is_missing(self, index: int) -> bool:
        """True if the source has no such frame: it does not decode, and that before it is shown."""
        return self._pack.entry(index).missing

    def missing_before(self, index: int) -> int:
        """Number of missing frames before a frame that is decoded."""
        return self._pack.missing_before(index)

    def stamp_ns(self, index: int) -> int:
        """Stamp of a frame, ns; waits for it as `jpeg` does."""
        self._wait(index)
        return self._pack.entry(index).stamp_ns

    def jpeg(self, index: int) -> bytes:
        """JPEG of a frame. A frame that is not decoded yet is waited for.

        Raises:
            UserError: there is no such frame, or it is not decoded within 5 seconds.
        """
        self._wait(index)
        return self._pack.jpeg(index)

    def image(self, index: int) -> np.ndarray:
        """Pixels ``[H, W, 3]`` uint8 RGB of the JPEG: near to the exact ones, and read in milliseconds."""
        bgr = cv2.imdecode(np.frombuffer(self.jpeg(index), np.uint8), cv2.IMREAD_COLOR)
        assert bgr is not None, "OpenCV reads the JPEG that it wrote"
        return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)

    def thumbnail(self, index: int, height_px: int) -> bytes:
        """A JPEG of the frame at this height; at most its own, and at most 512 pixels."""
        return self._thumbnail(index, max(8, min(int(height_px), self.hw[0], _MOST_THUMBNAIL_PX)))

    def close(self) -> None:
        """End decoding; it resumes when the source is opened again."""
        self._decoder.stop()
        self.exact.close()
        self._pack.close()

    def _drawn_thumbnail(self, index: int, height: int) -> bytes:
        share = self.hw[0] // height
        reduced = next((flag for least, flag in _REDUCED if share >= least), cv2.IMREAD_COLOR)
        image = cv2.imdecode(np.frombuffer(self.jpeg(index), np.uint8), reduced)
        assert image is not None, "OpenCV reads the JPEG that it wrote"
        width = max(1, round(height * self.hw[1] / self.hw[0]))
        small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        return cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY - 10])[1].tobytes()

    def _wait(self, index: int) -> None:
        if index < 0 or (self.done and index >= self.decoded):
            why = f" ({self.error})" if self.error else ""
            raise UserError(f"frame {index} given, a frame from 0 to {self.decoded - 1} expected{why}")
        if not self._decoder.wait_for(index, _WAIT_S):
            raise UserError(
                f"frame {index} is not decoded yet ({self.decoded} of {self.count} are): ask again in a while"
            )

    def _ended(self) -> None:
        """In the decoder's thread: note that all frames are there, so that they are not decoded again."""
        if not self.error:
            self._note(self.count)
        self._on_end()

    def _noted(self) -> dict[str, Any] | None:
        """What is noted of the source as it was decoded; None if nothing is."""
        try:
            noted = json.loads((self._pack.folder / _NOTE).read_text("utf-8"))
        except (OSError, ValueError):
            return None
        return noted if isinstance(noted, dict) else None

    def _note(self, frames: int | None) -> None:
        write_json(self._pack.folder / _NOTE, {"fingerprint": self._spec.fingerprint, "frames": frames})


_REDUCED = (
    (8, cv2.IMREAD_REDUCED_COLOR_8),
    (4, cv2.IMREAD_REDUCED_COLOR_4),
    (2, cv2.IMREAD_REDUCED_COLOR_2),
)
