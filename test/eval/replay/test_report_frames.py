# SPDX-License-Identifier: Apache-2.0
"""The report of a replay shows what was scored: the image, the newest answer, the truth."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from report_pages import check

from sam2_ros.engine import Prompt
from sam2_ros.eval.demo import IMAGE_TOPIC, LABELS_TOPIC
from sam2_ros.eval.metrics import mask_iou
from sam2_ros.eval.replay.replay import run_replay
from sam2_ros.eval.replay.replay_config import ReplayConfig
from sam2_ros.eval.replay.report_frames import read_frames
from sam2_ros.eval.replay.runs import RunOutput
from sam2_ros.eval.replay.truth import find_truth
from sam2_ros.media.bag.storage import BagWriter
from sam2_ros.media.bag.timeline import read_timeline
from sam2_ros.media.frames import open_source
from sam2_ros.media.results import OBJECTS_TOPIC
from sam2_ros.weights.open_model import ModelOptions

from .conftest import DemoBag

pytestmark = pytest.mark.long


def test_the_masks_that_are_shown_have_the_j_of_the_curves(demo_bag: DemoBag, tmp_path: Path) -> None:
    prompts = {0: [Prompt(name, box=tuple(box)) for name, box in demo_bag.boxes.items()]}  # type: ignore[arg-type]
    config = ReplayConfig(
        demo_bag.path, tmp_path, prompts, topic=IMAGE_TOPIC, model_options=ModelOptions(device="cpu", image_size=256),
        truth=demo_bag.path, truth_topic=LABELS_TOPIC,
    )  # fmt: skip
    summary = run_replay(config)
    page = check(tmp_path / "report.html")
    assert page.captions[0].startswith("direct, robot, image ")
    timeline = read_timeline(demo_bag.path, IMAGE_TOPIC)
    known = find_truth(config, timeline, (480, 640))
    run = RunOutput(
        tmp_path / "direct" / "tracked", OBJECTS_TOPIC, timeline.index_by_stamp, {}, "", None, None
    )
    wanted = [("direct", index) for index in (3, 6, 40)]
    scenes = read_frames(wanted, demo_bag.path, timeline, known, {"direct": run})
    assert list(scenes) == wanted
    for (_, index), scene in scenes.items():
        for key in ("cup", "robot"):
            answer = scene.answers.get(key, np.zeros((480, 640), bool))
            j = summary["runs"]["direct"]["objects"][key]["curve"]["J"][index]
            assert 100 * mask_iou(answer, scene.truths[key]) == pytest.approx(j, abs=0.01)
    # If a run has a result of image 3 only, image 6 shows that result; earlier images show none.
    stamp = next(stamp for stamp, index in timeline.index_by_stamp.items() if index == 3)
    sparse = replace(run, index_by_stamp={stamp: 3})
    held = read_frames([("node", 1), ("node", 6)], demo_bag.path, timeline, known, {"node": sparse})
    assert held["node", 1].answers == {}
    assert (held["node", 6].answers["cup"] == scenes["direct", 3].answers["cup"]).all()
    assert (held["node", 6].image_hw3 == scenes["direct", 6].image_hw3).all()


def test_a_report_that_cannot_be_written_is_a_note(demo_bag: DemoBag, tmp_path: Path) -> None:
    def in_the_way(step: str, done: int, total: int | None) -> None:
        if step == "writing the report":
            (tmp_path / "out" / ".partial" / ".report.html.partial").mkdir()

    bag = first_images(demo_bag.path, tmp_path / "short", 3)
    prompts = {0: [Prompt("cup", box=tuple(demo_bag.boxes["cup"]))]}  # type: ignore[arg-type]
    config = ReplayConfig(
        bag, tmp_path / "out", prompts, model_options=ModelOptions(device="cpu", image_size=256)
    )
    summary = run_replay(config, in_the_way)
    assert summary["runs"]["direct"]["processed"] == 3
    assert "report.html' is not written" in summary["notes"][-1]


def first_images(bag: Path, path: Path, count: int) -> Path:
    with open_source(bag, IMAGE_TOPIC) as source, BagWriter(path) as writer:
        for frame in itertools.islice(source, count):
            writer.write_image(IMAGE_TOPIC, frame.stamp_ns, "camera", frame.image)
    return path
