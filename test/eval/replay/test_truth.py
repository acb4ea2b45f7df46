# SPDX-License-Identifier: Apache-2.0
"""Truth is matched to images by number, order or stamp, and to objects by value; errors are one line."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from sam2_ros.engine import Prompt
from sam2_ros.errors import UserError
from sam2_ros.eval.replay.replay_config import ReplayConfig
from sam2_ros.eval.replay.truth import ReplayTruth, find_truth
from sam2_ros.media.bag.storage import BagWriter
from sam2_ros.media.bag.timeline import BagTimeline, read_timeline
from sam2_ros.media.frame_source import SourceError

HW = (24, 32)
STAMPS_NS = [1_700_000_000_000_000_000 + 50_000_000 * number for number in range(4)]
TOPIC = "/camera/image_raw"


def labels(*values: int) -> np.ndarray:
    """Values side by side, 8 columns each, on a background of 0."""
    image = np.zeros(HW, np.uint16)
    for place, value in enumerate(values):
        image[4:20, 8 * place : 8 * place + 8] = value
    return image


@pytest.fixture
def camera(tmp_path: Path) -> BagTimeline:
    with BagWriter(tmp_path / "camera") as bag:
        for stamp in STAMPS_NS:
            bag.write_image(TOPIC, stamp, "camera", np.zeros((*HW, 3), np.uint8))
    return read_timeline(tmp_path / "camera")


def found(camera: BagTimeline, truth: Path, **options: object) -> ReplayTruth:
    prompts = {0: [Prompt("cup", box=(0, 0, 9, 9))], 2: [Prompt("robot", box=(0, 0, 9, 9))]}
    config = ReplayConfig(camera.bag, truth.parent / "out", prompts, truth=truth, **options)  # type: ignore[arg-type]
    known = find_truth(config, camera, HW)
    assert known is not None
    return known


def folder_of(path: Path, images: dict[str, np.ndarray]) -> Path:
    path.mkdir()
    for name, image in images.items():
        assert cv2.imwrite(str(path / f"{name}.png"), image.astype(np.uint8))
    return path


def bag_of(path: Path, images: dict[int, np.ndarray], topic: str = "/labels") -> Path:
    with BagWriter(path) as bag:
        for stamp, image in images.items():
            bag.write_label_image(topic, stamp, "camera", image)
    return path


def test_values_are_objects_in_the_order_of_their_prompts(camera: BagTimeline, tmp_path: Path) -> None:
    known = found(camera, folder_of(tmp_path / "masks", {f"{n:05d}": labels(1, 2) for n in range(4)}))
    assert dict(known.values) == {"cup": "1", "robot": "2"}
    truth = known.at(3)
    assert truth is not None
    assert np.array_equal(truth.masks["cup"], labels(1) == 1)
    assert np.array_equal(truth.masks["robot"], labels(0, 2) == 2)


def test_values_are_given_to_objects_by_name(camera: BagTimeline, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "masks", {f"{n:05d}": labels(9, 4, 1) for n in range(4)})
    known = found(camera, folder, truth_ids={"robot": 9, "cup": 4})
    truth = known.at(0)
    assert truth is not None
    assert set(truth.masks) == {"robot", "cup", "value 1"}
    assert np.array_equal(truth.masks["robot"], labels(1) == 1)
    assert known.notes == (
        "truth values 1 belong to no prompted object: used only to find identity switches",
    )


def test_some_images_have_truth_by_number_and_others_have_none(camera: BagTimeline, tmp_path: Path) -> None:
    known = found(camera, folder_of(tmp_path / "masks", {"00003": labels(1, 2), "1": labels(2, 1)}))
    assert [known.at(index) is not None for index in range(4)] == [False, True, False, True]


def test_files_named_by_stamp(camera: BagTimeline, tmp_path: Path) -> None:
    known = found(camera, folder_of(tmp_path / "masks", {str(STAMPS_NS[2]): labels(1, 2)}))
    assert known.truth.indices == (2,)


def test_as_many_files_as_images_are_in_their_order_whatever_they_are_called(
    camera: BagTimeline, tmp_path: Path
) -> None:
    names = ("frame9", "frame10", "frame11", "frame100")
    known = found(camera, folder_of(tmp_path / "masks", {n: labels(1, 2, i) for i, n in enumerate(names, 3)}))
    truths = [known.at(index) for index in range(4)]
    assert [set(truth.masks) - {"cup", "robot"} for truth in truths if truth is not None] == [
        {"value 3"}, {"value 4"}, {"value 5"}, {"value 6"},
    ]  # fmt: skip


def test_black_and_white_masks_are_of_one_object(camera: BagTimeline, tmp_path: Path) -> None:
    known = found(camera, folder_of(tmp_path / "masks", {"0": labels(255), "1": labels(255)}))
    truth = known.at(1)
    assert truth is not None
    assert set(truth.masks) == {"cup"}
    assert known.notes == (f"robot is in no truth image: value 2 never occurs in '{tmp_path / 'masks'}'",)


def test_a_topic_of_another_bag_by_header_stamp(camera: BagTimeline, tmp_path: Path) -> None:
    # A truth bag may be from a longer recording, and have labels above 255.
    images = {STAMPS_NS[1]: labels(300, 2), STAMPS_NS[3]: labels(0, 2), STAMPS_NS[3] + 7: labels(5)}
    known = found(camera, bag_of(tmp_path / "truth", images), truth_ids={"cup": 300})
    assert (known.topic, known.truth.indices) == ("/labels", (1, 3))
    truth = known.at(1)
    assert truth is not None
    assert np.array_equal(truth.masks["cup"], labels(1) == 1)


def test_a_topic_has_to_be_chosen_where_there_are_several(camera: BagTimeline, tmp_path: Path) -> None:
    with BagWriter(tmp_path / "truth") as bag:
        for topic in ("/left", "/right"):
            bag.write_label_image(topic, STAMPS_NS[0], "camera", labels(1, 2))
    with pytest.raises(SourceError, match=r"2 topics of label images \(/left .*/right .*--truth-topic"):
        found(camera, tmp_path / "truth")
    assert found(camera, tmp_path / "truth", truth_topic="/right").topic == "/right"
    with pytest.raises(SourceError, match=r"no label images on '/up'; it has /left"):
        found(camera, tmp_path / "truth", truth_topic="/up")


def test_truth_that_does_not_fit_is_one_line(camera: BagTimeline, tmp_path: Path) -> None:
    stray = folder_of(tmp_path / "stray", {str(n): labels(1) for n in range(6)})
    with pytest.raises(SourceError, match=r"'4\.png' .*\(2 of 6\) belongs to no image .*from 0 to 3"):
        found(camera, stray)
    with pytest.raises(SourceError, match=r"belongs to no image.*stamp"):
        found(camera, folder_of(tmp_path / "late", {str(STAMPS_NS[3] + 1): labels(1)}))
    with pytest.raises(SourceError, match="1 images for 4 images in the bag"):
        found(camera, folder_of(tmp_path / "names", {"first": labels(1)}))
    with pytest.raises(SourceError, match="holds no image"):
        found(camera, folder_of(tmp_path / "empty", {}))
    with pytest.raises(
        SourceError, match=r"fits no prompted object: its values are 6, 7, expected 1 \(cup\)"
    ):
        found(camera, folder_of(tmp_path / "others", {"0": labels(6), "1": labels(7)}))
    with pytest.raises(SourceError, match=r"is 16 x 24 px.*32 x 24, expected: resize"):
        found(camera, folder_of(tmp_path / "small", {"0": labels(1)[:, :16]}))
    with pytest.raises(
        SourceError, match=r"none of the 1 label images on /labels.*has the stamp of an image"
    ):
        found(camera, bag_of(tmp_path / "other", {STAMPS_NS[0] - 1: labels(1)}))
    (tmp_path / "truth.txt").write_text("1")
    with pytest.raises(SourceError, match="neither a folder of label images nor a rosbag2"):
        found(camera, tmp_path / "truth.txt")


def test_options_that_contradict_each_other_are_refused(camera: BagTimeline, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "masks", {"0": labels(1)})
    with pytest.raises(
        UserError, match=r"given for \['dog'\], but the prompted objects are \['cup', 'robot'\]"
    ):
        found(camera, folder, truth_ids={"dog": 1})
    with pytest.raises(UserError, match="a different value above 0"):
        found(camera, folder, truth_ids={"cup": 1, "robot": 1})
    with pytest.raises(UserError, match="needs --truth BAG"):
        found(camera, folder, truth_topic="/labels")
    with pytest.raises(UserError, match="nothing to replay"):
        found(camera, folder, direct=False)
    with pytest.raises(UserError, match="--rate 0"):
        found(camera, folder, rate=0.0)
    with pytest.raises(UserError, match=r"--truth .*nowhere does not exist"):
        found(camera, tmp_path / "nowhere")
