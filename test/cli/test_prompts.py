# SPDX-License-Identifier: Apache-2.0
"""Prompts in options and JSON files, and the errors for unreadable ones."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from sam2_ros.cli.prompts import PromptBook
from sam2_ros.errors import UserError


def test_box_point_and_mask_of_one_object_on_one_frame_become_one_prompt(tmp_path: Path) -> None:
    mask = np.zeros((20, 30), np.uint8)
    mask[5:10, 5:15] = 3
    cv2.imwrite(str(tmp_path / "cup.png"), mask)
    book = PromptBook()
    book.add_point("cup@2:7,8,+")
    book.add_box("cup@2:5,5,15.5,10")
    book.add_point("cup@2:25,15,-")
    book.add_mask(f"cup@2:{tmp_path}/cup.png")
    ((frame, (prompt,)),) = book.prompts().items()
    assert (frame, prompt.id, prompt.box) == (2, "cup", (5.0, 5.0, 15.5, 10.0))
    np.testing.assert_array_equal(prompt.points, [[7, 8], [25, 15]])
    np.testing.assert_array_equal(prompt.labels, [1, 0])
    np.testing.assert_array_equal(prompt.mask, mask > 0)


def test_objects_and_frames_are_not_mixed() -> None:
    book = PromptBook()
    book.add_box("b@4:0,0,5,5")
    book.add_box("a@4:0,0,6,6")
    book.add_box("b@0:0,0,7,7")
    prompts = book.prompts()
    assert list(prompts) == [0, 4]
    assert [prompt.id for prompt in prompts[4]] == ["b", "a"]
    assert prompts[0][0].box == (0, 0, 7, 7)


def test_a_json_file_is_equivalent_to_the_options(tmp_path: Path) -> None:
    mask = np.full((4, 4, 3), (0, 0, 200), np.uint8)
    mask[:2] = 0
    cv2.imwrite(str(tmp_path / "m.png"), mask)
    entries = [
        {"id": "cup", "box": [1, 2, 3, 4], "points": [[2, 3, 1]], "class_id": "kitchen", "replace": True},
        {"id": "cup", "frame": 7, "mask": "m.png"},
    ]
    path = tmp_path / "prompts.json"
    path.write_text(json.dumps(entries))
    book = PromptBook()
    book.add_file(path)
    prompts = book.prompts()
    first, later = prompts[0][0], prompts[7][0]
    assert (first.box, first.class_id, first.replace) == ((1.0, 2.0, 3.0, 4.0), "kitchen", True)
    assert first.points is not None
    assert first.points.tolist() == [[2, 3]]
    assert later.mask is not None
    assert later.mask.sum() == 8


@pytest.mark.parametrize(
    "spec",
    ["cup:1,2,3,4", "cup@0:1,2,3", "cup@0:1,2,3,4,5", "cup@0:a,b,c,d", "@0:1,2,3,4", "cup@-1:1,2,3,4", ""],
)
def test_unreadable_box_is_shown_with_the_form_expected(spec: str) -> None:
    with pytest.raises(UserError, match="ID@FRAME:x0,y0,x1,y1") as caught:
        PromptBook().add_box(spec)
    assert f"'{spec}'" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("spec", ["cup@0:1,2", "cup@0:1,2,*", "cup@0:1,+", "cup@0:1,2,3,+"])
def test_unreadable_point(spec: str) -> None:
    with pytest.raises(UserError, match="ID@FRAME:x,y,"):
        PromptBook().add_point(spec)


def test_missing_mask_is_named() -> None:
    with pytest.raises(UserError, match=r"'cup': nowhere\.png is missing"):
        PromptBook().add_mask("cup@0:nowhere.png")


def test_second_box_for_an_object_on_a_frame_is_refused() -> None:
    book = PromptBook()
    book.add_box("cup@0:1,2,3,4")
    with pytest.raises(UserError, match="two boxes for 'cup' on frame 0"):
        book.add_box("cup@0:1,2,3,5")


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"id": "cup"}',
        '[{"frame": 0, "box": [1, 2, 3, 4]}]',
        '[{"id": "cup", "box": [1, 2, 3]}]',
        '[{"id": "cup", "bbox": [1, 2, 3, 4]}]',
        '[{"id": "cup", "frame": "0", "box": [1, 2, 3, 4]}]',
        '[{"id": "cup", "points": [[1, 2]]}]',
        "[3]",
    ],
)
def test_unreadable_json_is_one_line_with_the_form_expected(content: str, tmp_path: Path) -> None:
    path = tmp_path / "prompts.json"
    path.write_text(content)
    with pytest.raises(UserError, match=r'expected .*"id": "cup"') as caught:
        PromptBook().add_file(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_an_image_of_a_bag_may_be_named_by_its_stamp(tmp_path: Path) -> None:
    stamp_ns = 1_700_000_000_123_456_789
    file = tmp_path / "prompts.json"
    entries = [
        {"id": "cup", "stamp_ns": stamp_ns, "points": [[5, 6, 1]]},
        {"id": "cup", "stamp_ns": stamp_ns, "points": [[7, 8, 0]]},
        {"id": "box", "frame": 4, "box": [1, 2, 3, 4]},
    ]
    file.write_text(json.dumps(entries))
    book = PromptBook()
    book.add_file(file)
    assert book.has_stamps
    prompts = book.prompts({stamp_ns - 1: 3, stamp_ns: 4})
    (cup, box) = prompts[4]
    assert (cup.id, cup.points.tolist(), cup.labels.tolist()) == ("cup", [[5, 6], [7, 8]], [1, 0])
    assert box.box == (1, 2, 3, 4)
    with pytest.raises(UserError, match="the bag does not hold"):
        book.prompts({stamp_ns - 1: 3})
    with pytest.raises(UserError, match="only a rosbag2 has"):
        book.prompts()
    book.add_box("cup@4:0,0,5,5")
    with pytest.raises(UserError, match="by frame and by stamp_ns"):
        book.prompts({stamp_ns: 4})


@pytest.mark.parametrize(
    "wrong", ['"stamp_ns": 1.5', '"stamp_ns": -1', '"stamp_ns": 7, "frame": 0', '"stamp_ns": true']
)
def test_a_stamp_that_is_none_is_refused(tmp_path: Path, wrong: str) -> None:
    file = tmp_path / "prompts.json"
    file.write_text(f'[{{"id": "cup", {wrong}, "box": [1, 2, 3, 4]}}]')
    with pytest.raises(UserError, match="stamp_ns"):
        PromptBook().add_file(file)
