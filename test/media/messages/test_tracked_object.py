"""Objects become message fields and come back as full-size masks, whatever class carries them."""

from __future__ import annotations

import array
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sam2_ros.engine.result import ObjectState
from sam2_ros.media.messages.tracked_object import Roi, object_fields, read_objects


def as_message(objects, height_px, width_px):
    """A TrackedObjectArray in plain attributes, its bytes in an `array` as rclpy keeps them."""
    items = []
    for obj in objects:
        fields = object_fields(obj)
        height, width = fields.mask_hw.shape
        mask = SimpleNamespace(
            height=height, width=width, step=width, data=array.array("B", fields.mask_hw.tobytes())
        )
        items.append(
            SimpleNamespace(
                id=fields.id,
                label=fields.label,
                state=fields.state,
                presence=fields.presence,
                score=fields.score,
                roi=SimpleNamespace(**fields.roi._asdict()),
                mask=mask,
            )
        )
    return SimpleNamespace(image_height=height_px, image_width=width_px, objects=items)


def test_fields_are_the_tight_box_and_its_mask(make_object):
    mask = np.zeros((20, 30), bool)
    mask[5:9, 10:16] = True
    mask[5, 10] = False
    fields = object_fields(make_object("cup", 7, mask))
    assert fields.roi == Roi(x_offset=10, y_offset=5, width=6, height=4)
    assert fields.mask_hw.dtype == np.uint8
    assert sorted(np.unique(fields.mask_hw)) == [0, 255]
    assert (fields.mask_hw[0, 0], fields.area_px, fields.label, fields.state) == (0, 23, 7, 1)
    assert fields.centroid_xy == pytest.approx((12.6087, 6.5652), abs=1e-3)
    assert fields.class_id == "kind of cup"


def test_a_hidden_object_has_no_roi_and_no_mask(make_object):
    fields = object_fields(make_object("cup", 1, np.zeros((20, 30), bool), ObjectState.LOST, age_s=2.5))
    assert fields.roi == Roi(0, 0, 0, 0)
    assert fields.mask_hw.size == 0
    assert (fields.area_px, fields.centroid_xy, fields.state, fields.age_s) == (0, (0.0, 0.0), 3, 2.5)


@given(masks=st.lists(hnp.arrays(bool, (6, 9)), max_size=4))
@settings(deadline=None, max_examples=100)
def test_masks_come_back_whole(make_object, masks):
    objects = [make_object(f"object{i}", i + 1, mask) for i, mask in enumerate(masks)]
    read = read_objects(as_message(objects, 6, 9))
    assert [(o.id, o.label, o.state) for o in read] == [(o.id, o.label, o.state) for o in objects]
    for item, mask in zip(read, masks, strict=True):
        np.testing.assert_array_equal(item.mask, mask)


def test_a_roi_outside_the_image_is_refused(make_object):
    message = as_message([make_object("cup", 1, np.ones((6, 9), bool))], 6, 8)
    with pytest.raises(ValueError, match=r"'cup': roi 9x6 at \(0, 0\) does not fit the image of 8x6"):
        read_objects(message)


def test_a_short_mask_is_refused(make_object):
    message = as_message([make_object("cup", 1, np.ones((6, 9), bool))], 6, 9)
    message.objects[0].mask.data = message.objects[0].mask.data[:-1]
    with pytest.raises(ValueError, match="'cup': mask of 9x6 with 53 bytes"):
        read_objects(message)
