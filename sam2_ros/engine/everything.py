# SPDX-License-Identifier: Apache-2.0
"""Segments everything in an image: prompts a grid of clicks, and keeps the good, stable, distinct masks.

Names, options and defaults are those of the official `SAM2AutomaticMaskGenerator`. Knows one image. Does not know user
prompts, ids or time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
import torch

from .image_segmenter import LOGIT_LIMIT, ImageSegmenter
from .mask_values import PackedMask
from .model.mask_decoder import upsample_logits
from .model.prompt_encoder import POSITIVE
from .model.sam2 import Sam2Model
from .postprocess import connected_regions, measure_mask
from .preprocess import checked_frame

NEAR_EDGE_PX = 20.0  # a mask that ends this close to a crop's edge is taken as cut by it
OFFICIAL_THRESHOLDS = (0.8, 0.95)
"""Predicted IoU and stability of masks that are kept, as in the official generator."""
THRESHOLDS = {"nano": (0.5, 0.6), "nano1": (0.5, 0.6)}
"""The same for models whose predicted IoUs and outlines are not those of the official models."""
UPSAMPLED_TOGETHER = 16  # most masks at the image's size at once: 133 MB of logits for a 1080p camera
UPSAMPLED_PIXELS = UPSAMPLED_TOGETHER * 1920 * 1080  # of all of them: a larger image has fewer masks at once

Box = tuple[int, int, int, int]
Grid = Sequence[Sequence[float]]


@dataclass(frozen=True)
class EverythingConfig:
    """Options of `segment_everything`: which clicks are prompted, and which masks are kept.

    Attributes:
        points_per_side: clicks along each side of the image, at least 1; None with `point_grids`.
        points_per_batch: clicks that are decoded in one batch, at least 1.
        pred_iou_thresh: predicted IoU above which a mask is kept, 0..1; None = what fits the model, see `thresholds`.
        stability_score_thresh: least stability of a mask, 0..1: its area above `mask_threshold` +
            `stability_score_offset` over its area above `mask_threshold` - `stability_score_offset`; None likewise.
        stability_score_offset: see `stability_score_thresh`, logits.
        mask_threshold: logit above which a pixel belongs to a mask.
        box_nms_thresh: of two masks whose boxes overlap by more than this IoU, the one of lower predicted IoU is
            dropped.
        crop_n_layers: 0 = the whole image only. Layer i also cuts it into 2^i x 2^i overlapping crops and segments
            each.
        crop_nms_thresh: as `box_nms_thresh`, between crops; the mask of the smaller crop is kept.
        crop_overlap_ratio: overlap of the crops of layer 1, as a fraction of the image's shorter side.
        crop_n_points_downscale_factor: crops of layer i get points_per_side / factor^i clicks a side, at least one.
        point_grids: the clicks, in place of `points_per_side`: for the image and for each of `crop_n_layers` an array
            ``[n, 2]`` of (x, y) in fractions 0..1 of the image or crop.
        min_mask_region_area: smaller holes are filled and smaller islands removed, pixels; 0 = off. (The official
            generator counts cells of the low-resolution mask if its CUDA extension is installed, and ignores the
            option otherwise.)
        use_m2m: decode every mask a second time, prompted with its click and its own logits.
        multimask_output: True = three candidates per click; False = one.

    Raises:
        ValueError: an option is out of its range, or not exactly one of `points_per_side` and `point_grids` is given.
    """

    points_per_side: int | None = 32
    points_per_batch: int = 64
    pred_iou_thresh: float | None = None
    stability_score_thresh: float | None = None
    stability_score_offset: float = 1.0
    mask_threshold: float = 0.0
    box_nms_thresh: float = 0.7
    crop_n_layers: int = 0
    crop_nms_thresh: float = 0.7
    crop_overlap_ratio: float = 512 / 1500
    crop_n_points_downscale_factor: int = 1
    point_grids: Sequence[np.ndarray | Grid] | None = (
        None  # stored as tuples, so that configurations can be compared
    )
    min_mask_region_area: int = 0
    use_m2m: bool = False
    multimask_output: bool = True

    def __post_init__(self) -> None:
        if (self.points_per_side is None) == (self.point_grids is None):
            given = "neither" if self.point_grids is None else "both"
            raise ValueError(
                f"{given} of points_per_side and point_grids: expected one of them, such as points_per_side=None with "
                "point_grids"
            )
        for name in ("points_per_side", "points_per_batch", "crop_n_points_downscale_factor"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)}: expected at least 1")
        for name in ("crop_n_layers", "min_mask_region_area"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} = {getattr(self, name)}: expected 0 or more")
        if not math.isfinite(self.mask_threshold):
            raise ValueError(f"mask_threshold = {self.mask_threshold}: expected a logit, such as 0")
        if self.point_grids is not None:
            grids = tuple(_checked_grid(layer, grid) for layer, grid in enumerate(self.point_grids))
            if len(grids) <= self.crop_n_layers:
                raise ValueError(
                    f"{len(grids)} point_grids: expected {self.crop_n_layers + 1}, one for the image and one for each "
                    "of crop_n_layers"
                )
            object.__setattr__(self, "point_grids", grids)

    def thresholds(self, model_name: str) -> tuple[float, float]:
        """`pred_iou_thresh` and `stability_score_thresh`; what is not given fits the model of that name."""
        iou, stability = THRESHOLDS.get(model_name, OFFICIAL_THRESHOLDS)
        return (
            iou if self.pred_iou_thresh is None else self.pred_iou_thresh,
            stability if self.stability_score_thresh is None else self.stability_score_thresh,
        )

    def clicks_of(self, layer: int) -> np.ndarray:
        """Clicks of a crop of this layer: ``[n, 2]`` float32, (x, y) in fractions 0..1 of the crop."""
        if self.point_grids is not None:
            return np.asarray(self.point_grids[layer], np.float32)
        count = max(1, (self.points_per_side or 0) // self.crop_n_points_downscale_factor**layer)
        centres = (np.arange(count) + 0.5) / count
        y, x = np.meshgrid(centres, centres, indexing="ij")
        return np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float32)


def _checked_grid(layer: int, grid: np.ndarray | Grid) -> tuple[tuple[float, float], ...]:
    points = np.asarray(grid, np.float32)
    if points.ndim != 2 or points.shape[1] != 2 or not len(points):
        raise ValueError(
            f"point_grids[{layer}] of shape {points.shape}: expected [n, 2], (x, y) in fractions 0..1"
        )
    if not ((points >= 0) & (points <= 1)).all():  # also for NaN
        raise ValueError(
            f"point_grids[{layer}] from {points.min():g} to {points.max():g}: expected fractions 0..1 of the image"
        )
    return tuple((float(x), float(y)) for x, y in points)


@dataclass(frozen=True)
class FoundMask:
    """One mask and how it was found.

    Attributes:
        segmentation: ``[H, W]`` bool, at the size of the image.
        predicted_iou: predicted IoU of the mask, 0..1.
        stability_score: see `EverythingConfig.stability_score_thresh`, 0..1.
        point: the click that found it, (x, y) in pixels of the image.
        crop_box: the crop in which it was found, x0, y0, x1, y1 in pixels of the image, max exclusive.
    """

    segmentation: np.ndarray
    predicted_iou: float
    stability_score: float
    point: tuple[float, float]
    crop_box: Box

    @cached_property
    def area(self) -> int:
        """Pixels in the mask."""
        return int(self.segmentation.sum())

    @cached_property
    def box(self) -> Box:
        """Tight box of the mask, x0, y0, x1, y1 in pixels of the image, max exclusive."""
        return measure_mask(self.segmentation)[0]


class _Packed(NamedTuple):
    """A `FoundMask` with its pixels packed, before non-maximum suppression.

    There are many more candidates than final masks; unpacked, those of a large photograph would fill the memory.
    """

    found: FoundMask  # without pixels
    pixels: PackedMask

    @property
    def box(self) -> Box:
        return self.pixels.box

    @staticmethod
    def of(found: FoundMask) -> _Packed:
        without = replace(found, segmentation=np.zeros((0, 0), bool))
        return _Packed(without, PackedMask.of(found.segmentation, found.box))

    def unpacked(self) -> FoundMask:
        return replace(self.found, segmentation=self.pixels.unpacked())


class _Boxed(Protocol):
    @property
    def box(self) -> Box: ...


Boxed = TypeVar("Boxed", bound=_Boxed)


class Crop(NamedTuple):
    """A part of the image that is segmented like an image of its own."""

    box: Box
    layer: int


def segment_everything(
    model: Sam2Model,
    image_hwc_rgb_uint8: np.ndarray,
    config: EverythingConfig | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    before_batch: Callable[[], None] = lambda: None,
) -> list[FoundMask]:
    """Find the masks of all things in an image.

    Args:
        model: as `load_model` or `open_model` returns it.
        image_hwc_rgb_uint8: ``[H, W, 3]`` uint8 RGB, or a PIL image.
        config: options; None = `EverythingConfig()`.
        on_progress: called after each crop with the number of crops done and the number of all.
        before_batch: called before each batch of clicks; an exception that it raises ends the work.

    Returns:
        The masks: highest predicted IoU first without crops, masks of the smallest crops first with them.

    Raises:
        ValueError: not an RGB uint8 image.
    """
    config = config or EverythingConfig()
    image = checked_frame(image_hwc_rgb_uint8)
    crops = crop_boxes(image.shape[0], image.shape[1], config.crop_n_layers, config.crop_overlap_ratio)
    found: list[FoundMask] = []
    for done, crop in enumerate(crops, start=1):
        found += _segment_crop(model, image, crop, config, before_batch)
        on_progress(done, len(crops))
    if len(crops) > 1:
        found = suppress(found, [1 / _box_area(mask.crop_box) for mask in found], config.crop_nms_thresh)
    if config.min_mask_region_area:
        thresh = max(config.box_nms_thresh, config.crop_nms_thresh)
        found = _without_small_regions(found, config.min_mask_region_area, thresh)
    return found


def crop_boxes(height_px: int, width_px: int, layers: int, overlap_ratio: float) -> list[Crop]:
    """The whole image as layer 0, then 4 crops, 16, ...; all crops of one layer overlap by the same length."""
    crops = [Crop((0, 0, width_px, height_px), 0)]
    for layer in range(1, layers + 1):
        count = 2**layer
        overlap = int(overlap_ratio * min(height_px, width_px) * (2 / count))
        width, height = (math.ceil((overlap * (count - 1) + side) / count) for side in (width_px, height_px))
        for x in range(count):
            for y in range(count):
                x0, y0 = (width - overlap) * x, (height - overlap) * y
                box = (x0, y0, min(x0 + width, width_px), min(y0 + height, height_px))
                if box[2] > box[0] and box[3] > box[1]:  # in an image of few pixels some crops are empty
                    crops.append(Crop(box, layer))
    return crops


def _segment_crop(
    model: Sam2Model,
    image: np.ndarray,
    crop: Crop,
    config: EverythingConfig,
    before_batch: Callable[[], None],
) -> list[FoundMask]:
    x0, y0, x1, y1 = crop.box
    segmenter = ImageSegmenter(model)
    segmenter.set_image(np.ascontiguousarray(image[y0:y1, x0:x1]))
    clicks = torch.from_numpy(config.clicks_of(crop.layer))
    found: list[_Packed] = []
    for batch in clicks.split(config.points_per_batch):
        before_batch()
        found += map(_Packed.of, _masks_of_clicks(segmenter, batch, crop.box, image.shape[:2], config))
    kept = suppress(found, [each.found.predicted_iou for each in found], config.box_nms_thresh)
    return [each.unpacked() for each in kept]


@torch.inference_mode()
def _masks_of_clicks(
    segmenter: ImageSegmenter,
    clicks_n2: torch.Tensor,
    crop_box: Box,
    image_hw: tuple[int, ...],
    config: EverythingConfig,
) -> Iterator[FoundMask]:
    """The masks of good predicted IoU and stability for clicks ``[n, 2]`` in fractions 0..1 of the crop."""
    x0, y0, x1, y1 = crop_box
    size = segmenter.model.config.image_size
    least_iou, least_stability = config.thresholds(segmenter.model.config.name)
    points, labels = clicks_n2[:, None] * size, torch.full((len(clicks_n2), 1), POSITIVE)
    logits, scores = segmenter.decode(points, labels, None, config.multimask_output)
    candidates = logits.shape[1]
    logits, scores = logits.flatten(0, 1), scores.flatten()
    points, labels = points.repeat_interleave(candidates, 0), labels.repeat_interleave(candidates, 0)
    if config.use_m2m:
        dense = logits[:, None].clamp(-LOGIT_LIMIT, LOGIT_LIMIT)
        again, scores = segmenter.decode(points, labels, dense, multimask=False)
        logits, scores = again[:, 0], scores[:, 0]
    # Most candidates are dropped here, before anything of the image's size is allocated for them.
    good = (scores > least_iou).nonzero()[:, 0]
    together = max(1, min(UPSAMPLED_TOGETHER, UPSAMPLED_PIXELS // ((x1 - x0) * (y1 - y0))))
    for indices in good.split(together):
        large = upsample_logits(logits[indices, None], (y1 - y0, x1 - x0))[:, 0]
        inner = (large > config.mask_threshold + config.stability_score_offset).sum(dim=(1, 2))
        outer = (large > config.mask_threshold - config.stability_score_offset).sum(dim=(1, 2))
        stability = (inner / outer.clamp(min=1)).cpu()
        masks = (large > config.mask_threshold).cpu().numpy()
        for index, mask, stable in zip(indices.tolist(), masks, stability.tolist(), strict=True):
            if stable < least_stability:
                continue
            whole = np.zeros((image_hw[0], image_hw[1]), bool)
            whole[y0:y1, x0:x1] = mask
            share_x, share_y = (points[index, 0] / size).tolist()
            at = (x0 + share_x * (x1 - x0), y0 + share_y * (y1 - y0))
            found = FoundMask(whole, float(scores[index]), stable, at, crop_box)
            if found.area and not _cut_by_crop(found.box, crop_box, image_hw):
                yield found


def _cut_by_crop(box: Box, crop_box: Box, image_hw: tuple[int, ...]) -> bool:
    """True if a mask's box ends near an edge of the crop that is not an edge of the image."""
    last_pixels = (box[0], box[1], box[2] - 1, box[3] - 1)
    image_edges = (0, 0, image_hw[1], image_hw[0])
    return any(
        abs(side - edge) <= NEAR_EDGE_PX and abs(side - image_edge) > NEAR_EDGE_PX
        for side, edge, image_edge in zip(last_pixels, crop_box, image_edges, strict=True)
    )


def suppress(found: Sequence[Boxed], ranks: Sequence[float], iou_thresh: float) -> list[Boxed]:
    """Non-maximum suppression by the masks' boxes, highest rank first.

    IoUs are float32 quotients, as in torchvision's `nms`: this decides where an IoU is exactly the threshold.
    """
    boxes = np.array([mask.box for mask in found], np.float32).reshape(-1, 4)
    boxes[:, 2:] -= 1  # the official code measures boxes between pixel centres
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept: list[Boxed] = []
    rest = np.argsort(-np.array(ranks, np.float32), kind="stable")
    while len(rest):
        first, others = rest[0], rest[1:]
        kept.append(found[first])
        low = np.maximum(boxes[first, :2], boxes[others, :2])
        high = np.minimum(boxes[first, 2:], boxes[others, 2:])
        shared = np.clip(high - low, 0, None).prod(axis=1)
        with np.errstate(invalid="ignore"):  # 0 / 0 of boxes without area is NaN and suppresses nothing
            overlap = shared / (areas[first] + areas[others] - shared)
        rest = others[~(overlap.astype(np.float64) > iou_thresh)]
    return kept


def _without_small_regions(found: list[FoundMask], area_px: int, iou_thresh: float) -> list[FoundMask]:
    """Fill holes and remove islands; of masks that have become alike, an unchanged one is kept."""
    cleaned, ranks = [], []
    for mask in found:
        filled = remove_small_regions(mask.segmentation, area_px)
        ranks.append(float(np.array_equal(filled, mask.segmentation)))
        cleaned.append(replace(mask, segmentation=filled))
    return suppress(cleaned, ranks, iou_thresh)


def remove_small_regions(mask_hw: np.ndarray, area_px: int) -> np.ndarray:
    """Fill holes and drop islands smaller than `area_px` (8-connectivity); the largest island always stays."""
    mask = mask_hw.copy()
    for wanted in (False, True):
        regions, areas = connected_regions(mask == wanted)
        small = areas < area_px
        if wanted and small.all() and len(small):
            small[areas.argmax()] = False
        mask[np.isin(regions, 1 + np.flatnonzero(small))] = not wanted
    return mask


def _box_area(box: Box) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])
