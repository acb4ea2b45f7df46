# SPDX-License-Identifier: Apache-2.0
"""Finds the visible surface of an object in the depth image: the pixels of its mask that show the object itself.

Knows masks, depth and the focal length; does not know where the object is in space. A mask's edge covers some of the
background, background shows through gaps, and depth cameras return values between near and far at every edge ("flying
pixels"). All of these are rejected by their depth.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import cv2
import numpy as np

from .depth import DepthImage
from .location import NoPositionError

MAX_SAMPLES = 3000  # pixels sampled per object; a larger mask is sampled on a coarser grid
MIN_SAMPLES = 12  # fewer readings are not reliable
MIN_SHARE = 0.02  # of the sampled pixels; fewer readings are likely of something else
EDGE_SHARE = 0.04  # width of a mask's unreliable edge, as a share of the square root of its area ...
EDGE_PX = (1.0, 8.0)  # ... within these limits
NOISE_M = (
    0.003  # standard deviation of a depth camera at close range; grows as NOISE_M * (1 + z^2), z in metres
)
SPREAD = 3.0  # inliers are within this many robust standard deviations of the median
REACH = 1.5  # ... and within this many lateral extents: objects are rarely much deeper than wide
SAMPLES_PER_BIN = 20  # with fewer, valleys of the histogram are noise
MIN_BINS = 6  # also with few samples: separates a small object from the wall behind it
VALLEY = 0.25  # two modes are two surfaces if the density between them falls below this share of both peaks
SIGNIFICANT = 0.1  # share of the readings from which a mode is a surface, not a few stray values
NEAR_SHARE = 0.5  # the nearer surface is the object, unless a farther one has 1 / NEAR_SHARE times its pixels
BIN_NOISE = 2.0  # width of a histogram bin in standard deviations of the camera's noise


@dataclass(frozen=True)
class Surface:
    """pixels_xy: ``[n, 2]`` int32, column and row; depth_m: ``[n]`` float32, finite, along the optical axis."""

    pixels_xy: np.ndarray
    depth_m: np.ndarray


def find_surface(
    mask_hw: np.ndarray,
    box: tuple[int, int, int, int],
    depth: DepthImage,
    focal_px: float,
    max_samples: float = MAX_SAMPLES,
) -> Surface:
    """A sample of at most about `max_samples` pixels of the object's visible surface.

    Args:
        mask_hw: ``[H, W]`` bool at the size of the depth image.
        box: x0, y0, x1, y1 tight pixel box of the mask, max exclusive.

    Raises NoPositionError when too few pixels have a reading.
    """
    x0, y0, x1, y1 = box
    area_px = int(np.count_nonzero(mask_hw[y0:y1, x0:x1]))
    stride = max(1, math.ceil(math.sqrt(area_px / max_samples)))
    inside = mask_hw[y0:y1:stride, x0:x1:stride]
    rows, columns = np.nonzero(inside)
    pixels_xy = np.stack([columns * stride + x0, rows * stride + y0], axis=1).astype(np.int32)
    depth_m = depth.metres(pixels_xy[:, 1], pixels_xy[:, 0])
    valid = np.isfinite(depth_m)
    needed = max(MIN_SAMPLES, math.ceil(MIN_SHARE * len(depth_m)))
    if np.count_nonzero(valid) < needed:
        raise NoPositionError(
            f"{np.count_nonzero(valid)} of {len(depth_m)} pixels of the mask have a depth reading, expected at "
            f"least {needed}: the object is out of the depth camera's range, too small, or its surface gives no depth"
        )
    edge_px = float(np.clip(EDGE_SHARE * math.sqrt(area_px), *EDGE_PX))
    open_sides = (x0 == 0, y0 == 0, x1 == mask_hw.shape[1], y1 == mask_hw.shape[0])
    core = _core(inside, edge_px / stride, open_sides)[rows, columns] & valid
    if np.count_nonzero(core) < MIN_SAMPLES:
        core = valid
    reach_per_m = math.hypot(x1 - x0, y1 - y0) / focal_px
    near_m, far_m = _interval(depth_m[core], reach_per_m)
    with np.errstate(invalid="ignore"):
        inlier = (depth_m >= near_m) & (depth_m <= far_m)
        # Edge pixels are added only if their depth continues the core's: otherwise flying pixels stretch the object.
        low_m, high_m = np.percentile(depth_m[core & inlier], (1, 99))
        margin_m = BIN_NOISE * noise_m(high_m) + 0.15 * (high_m - low_m)
        inlier &= core | ((depth_m >= low_m - margin_m) & (depth_m <= high_m + margin_m))
    if np.count_nonzero(inlier) < MIN_SAMPLES:
        raise NoPositionError(
            f"{np.count_nonzero(inlier)} of {np.count_nonzero(valid)} depth readings in the mask agree, expected "
            f"at least {MIN_SAMPLES}: the mask or the depth does not belong to the object"
        )
    return Surface(pixels_xy[inlier], depth_m[inlier])


def _core(inside: np.ndarray, edge: float, open_sides: tuple[bool, bool, bool, bool]) -> np.ndarray:
    """[h, w] bool: `inside` without an edge of `edge` cells; a thin shape keeps its middle.

    open_sides: (left, top, right, bottom) that touch the image border, where the mask is cut off and has no edge.
    """
    padded = np.pad(inside.astype(np.uint8), 1)
    left, top, right, bottom = open_sides
    if left:
        padded[:, 0] = padded[:, 1]
    if top:
        padded[0] = padded[1]
    if right:
        padded[:, -1] = padded[:, -2]
    if bottom:
        padded[-1] = padded[-2]
    if padded.all():
        return inside
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    return distance > min(edge, float(distance.max()) / 2)


def noise_m(depth_m: float) -> float:
    """Standard deviation of one depth reading in metres."""
    return NOISE_M * (1 + depth_m * depth_m)


def _interval(depth_m: np.ndarray, reach_per_m: float) -> tuple[float, float]:
    """Nearest and farthest depth of the object (metres), from the readings of its core.

    First, valleys in the histogram separate surfaces, and one of them is chosen as the object. Then depths farther from
    its median than a robust spread are cut off. The spread is at least the camera's noise, and at most the object's
    lateral extent (`reach_per_m` per metre of distance).
    """
    near_m, far_m = _object_mode(depth_m)
    own = depth_m[(depth_m >= near_m) & (depth_m <= far_m)]
    middle = (len(own) - 1) // 2
    median_m = float(
        np.partition(own, middle)[middle]
    )  # one of the readings, so no spread excludes all of them
    least_m = SPREAD * noise_m(median_m)
    most_m = max(REACH * reach_per_m * median_m, least_m)

    def half(deviations_m: np.ndarray) -> float:
        return min(max(SPREAD * 1.4826 * float(np.median(deviations_m)), least_m), most_m)

    # Each side has its own spread: the near end of a long table fills more pixels than its far end.
    nearest_m = median_m - half(median_m - own[own <= median_m])
    farthest_m = median_m + half(own[own >= median_m] - median_m)
    return max(near_m, nearest_m), min(far_m, farthest_m)


def _object_mode(depth_m: np.ndarray) -> tuple[float, float]:
    """The depth interval of the object's surface: the larger one, or the nearer of two comparable ones.

    The nearer is preferred because a mask covers more background than foreground by mistake. The intervals of
    neighbouring surfaces meet in the valley between them; the outermost are open.
    """
    # In these units, the integral of dz / (NOISE_M * (1 + z^2)), the noise is 1 at every depth.
    units = np.arctan(depth_m.astype(np.float64)) / NOISE_M
    low, high = np.percentile(units, (1, 99)).tolist()  # a few stray values must not widen the bins
    bins = int(min((high - low) / BIN_NOISE, max(len(units) / SAMPLES_PER_BIN, MIN_BINS)))
    if bins < 3:
        return 0.0, math.inf
    counts, edges = np.histogram(np.clip(units, low, high), bins, (low, high))
    density = np.convolve(counts, (0.25, 0.5, 0.25), mode="same")
    bounds = [0, *_valleys(density), bins]
    surfaces = [(int(counts[begin:end].sum()), begin, end) for begin, end in itertools.pairwise(bounds)]
    largest = max(count for count, _, _ in surfaces)
    _, begin, end = next(surface for surface in surfaces if surface[0] >= NEAR_SHARE * largest)
    near_m = math.tan(edges[begin] * NOISE_M) if begin else 0.0
    far_m = math.tan(edges[end] * NOISE_M) if end < bins else math.inf
    return near_m, far_m


def _valleys(density: np.ndarray) -> list[int]:
    """Bins that split the histogram into significant modes, ascending.

    Splits at the lowest bin between two peaks, deepest valley first, as long as both parts are significant and the
    valley is deep compared with both peaks.
    """
    total = float(density.sum())

    def parted(begin: int, end: int) -> list[int]:
        best, best_depth = 0, VALLEY
        running = np.maximum.accumulate(density[begin:end])
        coming = np.maximum.accumulate(density[begin:end][::-1])[::-1]
        mass = np.cumsum(density[begin:end])
        for bin_ in range(1, end - begin - 1):
            lower_peak = min(running[bin_ - 1], coming[bin_ + 1])
            if min(mass[bin_], mass[-1] - mass[bin_]) < SIGNIFICANT * total or lower_peak <= 0:
                continue
            depth = density[begin + bin_] / lower_peak
            if depth < best_depth:
                best, best_depth = begin + bin_, depth
        return [*parted(begin, best), best, *parted(best, end)] if best else []

    return parted(0, len(density))
