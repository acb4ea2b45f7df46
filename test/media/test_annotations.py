# SPDX-License-Identifier: Apache-2.0
"""Masks in the formats of annotation tools, decoded by pycocotools."""

from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask as coco

from sam2_ros.engine import FoundMask
from sam2_ros.media.annotations import OUTPUT_MODES, annotation, coco_rle, uncompressed_rle


@pytest.fixture
def ring() -> FoundMask:
    mask = np.zeros((20, 40), bool)
    mask[4:12, 3:30] = True
    mask[6:9, 10:20] = False
    return FoundMask(mask, 0.9, 0.8, (5.0, 5.0), (0, 0, 40, 20))


@pytest.mark.parametrize("corner", [False, True])
def test_run_lengths_decode_to_the_mask(ring: FoundMask, corner: bool) -> None:
    mask = ring.segmentation.copy()
    mask[0, 0] = corner  # the first run is background, of length 0 if the mask begins with the object
    np.testing.assert_array_equal(coco.decode(coco_rle(mask)).astype(bool), mask)
    runs = uncompressed_rle(mask)
    assert (runs["counts"][0] == 0) is corner
    assert sum(runs["counts"]) == mask.size
    encoded = coco.frPyObjects(runs, *mask.shape)
    np.testing.assert_array_equal(coco.decode(encoded).astype(bool), mask)


def test_records_have_the_official_keys_and_boxes(ring: FoundMask) -> None:
    for mode in OUTPUT_MODES:
        record = annotation(ring, mode)
        assert record.pop("segmentation") is not None
        assert record == {
            "area": 8 * 27 - 30,
            "bbox": [3, 4, 26, 7],  # the official width and height are one less than pixels
            "predicted_iou": 0.9,
            "point_coords": [[5.0, 5.0]],
            "stability_score": 0.8,
            "crop_box": [0, 0, 40, 20],
        }
    assert annotation(ring, "binary_mask")["segmentation"] is ring.segmentation


def test_another_output_mode_is_refused(ring: FoundMask) -> None:
    with pytest.raises(ValueError, match="'polygon': expected one of binary_mask"):
        annotation(ring, "polygon")
