# SPDX-License-Identifier: Apache-2.0
"""Segment everything: positions of crops, what suppression and clean-up keep, and an image of known things."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from sam2_ros.engine import EverythingConfig, FoundMask, segment_everything
from sam2_ros.engine.everything import crop_boxes, remove_small_regions, suppress
from sam2_ros.weights.load import load_model

HEIGHT, WIDTH = 160, 240
DISCS = {(60, 50): (220, 60, 40), (180, 50): (60, 200, 60), (120, 115): (60, 80, 230)}
RADIUS = 30
LENIENT = {"pred_iou_thresh": 0.5, "stability_score_thresh": 0.7}  # nano predicts low IoUs
ANYTHING = {"pred_iou_thresh": 0.3, "stability_score_thresh": 0.3}


def disc(centre):
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return (x - centre[0]) ** 2 + (y - centre[1]) ** 2 < RADIUS**2


@pytest.fixture(scope="module")
def image():
    image = np.random.default_rng(0).integers(100, 120, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    for centre, colour in DISCS.items():
        image[disc(centre)] = colour
    return image


@pytest.fixture(scope="module")
def model():
    return load_model("nano", device="cpu", image_size=256)


def found(box, score=0.9, hw=(40, 40)):
    mask = np.zeros(hw, bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    return FoundMask(mask, score, 1.0, (0.0, 0.0), (0, 0, hw[1], hw[0]))


def overlap(a, b):
    return (a & b).sum() / (a | b).sum()


def test_every_disc_is_found_by_a_click_on_it(model, image):
    masks = segment_everything(model, image, EverythingConfig(points_per_side=12, **LENIENT))
    for centre in DISCS:
        best = max(masks, key=lambda mask: overlap(mask.segmentation, disc(centre)))
        assert overlap(best.segmentation, disc(centre)) > 0.6
        assert disc(centre)[int(best.point[1]), int(best.point[0])]
        assert (best.area, best.crop_box) == (best.segmentation.sum(), (0, 0, WIDTH, HEIGHT))
    scores = [mask.predicted_iou for mask in masks]
    assert scores == sorted(scores, reverse=True)
    assert min(scores) > LENIENT["pred_iou_thresh"]
    assert min(mask.stability_score for mask in masks) >= LENIENT["stability_score_thresh"]


def test_what_is_not_given_fits_the_model(model, image):
    own = segment_everything(model, image, EverythingConfig(points_per_side=8))
    given = EverythingConfig(points_per_side=8, pred_iou_thresh=0.5, stability_score_thresh=0.6)
    assert len(own) == len(segment_everything(model, image, given)) > 0
    assert given.thresholds("tiny") == (0.5, 0.6)
    assert EverythingConfig(pred_iou_thresh=0.9).thresholds("tiny") == (0.9, 0.95)


def test_boxes_that_overlap_are_suppressed(model, image):
    many, few = (
        segment_everything(model, image, EverythingConfig(points_per_side=8, box_nms_thresh=t, **LENIENT))
        for t in (1.0, 0.3)
    )
    assert len(many) > len(few) > 0


def test_the_batch_size_of_clicks_does_not_matter(model, image):
    one, another = (
        segment_everything(
            model, image, EverythingConfig(points_per_side=5, points_per_batch=count, **ANYTHING)
        )
        for count in (3, 25)
    )
    assert len(one) == len(another) > 0
    for a, b in zip(one, another, strict=True):
        assert (a.segmentation != b.segmentation).mean() < 2e-3


def test_crops_find_what_lies_in_them(model, image):
    done = []
    config = EverythingConfig(points_per_side=8, crop_n_layers=1, **ANYTHING)
    masks = segment_everything(model, image, config, lambda *step: done.append(step))
    assert done == [(count, 5) for count in range(1, 6)]
    assert {mask.crop_box for mask in masks} - {(0, 0, WIDTH, HEIGHT)}, "nothing was found in a crop"
    for mask in masks:
        x0, y0, x1, y1 = mask.crop_box
        outside = mask.segmentation.copy()
        outside[y0:y1, x0:x1] = False
        assert not outside.any()
        assert x0 <= mask.point[0] <= x1
        assert y0 <= mask.point[1] <= y1


def test_a_mask_fed_back_with_its_click_gives_another_answer(model, image):
    plain, fed_back = (
        segment_everything(model, image, EverythingConfig(points_per_side=4, use_m2m=again, **ANYTHING))
        for again in (False, True)
    )
    assert plain
    assert fed_back
    assert [mask.predicted_iou for mask in plain] != [mask.predicted_iou for mask in fed_back]


def test_crops_cover_the_image_and_overlap():
    boxes = [crop.box for crop in crop_boxes(1000, 1500, layers=1, overlap_ratio=512 / 1500)]
    assert boxes == [
        (0, 0, 1500, 1000),
        (0, 0, 921, 671), (0, 330, 921, 1000), (580, 0, 1500, 671), (580, 330, 1500, 1000),
    ]  # fmt: skip
    assert len(crop_boxes(1000, 1500, layers=2, overlap_ratio=0.3)) == 1 + 4 + 16


def test_suppression_keeps_the_better_of_two_that_overlap():
    masks = [found((0, 0, 20, 20), 0.8), found((1, 0, 21, 20), 0.9), found((20, 20, 40, 40), 0.7)]
    kept = suppress(masks, [m.predicted_iou for m in masks], 0.7)
    assert [m.predicted_iou for m in kept] == [0.9, 0.7]
    assert len(suppress(masks, [m.predicted_iou for m in masks], 0.95)) == 3
    assert suppress([], [], 0.5) == []


@pytest.mark.parametrize(
    ("shared", "width", "thresh"), [(3, 10, 0.3), (7, 10, 0.7), (9, 10, 0.9), (27, 90, 0.3)]
)
def test_an_overlap_of_exactly_the_threshold_is_decided_by_its_float32_quotient(shared, width, thresh):
    """0.3 as float32 is above 0.3; 0.7 and 0.9 are below: torchvision's nms compares float32 with float64."""
    masks = [found((0, 0, width + 1, 2), 0.9, (4, 120)), found((0, 0, shared + 1, 2), 0.8, (4, 120))]
    kept = suppress(masks, [0.9, 0.8], thresh)
    assert len(kept) == (1 if float(np.float32(shared) / np.float32(width)) > thresh else 2)


def test_masks_of_a_single_row_have_no_area_and_suppress_nothing():
    masks = [found((0, 0, 9, 1), 0.9), found((0, 0, 9, 1), 0.8)]
    assert len(suppress(masks, [0.9, 0.8], 0.5)) == 2


def test_point_grids_find_the_objects_under_their_clicks(model, image):
    on_discs = np.array([(x / WIDTH, y / HEIGHT) for x, y in DISCS])
    config = EverythingConfig(points_per_side=None, point_grids=[on_discs], **LENIENT)
    masks = segment_everything(model, image, config)
    clicked = {tuple(round(v) for v in mask.point) for mask in masks}
    assert clicked <= set(DISCS)
    for centre in DISCS:
        assert max(overlap(mask.segmentation, disc(centre)) for mask in masks) > 0.6, centre
    assert config == EverythingConfig(points_per_side=None, point_grids=[on_discs.tolist()], **LENIENT)
    assert config != EverythingConfig(points_per_side=None, point_grids=[on_discs[:1]], **LENIENT)


def test_a_higher_threshold_makes_smaller_masks(model, image):
    low, high = (
        segment_everything(
            model,
            image,
            EverythingConfig(points_per_side=4, mask_threshold=threshold, box_nms_thresh=1.0, **ANYTHING),
        )
        for threshold in (0.0, 2.0)
    )
    area_of = {(mask.point, round(mask.predicted_iou, 5)): mask.area for mask in low}
    same = [(area_of[key], m.area) for m in high if (key := (m.point, round(m.predicted_iou, 5))) in area_of]
    assert same
    assert all(larger > smaller for larger, smaller in same)


def test_small_holes_are_filled_and_small_islands_removed():
    mask = np.zeros((40, 40), bool)
    mask[5:30, 5:30] = True
    mask[10, 10] = False  # a hole of 1 pixel
    mask[15:22, 15:22] = False  # one of 49
    mask[35, 35] = True  # an island of 1 pixel
    cleaned = remove_small_regions(mask, 10)
    assert cleaned[10, 10]
    assert not cleaned[18, 18]
    assert not cleaned[35, 35]
    assert cleaned[5:30, 5:30].sum() == 25 * 25 - 49


def test_the_largest_island_stays_however_small():
    mask = np.zeros((20, 20), bool)
    mask[2, 2] = True
    mask[10:12, 10:12] = True
    cleaned = remove_small_regions(mask, 50)
    assert cleaned.sum() == 4
    assert cleaned[10, 10]


@pytest.mark.parametrize(
    "setting",
    [
        {"points_per_side": 0},
        {"crop_n_layers": -1},
        {"points_per_side": None},
        {"point_grids": [np.zeros((1, 2))]},
        {"points_per_side": None, "point_grids": [np.array([[320.0, 240.0]])]},
        {"points_per_side": None, "point_grids": [np.array([[np.nan, 0.5]])]},
        {"points_per_side": None, "point_grids": [np.zeros((0, 2))]},
        {"points_per_side": None, "point_grids": [np.zeros((3, 3))]},
        {"points_per_side": None, "point_grids": [np.zeros((1, 2))], "crop_n_layers": 1},
        {"mask_threshold": float("nan")},
    ],
)
def test_impossible_settings_are_refused(setting):
    with pytest.raises(ValueError, match="expected"):
        EverythingConfig(**setting)


def test_a_value_that_is_not_an_image_is_refused(model):
    with pytest.raises(ValueError, match=r"expected \[H, W, 3\] uint8"):
        segment_everything(model, np.zeros((32, 32), np.uint8))


@pytest.mark.long
def test_the_candidates_of_a_large_image_do_not_fill_the_memory(model, image):
    large = np.ascontiguousarray(image.repeat(10, axis=0).repeat(10, axis=1))
    settings = EverythingConfig(points_per_side=12, box_nms_thresh=0.3, **LENIENT)
    candidates = len(
        segment_everything(model, image, EverythingConfig(points_per_side=12, box_nms_thresh=1.1, **LENIENT))
    )
    tracemalloc.start()
    kept = segment_everything(model, large, settings)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 0 < 2 * len(kept) < candidates - 60  # otherwise the test shows nothing
    assert peak_bytes < (len(kept) + candidates / 3) * large.shape[0] * large.shape[1]
