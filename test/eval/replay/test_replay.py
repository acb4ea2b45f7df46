# SPDX-License-Identifier: Apache-2.0
"""Replays end to end: the tracker on the demo's clip with the robot hidden, recordings scored again, unusable input."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from compressed_images import compressed_message, write_compressed

from sam2_ros.engine import Prompt, PromptError
from sam2_ros.errors import UserError
from sam2_ros.eval.demo import FRAME_ID, IMAGE_TOPIC, LABELS_TOPIC, stamp_ns
from sam2_ros.eval.replay.replay import run_replay
from sam2_ros.eval.replay.replay_config import ReplayConfig
from sam2_ros.media.bag.frames import BagFrames
from sam2_ros.media.bag.storage import BagReader, BagWriter
from sam2_ros.media.frame_source import SourceError
from sam2_ros.media.messages.message_types import COMPRESSED_TYPE, header, standard_types
from sam2_ros.media.results import LABEL_TOPIC, OBJECTS_TOPIC
from sam2_ros.weights.open_model import ModelOptions

from .conftest import END, FIRST, HIDDEN, DemoBag

pytestmark = pytest.mark.long

IMAGES = END - FIRST
DIAGNOSTICS_TYPE = "diagnostic_msgs/msg/DiagnosticArray"


def config(demo_bag: DemoBag, out: Path, **options: Any) -> ReplayConfig:
    prompts = {0: [Prompt(name, box=tuple(box)) for name, box in demo_bag.boxes.items()]}  # type: ignore[arg-type]
    given = {
        "prompts": prompts,
        "topic": IMAGE_TOPIC,
        "model_options": ModelOptions(device="cpu", image_size=256),
        **options,
    }
    return ReplayConfig(demo_bag.path, out, **given)


def diagnostics(name: str, **values: str) -> Any:
    """A DiagnosticArray with one status."""
    types = standard_types().types
    key_value, status = types["diagnostic_msgs/msg/KeyValue"], types["diagnostic_msgs/msg/DiagnosticStatus"]
    pairs = [key_value(key, value) for key, value in values.items()]
    return types[DIAGNOSTICS_TYPE](header(standard_types(), 0, ""), [status(0, name, "", "", pairs)])


@pytest.fixture(scope="module")
def direct(demo_bag: DemoBag, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The output folder and the summary of one direct run with the truth."""
    out = tmp_path_factory.mktemp("direct")
    return out, run_replay(config(demo_bag, out, truth=demo_bag.path, truth_topic=LABELS_TOPIC))


def test_an_object_that_hides_is_measured(direct: tuple[Path, dict[str, Any]]) -> None:
    out, summary = direct
    assert summary == json.loads((out / "summary.json").read_text())
    run = summary["runs"]["direct"]
    assert (run["images_in"], run["processed"], run["dropped"], run["skipped"]) == (IMAGES, IMAGES, 0, 0)
    assert run["longest_gap_s"] == pytest.approx(0.1)
    cup, robot = run["objects"]["cup"], run["objects"]["robot"]
    assert (cup["frames_visible"], cup["frames_hidden"]) == (IMAGES - 1, 0)
    assert (robot["frames_visible"], robot["frames_hidden"]) == (IMAGES - 1 - 27, 27)
    assert cup["JF"] > 75
    assert robot["JF"] > 60
    # Counted independently from the curve: the robot is visible again from image 35 on.
    states, scores = robot["curve"]["state"], robot["curve"]["J"]
    hidden, back = HIDDEN
    said = next(n for n in range(hidden, back) if states[n] != "TRACKING")
    found = next(n for n in range(back, IMAGES) if states[n] == "TRACKING" and scores[n] >= 50)
    assert robot["time_to_lost_s"] == [pytest.approx((said - hidden) / 10)]
    assert robot["time_to_recover_s"] == [pytest.approx((found - back) / 10)]
    assert (said - hidden, found - back) <= (4, 6)
    seen = [n for n in range(1, IMAGES) if not hidden <= n < back]
    assert robot["missed"] == pytest.approx(np.mean([states[n] != "TRACKING" for n in seen]), abs=1e-4)
    assert robot["J"] == pytest.approx(np.mean(scores[1:]), abs=0.01)
    assert robot["false_presence"] < 0.2
    assert 0.05 < robot["missed"] < 0.6
    assert run["identity_switches"] == 0
    assert cup["time_to_lost_s"] == []
    assert abs(cup["stability"]["difference"]) < 0.1
    assert 0 <= run["calibration"]["ece"] < 0.2
    assert sum(one["count"] for one in run["calibration"]["bins"]) == 2 * (IMAGES - 1)
    assert run["time_to_first_mask_s"] == {"count": 2, "never": 0, "mean": 0.0, "max": 0.0}
    assert robot["curve"]["visible"] == [None] + [not HIDDEN[0] <= n < HIDDEN[1] for n in range(1, IMAGES)]
    assert robot["curve"]["processed"] == [True] * IMAGES
    assert run["processed_only"]["JF"] == run["JF"]  # nothing was dropped
    assert summary["prompts"]["objects"]["robot"] == {"frame": 0, "stamp_s": 0.0, "truth": 2}
    assert summary["truth"]["images"] == IMAGES


def test_results_are_a_bag_with_the_stamps_of_the_images(direct: tuple[Path, dict[str, Any]]) -> None:
    with BagReader(direct[0] / "direct" / "tracked") as bag:
        assert {topic.name: topic.count for topic in bag.topics()} == {
            OBJECTS_TOPIC: IMAGES,
            LABEL_TOPIC: IMAGES,
        }
        assert [raw.stamp_ns for raw in bag.raw_messages([LABEL_TOPIC])] == [
            stamp_ns(n) for n in range(IMAGES)
        ]


def test_a_recording_scores_as_the_run_that_made_it(
    direct: tuple[Path, dict[str, Any]], demo_bag: DemoBag, tmp_path: Path
) -> None:
    out, summary = direct
    recording = out / "direct" / "tracked"
    given = {"truth": demo_bag.path, "truth_topic": LABELS_TOPIC, "direct": False, "recorded": recording}
    again = run_replay(config(demo_bag, tmp_path, **given))
    made, scored = summary["runs"]["direct"], again["runs"]["recorded"]
    assert scored["recording"] == str(recording)
    for key in ("images_in", "processed", "dropped", "longest_gap_s", "J", "F", "missed", "time_to_lost_s"):
        assert scored[key] == made[key], key
    assert scored["objects"]["robot"]["curve"] == made["objects"]["robot"]["curve"]
    assert (scored["latency_ms"], scored["skipped"]) == ({}, None)
    assert again["model"] is None  # unknown without diagnostics
    # The recording's own label images as truth give perfect scores. Label n is the n-th prompted object.
    itself = run_replay(config(demo_bag, tmp_path, **{**given, "truth": recording, "truth_topic": None}))
    assert itself["truth"]["topic"] == LABEL_TOPIC
    assert itself["runs"]["recorded"]["J"] > 99  # in a label image, a shared pixel belongs to one object


def test_a_recording_that_was_made_while_images_were_dropped_is_held_between_answers(
    direct: tuple[Path, dict[str, Any]], demo_bag: DemoBag, tmp_path: Path
) -> None:
    recording = tmp_path / "recorded"
    sent_s, answered_s = 0.02, 0.11
    with BagReader(direct[0] / "direct" / "tracked") as bag, BagWriter(recording) as thinned:
        for number, raw in enumerate(bag.raw_messages([OBJECTS_TOPIC])):
            if number % 3 == 0:
                thinned.write_raw("/robot/objects", raw.type, raw.stamp_ns + int(answered_s * 1e9), raw.cdr)
        with BagReader(demo_bag.path) as camera:
            for raw in camera.raw_messages([IMAGE_TOPIC]):
                thinned.write_raw(IMAGE_TOPIC, raw.type, raw.stamp_ns + int(sent_s * 1e9), raw.cdr)
        # Two trackers publish diagnostics on the same topic.
        for node, model, skipped in (("/robot", "nano", "0"), ("/elsewhere/robot", "large", "7")):
            message = diagnostics(f"{node}: tracking", model=model, frames_skipped=skipped)
            thinned.write_raw("/diagnostics", DIAGNOSTICS_TYPE, stamp_ns(IMAGES), message)
    summary = run_replay(
        config(demo_bag, tmp_path / "out", truth=demo_bag.path, truth_topic=LABELS_TOPIC, direct=False,
               recorded=recording)
    )  # fmt: skip
    run, every = summary["runs"]["recorded"], direct[1]["runs"]["direct"]
    assert (run["processed"], run["dropped"]) == (15, IMAGES - 15)
    assert run["longest_gap_s"] == pytest.approx(0.3)
    assert run["latency_ms"]["p50"] == pytest.approx(90.0, abs=0.1)
    assert (summary["model"], run["skipped"]) == ("nano", 0)
    assert run["JF"] < every["JF"]
    assert run["JF"] < run["processed_only"]["JF"]
    assert run["processed_only"]["frames"] == 2 * 14
    assert run["frames"] == every["frames"]
    # If a robot records camera and tracker into one bag, that bag is both inputs.
    itself = run_replay(
        replace(config(demo_bag, tmp_path / "itself", direct=False, recorded=recording), bag=recording)
    )
    assert itself["runs"]["recorded"]["latency_ms"] == run["latency_ms"]
    assert itself["runs"]["recorded"]["processed"] == run["processed"]


def test_a_later_prompt_and_an_image_that_does_not_decode(demo_bag: DemoBag, tmp_path: Path) -> None:
    bag = tmp_path / "camera"
    with BagFrames(demo_bag.path, IMAGE_TOPIC) as source, BagWriter(bag) as writer:
        for frame, number in zip(source, range(5), strict=False):
            if number == 3:
                cut = compressed_message(
                    standard_types(), frame.stamp_ns, FRAME_ID, "jpeg", np.array([255, 216], "u1")
                )
                writer.write_raw("/small/compressed", COMPRESSED_TYPE, frame.stamp_ns, cut)
            else:
                write_compressed(writer, "/small/compressed", frame.stamp_ns, FRAME_ID, frame.image)
    prompts = {2: [Prompt("cup", box=tuple(demo_bag.boxes["cup"]))]}  # type: ignore[arg-type]
    summary = run_replay(
        ReplayConfig(bag, tmp_path / "out", prompts, model_options=ModelOptions(device="cpu", image_size=256))
    )
    run = summary["runs"]["direct"]
    assert (run["images_in"], run["processed"], run["skipped"], run["dropped"]) == (5, 4, 1, 0)
    assert (summary["transport"], summary["truth"]) == ("compressed", None)
    entry = run["objects"]["cup"]
    assert entry["curve"]["state"] == [None, None, "TRACKING", "TRACKING", "TRACKING"]
    assert entry["curve"]["processed"] == [True, True, True, False, True]
    assert entry["time_to_first_mask_s"] == 0.0
    assert (entry["J"], entry["frames"]) == (None, 0)


def test_prompts_that_fit_no_image_are_found_before_anything_slow(demo_bag: DemoBag, tmp_path: Path) -> None:
    late, outside = {IMAGES: [Prompt("cup", box=(0, 0, 9, 9))]}, {0: [Prompt("cup", box=(900, 0, 909, 9))]}
    with pytest.raises(SourceError, match=f"frame {IMAGES} but .* has {IMAGES} frames"):
        run_replay(config(demo_bag, tmp_path, prompts=late, model_options=ModelOptions("no such model")))
    with pytest.raises(PromptError, match="outside the image"):
        run_replay(config(demo_bag, tmp_path, prompts=outside))


def test_no_such_topic_and_no_images(demo_bag: DemoBag, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="has no topic '/front'"):
        run_replay(config(demo_bag, tmp_path / "out", topic="/front"))
    with BagReader(demo_bag.path) as bag, BagWriter(tmp_path / "blind") as writer:
        raw = next(bag.raw_messages([LABELS_TOPIC]))
        writer.write_raw("/objects", "sam2_ros_msgs/msg/TrackedObjectArray", raw.stamp_ns, raw.cdr)
    blind = ReplayConfig(tmp_path / "blind", tmp_path / "out", {0: [Prompt("cup", box=(0, 0, 9, 9))]})
    with pytest.raises(SourceError, match="has no images"):
        run_replay(blind)


def test_truth_of_another_size_is_found_before_a_model_is_loaded(demo_bag: DemoBag, tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    cv2.imwrite(str(tmp_path / "masks" / "00000.png"), np.ones((48, 64), np.uint8))
    with pytest.raises(SourceError, match="is 64 x 48 px, the size of the images, 640 x 480, expected"):
        run_replay(config(demo_bag, tmp_path / "out", truth=tmp_path / "masks"))


def test_files_of_the_user_are_not_overwritten(demo_bag: DemoBag, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    with pytest.raises(UserError, match=r"--out .*file is a file, a folder or a new name expected"):
        run_replay(config(demo_bag, tmp_path / "file"))
    with pytest.raises(UserError, match="cannot be written"):
        run_replay(config(demo_bag, tmp_path / "file" / "under"))
    (tmp_path / "out" / "direct" / "tracked").mkdir(parents=True)
    with pytest.raises(UserError, match="is not empty, and no earlier run wrote"):
        run_replay(config(demo_bag, tmp_path / "out"))


def test_a_recording_is_not_replaced_by_the_run_that_scores_it(
    direct: tuple[Path, dict[str, Any]], demo_bag: DemoBag
) -> None:
    out, _ = direct
    with pytest.raises(UserError, match=r"the recording .* lies in --out .* where results are written"):
        run_replay(config(demo_bag, out, recorded=out / "direct" / "tracked"))


def test_a_recording_of_another_bag_is_refused(direct: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    with BagWriter(tmp_path / "later") as writer:
        writer.write_image(IMAGE_TOPIC, stamp_ns(1000), FRAME_ID, np.zeros((480, 640, 3), np.uint8))
    prompts = {0: [Prompt("cup", box=(0.0, 0.0, 9.0, 9.0))]}
    recorded = direct[0] / "direct" / "tracked"
    other = ReplayConfig(tmp_path / "later", tmp_path / "out", prompts, direct=False, recorded=recorded)
    with pytest.raises(SourceError, match=r"no message on .* has the stamp of an image"):
        run_replay(other)


def test_an_interrupted_run_leaves_the_earlier_result_as_it_was(
    direct: tuple[Path, dict[str, Any]], demo_bag: DemoBag
) -> None:
    out, _ = direct
    before = {path: path.stat() for path in out.rglob("*") if path.is_file()}

    def interrupt(step: str, done: int, total: int) -> None:
        if step == "tracking directly" and done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_replay(config(demo_bag, out), interrupt)
    after = {path: path.stat() for path in out.rglob("*") if path.is_file()}
    assert after.keys() == before.keys()
    changed = [path.name for path in after if after[path].st_mtime_ns != before[path].st_mtime_ns]
    assert changed in ([], [".sam2_ros.json"])


def test_a_real_bag_of_jpeg_images_and_masks_drawn_by_people(shared_data: Path, tmp_path: Path) -> None:
    prompts = {0: [Prompt("surfer", box=(277.0, 73.0, 415.0, 245.0))]}
    given = ReplayConfig(
        shared_data / "bags/derived_kite-surf_compressed_mcap",
        tmp_path,
        prompts,
        truth=shared_data / "vos/davis16_kite-surf/masks",
        model_options=ModelOptions(device="cpu", image_size=256),
    )
    summary = run_replay(given)
    run = summary["runs"]["direct"]
    assert (summary["images"], summary["transport"], summary["notes"]) == (50, "compressed", [])
    assert (run["processed"], run["frames_visible"], run["frames_hidden"]) == (50, 49, 0)
    assert 35 < run["JF"] < 80
    assert run["missed"] < 0.2


def test_masks_of_every_frame_do_not_fit_a_bag_of_every_third(shared_data: Path, tmp_path: Path) -> None:
    prompts = {0: [Prompt("dog", box=(90.0, 40.0, 230.0, 170.0))]}
    bag, masks = shared_data / "bags/derived_libby_raw320_db3", shared_data / "vos/davis16_libby/masks"
    with pytest.raises(
        SourceError, match=r"\(32 of 49\) belongs to no image of the bag: a number from 0 to 16"
    ):
        run_replay(ReplayConfig(bag, tmp_path, prompts, truth=masks))
