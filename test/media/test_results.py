# SPDX-License-Identifier: Apache-2.0
"""A run writes all its results or none, and does not touch other files."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from PIL import Image

from sam2_ros.atomic_write import write_json
from sam2_ros.engine.result import FrameResult
from sam2_ros.media.bag.storage import BagReader
from sam2_ros.media.frame_source import Frame
from sam2_ros.media.messages.tracked_object import read_objects
from sam2_ros.media.overlay import PALETTE
from sam2_ros.media.results import (
    LABEL_TOPIC,
    OBJECTS_TOPIC,
    SAVE_KINDS,
    ResultWriter,
    RunInfo,
    write_label_png,
)

INFO = RunInfo("clip.mp4", 30.0, model="nano", device="cpu", precision="fp32")
STAMP_NS = 1_700_000_000_000_000_000


@pytest.fixture
def run(scene_rgb, make_result):
    """Return a function that writes `frames` frames into a folder and returns the summary."""

    def write(out_dir, frames=3, save=SAVE_KINDS, order=None):
        with ResultWriter(out_dir, INFO, save) as writer:
            for index in order or range(frames):
                frame = Frame(index, STAMP_NS + index * 33_000_000, scene_rgb, "camera")
                writer.add(frame, make_result(index))
        return writer.summary

    return write


def names(folder):
    """Return all files except the manifest."""
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in found if not name.endswith(".sam2_ros.json"))


def test_everything_is_there(tmp_path, run, make_result):
    out = tmp_path / "out"
    summary = run(out)
    assert names(out) == [
        "masks/00000.png",
        "masks/00001.png",
        "masks/00002.png",
        "objects.json",
        "overlay.mp4",
        "summary.json",
        "tracked/metadata.yaml",
        "tracked/tracked.mcap",
    ]
    assert json.loads((out / "summary.json").read_text()) == summary
    assert summary == {
        "source": "clip.mp4",
        "frames": 3,
        "fps": 50.0,  # 20 ms a frame in the tracker
        "objects": {
            "cup": {
                "label": 1,
                "class_id": "kind of cup",
                "frames": 3,
                "frames_visible": 3,
                "last_state": "TRACKING",
            },
            "box": {
                "label": 2,
                "class_id": "kind of box",
                "frames": 3,
                "frames_visible": 0,
                "last_state": "OCCLUDED",
            },
        },
        "source_fps": 30.0,
        "model": "nano",
        "device": "cpu",
        "precision": "fp32",
        "saved": ["masks", "video", "bag", "json"],
    }


def test_masks_are_palette_images_of_labels(tmp_path, run, make_result):
    run(tmp_path / "out")
    with Image.open(tmp_path / "out/masks/00002.png") as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.asarray(image), make_result(2).label_image())
        assert image.getpalette()[3:6] == PALETTE[1].tolist()


def test_labels_above_the_palette_are_kept(tmp_path, caplog):
    labels = np.array([[0, 255, 256], [65534, 1, 0]], np.uint16)
    write_label_png(tmp_path / "mask.png", labels)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "mask.png"), cv2.IMREAD_UNCHANGED), labels)
    assert "above 255" in caplog.text


def test_objects_json(tmp_path, run):
    run(tmp_path / "out")
    records = json.loads((tmp_path / "out/objects.json").read_text())
    assert [record["frame"] for record in records] == [0, 1, 2]
    assert records[1]["stamp"] == pytest.approx(1_700_000_000.033)
    assert records[1]["ms"] == 20.0
    cup, box = records[1]["objects"]
    assert cup == {
        "id": "cup",
        "label": 1,
        "class_id": "kind of cup",
        "state": "TRACKING",
        "score": 0.875,
        "presence": 6.5,
        "box": [9, 10, 21, 22],
        "area": 135,
        "centroid": pytest.approx([14.666667, 15.666667]),
        "age": 0.0,
    }
    assert (box["state"], box["box"], box["area"]) == ("OCCLUDED", [0, 0, 0, 0], 0)


def test_the_bag_has_objects_and_labels_at_the_stamps_of_the_frames(tmp_path, run, make_result):
    run(tmp_path / "out")
    with BagReader(tmp_path / "out/tracked") as bag:
        messages = list(bag.messages())
    objects = [(ns, message) for topic, ns, message in messages if topic == OBJECTS_TOPIC]
    labels = [(ns, message) for topic, ns, message in messages if topic == LABEL_TOPIC]
    stamps_ns = [STAMP_NS + index * 33_000_000 for index in range(3)]
    assert [ns for ns, _ in objects] == [ns for ns, _ in labels] == stamps_ns
    assert objects[1][1].header.stamp.nanosec == 33_000_000
    np.testing.assert_array_equal(read_objects(objects[2][1])[0].mask, make_result(2).objects[0].mask)
    np.testing.assert_array_equal(labels[2][1].data.view("<u2").reshape(48, 64), make_result(2).label_image())


def test_the_video_has_every_frame(tmp_path, run):
    run(tmp_path / "out", frames=7)
    capture = cv2.VideoCapture(str(tmp_path / "out/overlay.mp4"))
    assert (capture.get(cv2.CAP_PROP_FRAME_COUNT), capture.get(cv2.CAP_PROP_FPS)) == (7, 30.0)


@pytest.mark.parametrize("kind", SAVE_KINDS)
def test_only_what_was_asked_for(tmp_path, run, kind):
    summary = run(tmp_path / "out", save=(kind,))
    folders = {name.split("/")[0] for name in names(tmp_path / "out")}
    expected = {"masks": "masks", "video": "overlay.mp4", "bag": "tracked", "json": "objects.json"}[kind]
    assert folders == {expected, "summary.json"}
    assert summary["saved"] == [kind]


def test_frames_of_a_backward_pass_come_out_in_order(tmp_path, run):
    run(tmp_path / "out", save=("json", "masks"), order=[2, 1, 0])
    records = json.loads((tmp_path / "out/objects.json").read_text())
    assert [record["frame"] for record in records] == [0, 1, 2]


def test_a_second_run_replaces_the_first_and_nothing_else(tmp_path, run):
    out = tmp_path / "out"
    run(out, frames=5)
    for name in ("notes.txt", "masks/mine.png", "masks/README", "tracked/calibration.yaml"):
        (out / name).write_text("mine")
    run(out, frames=2)
    assert names(out) == [
        "masks/00000.png",
        "masks/00001.png",
        "masks/README",
        "masks/mine.png",
        "notes.txt",
        "objects.json",
        "overlay.mp4",
        "summary.json",
        "tracked/calibration.yaml",
        "tracked/metadata.yaml",
        "tracked/tracked.mcap",
    ]
    with BagReader(out / "tracked") as bag:
        assert [topic.count for topic in bag.topics()] == [2, 2]


def test_a_run_that_fails_leaves_the_earlier_one(tmp_path, run, scene_rgb, make_result):
    out = tmp_path / "out"
    run(out, frames=4)
    before = {name: (out / name).read_bytes() for name in names(out)}
    with pytest.raises(ValueError, match="its result 10x20"), ResultWriter(out, INFO) as writer:  # noqa: PT012
        for result in (make_result(0), FrameResult(1, 0.0, 20, 10)):
            writer.add(Frame(0, STAMP_NS, scene_rgb), result)
    assert {name: (out / name).read_bytes() for name in names(out)} == before


def test_no_result_appears_before_close_and_a_killed_run_is_removed(tmp_path, run, scene_rgb, make_result):
    out = tmp_path / "out"
    killed = ResultWriter(out, INFO)
    killed.add(Frame(0, STAMP_NS, scene_rgb), make_result(0))
    assert all(name.startswith(".partial/") for name in names(out))
    killed._folder.close()  # releases the lock, like the end of a process
    run(out, frames=2)
    assert not any(name.startswith(".partial") for name in names(out))
    assert "masks/00001.png" in names(out)


def test_a_run_without_frames_is_a_summary(tmp_path, run):
    summary = run(tmp_path / "out", frames=0)
    assert (summary["frames"], summary["objects"]) == (0, {})
    assert names(tmp_path / "out") == ["objects.json", "summary.json"]


def test_closing_twice_is_closing_once(tmp_path, scene_rgb, make_result):
    writer = ResultWriter(tmp_path / "out", INFO, ("json",))
    writer.add(Frame(0, 0, scene_rgb), make_result(0))
    assert writer.close() == writer.close()


def test_wrong_arguments(tmp_path, scene_rgb):
    with pytest.raises(ValueError, match="cannot save mp4; expected any of masks, video, bag, json"):
        ResultWriter(tmp_path / "out", INFO, ("masks", "mp4"))
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="is a file, a folder or a new name expected"):
        ResultWriter(tmp_path / "file", INFO)
    with pytest.raises(ValueError, match="source_fps is nan"):
        RunInfo("clip.mp4", float("nan"))
    writer = ResultWriter(tmp_path / "out", INFO)
    with pytest.raises(ValueError, match="frame 3 is 64x48, its result 10x20"):
        writer.add(Frame(3, 0, scene_rgb), FrameResult(0, 0.0, 20, 10))
    writer.abort()


def test_json_is_never_half_written(tmp_path):
    write_json(tmp_path / "a.json", [1])
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", [float("nan")])
    assert names(tmp_path) == ["a.json"]
    assert json.loads((tmp_path / "a.json").read_text()) == [1]


def test_numbers_that_are_not_finite_become_null(tmp_path, scene_rgb, make_object):
    obj = make_object("cup", 1, np.zeros((48, 64), bool), presence=float("-inf"))
    with ResultWriter(tmp_path / "out", INFO, ("json",)) as writer:
        writer.add(Frame(0, 0, scene_rgb), FrameResult(0, 0.0, 48, 64, [obj]))
    (record,) = json.loads((tmp_path / "out/objects.json").read_text())
    assert record["objects"][0]["presence"] is None
    assert record["ms"] is None
