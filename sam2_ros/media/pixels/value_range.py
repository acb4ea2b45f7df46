# SPDX-License-Identifier: Apache-2.0
"""Converts pixel values of more than 8 bits to 8 bits: full range, a fixed range, or percentiles of the first image.

Knows arrays of values, not their source. The percentiles stay fixed for a stream, so that brightness does not flicker.
"""

from __future__ import annotations

import logging
import math
import sys
import threading
from collections.abc import Callable

import cv2
import numpy as np

from .image_error import ImageError

FULL, PERCENTILES = "full", "percentiles"
LOW_PERCENT, HIGH_PERCENT = 1.0, 99.0
FEW_GREY_VALUES = 64
REMEDY = "give --range percentiles or --range LOW,HIGH (of the node: parameter mono16_range)"
_SAMPLES = 200_000  # enough for percentiles, few enough to sort at once
_NOISE_SHARE = 1e-4  # a grey value with a smaller share of the pixels counts as dead pixels

_log = logging.getLogger(__name__)


class ValueRange:
    """Converts the values of one stream to 8 bits; use one object for each stream, as it stores the range.

    Args:
        text: `full` (value // 256 of 16 bits), `percentiles` (1 and 99 of the first image with more than one value),
            or `LOW,HIGH`: the values that become 0 and 255.
        warn: called once if the first image uses few grey values of the full range.

    Raises:
        ImageError: `text` is none of these.
    """

    def __init__(self, text: str = FULL, warn: Callable[[str], object] = _log.warning) -> None:
        self.text = text.strip().lower() or FULL
        self._limits = None if self.text in (FULL, PERCENTILES) else _parsed(text)
        self._warn: Callable[[str], object] | None = warn if self.text == FULL else None
        self._table: np.ndarray | None = None
        self._lock = threading.Lock()

    @property
    def chosen(self) -> bool:
        """True if a range other than `full` was given."""
        return self.text != FULL

    def to_8_bits(self, values: np.ndarray) -> np.ndarray:
        """Convert to uint8 of the same shape; uint8 is returned unchanged.

        Raises ImageError for values without a full range (floats beyond 0..1, 32-bit integers) if no range was given.
        """
        if values.dtype == np.uint8:
            return values
        if self.text == FULL:
            return self._full(values)
        with self._lock:
            if self._limits is None:
                self._limits = _percentiles(values)
            limits = self._limits
        if limits is None:  # an image with a single value gives no range
            return np.zeros(values.shape, np.uint8)
        if not _is_16_bit(values):
            return _scaled(values, *limits)
        if self._table is None:
            self._table = _scaled(np.arange(1 << 16, dtype=np.uint16), *limits)
        return np.take(self._table, values)

    def _full(self, values: np.ndarray) -> np.ndarray:
        if _is_16_bit(values):
            grey = _high_bytes(values)
            warn, self._warn = self._warn, None
            if warn is not None and (used := grey_values_used(grey)) < FEW_GREY_VALUES:
                warn(
                    f"a 16-bit image with values from {values.min()} to {values.max()} uses only {used} of the 256 "
                    f"grey values, which may hide its content: {REMEDY}"
                )
            return grey
        finite = values[np.isfinite(values)]
        low, high = (finite.min(), finite.max()) if finite.size else (0, 0)
        if values.dtype.kind == "f" and low >= 0 and high <= 1:
            return _scaled(values, 0.0, 1.0)
        raise ImageError(
            f"image of {values.dtype} values from {low:g} to {high:g}, expected 8 or 16 bits, or floats from 0 to 1: "
            f"{REMEDY}"
        )


def _is_16_bit(values: np.ndarray) -> bool:
    """True for unsigned 16 bits, in either byte order."""
    return values.dtype.kind == "u" and values.dtype.itemsize == 2


def _high_bytes(values: np.ndarray) -> np.ndarray:
    """Return value // 256 for any memory layout, without an intermediate copy."""
    order = values.dtype.byteorder
    big_endian = order == ">" or (order in "=|" and sys.byteorder == "big")
    halves = values.view(np.dtype([("first", "u1"), ("second", "u1")]))
    return np.ascontiguousarray(halves["first" if big_endian else "second"])


def grey_values_used(grey: np.ndarray) -> int:
    """Count the values of 256 that more than stray pixels have."""
    counts = cv2.calcHist([grey.reshape(1, -1)], [0], None, [256], [0, 256])
    return int((counts > max(0.0, _NOISE_SHARE * grey.size)).sum())


def _percentiles(values: np.ndarray) -> tuple[float, float] | None:
    """Return the 1st and 99th percentile of the finite values; if equal, minimum and maximum; if equal, too, None."""
    flat = values.reshape(-1)
    sample = flat[:: max(1, flat.size // _SAMPLES)]
    sample = sample[np.isfinite(sample)]
    if not sample.size:
        return None
    low, high = (float(value) for value in np.percentile(sample, (LOW_PERCENT, HIGH_PERCENT)))
    if not low < high:
        low, high = float(sample.min()), float(sample.max())
    if not low < high:
        return None
    _log.info("values from %g to %g of the first image become grey 0 to 255, here and in the next", low, high)
    return low, high


def _scaled(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Map [low, high] to [0, 255], rounded; values outside are clipped, NaN becomes 0."""
    exact = values.astype(
        np.float32 if values.dtype.kind == "f" and values.dtype.itemsize <= 4 else np.float64
    )
    grey = np.multiply(np.subtract(exact, low), 255.0 / (high - low))
    return np.rint(np.nan_to_num(grey, nan=0.0, posinf=255.0, neginf=0.0).clip(0, 255)).astype(np.uint8)


def _parsed(text: str) -> tuple[float, float]:
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        low = high = math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ImageError(
            f"range '{text}' cannot be read: expected full, percentiles or LOW,HIGH such as 7000,9000, "
            "the values that become black and white"
        )
    return low, high
