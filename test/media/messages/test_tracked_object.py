# SPDX-License-Identifier: Apache-2.0
"""Objects are converted to message fields and back to full-size masks, for any message class."""

from __future__ import annotations

import array
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sam2_ros.engine.result import ObjectState
from sam2_ros.media.messages.tracked_object import Roi, cropped_mask, read_objects, roi_of, state_fields


def as_message(objects, height_px, width_px):
    """Make a TrackedObjectArray of plain attributes, with bytes in an `array` as in rclpy."""
    items = []
    for obj in objects:
        crop = cropped_mask(obj)
        height, width = crop.shape
        mask = SimpleNamespace(height=height, width=width, step=width, data=array.array("B", crop.tobytes()))
        x, y = obj.centroid_xy
        items.append(
            SimpleNamespace(
                **state_fields(obj),
                roi=SimpleNamespace(**roi_of(obj)._asdict()),
                mask=mask,
                centroid=SimpleNamespace(x=x, y=y),
                area=obj.area_px,
            )
        )
    return SimpleNamespace(image_height=height_px, image_width=width_px, objects=items)


def test_fields_are_the_tight_box_and_its_mask(make_object):
    mask = np.zeros((20, 30), bool)
    mask[5:9, 10:16] = True
    mask[5, 10] = False
    cup = make_object("cup", 7, mask)
    fields, crop = state_fields(cup), cropped_mask(cup)
    assert roi_of(cup) == Roi(x_offset=10, y_offset=5, width=6, height=4)
    assert crop.dtype == np.uint8
    assert sorted(np.unique(crop)) == [0, 255]
    assert (crop[0, 0], fields["label"], fields["state"]) == (0, 7, 1)
    assert fields["class_id"] == "kind of cup"


def test_a_hidden_object_has_no_roi_and_no_mask(make_object):
    cup = make_object("cup", 1, np.zeros((20, 30), bool), ObjectState.LOST, age_s=2.5)
    assert roi_of(cup) == Roi(0, 0, 0, 0)
    assert cropped_mask(cup).size == 0
    assert (state_fields(cup)["state"], state_fields(cup)["age"]) == (3, 2.5)


@given(masks=st.lists(hnp.arrays(bool, (6, 9)), max_size=4))
@settings(deadline=None, max_examples=100)
def test_masks_come_back_whole(make_object, masks):
    objects = [make_object(f"object{i}", i + 1, mask) for i, mask in enumerate(masks)]
    read = read_objects(as_message(objects, 6, 9))
    assert [(o.id, o.label, o.state) for o in read] == [(o.id, o.label, o.state) for o in objects]
    for item, obj in zip(read, objects, strict=True):
        np.testing.assert_array_equal(item.mask, obj.mask)
        assert (item.area_px, item.centroid_xy, item.age_s, item.class_id) == (
            obj.area_px, obj.centroid_xy, obj.age_s, obj.class_id
        )  # fmt: skip


def test_a_roi_outside_the_image_is_refused(make_object):
    message = as_message([make_object("cup", 1, np.ones((6, 9), bool))], 6, 8)
    with pytest.raises(ValueError, match=r"'cup': roi 9x6 at \(0, 0\) does not fit the image of 8x6"):
        read_objects(message)


def test_a_short_mask_is_refused(make_object):
    message = as_message([make_object("cup", 1, np.ones((6, 9), bool))], 6, 9)
    message.objects[0].mask.data = message.objects[0].mask.data[:-1]
    with pytest.raises(ValueError, match="'cup': mask of 9x6 with 53 bytes"):
        read_objects(message)
