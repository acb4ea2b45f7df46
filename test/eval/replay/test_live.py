# SPDX-License-Identifier: Apache-2.0
"""The live node on a bag of JPEG images with a later prompt, and its recording scored again with `--recorded`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from compressed_images import compressed_message, write_compressed

from sam2_ros.engine import Prompt
from sam2_ros.errors import UserError
from sam2_ros.eval.demo import FRAME_ID, IMAGE_TOPIC, LABELS_TOPIC
from sam2_ros.eval.replay.replay import run_replay
from sam2_ros.eval.replay.replay_config import ReplayConfig
from sam2_ros.live.player import fastdds_profile, missing_ros
from sam2_ros.media.bag.frames import BagFrames
from sam2_ros.media.bag.storage import BagReader, BagWriter
from sam2_ros.media.messages.message_types import COMPRESSED_TYPE, standard_types
from sam2_ros.weights.open_model import ModelOptions

from .conftest import HIDDEN, DemoBag

pytestmark = pytest.mark.long

needs_ros = pytest.mark.skipif(missing_ros() is not None, reason=str(missing_ros()))
CUT_OFF_AFTER = 2  # a message that ends early follows this image
LATER = 6  # the cup is prompted on this image


@pytest.mark.alone
@needs_ros
def test_a_live_replay_in_real_time_and_its_recording_scored_afterwards(
    demo_bag: DemoBag, tmp_path: Path
) -> None:
    camera = tmp_path / "camera"
    with BagFrames(demo_bag.path, IMAGE_TOPIC) as source, BagWriter(camera, storage="sqlite3") as writer:
        for frame, number in zip(source, range(HIDDEN[0] + 12), strict=False):
            write_compressed(writer, "/cam/compressed", frame.stamp_ns, FRAME_ID, frame.image)
            if number == CUT_OFF_AFTER:
                stamp = frame.stamp_ns + 50_000_000
                cut = compressed_message(standard_types(), stamp, FRAME_ID, "jpeg", np.zeros(100, np.uint8))
                cdr = bytes(standard_types().serialize_cdr(cut, COMPRESSED_TYPE))
                writer.write_raw("/cam/compressed", COMPRESSED_TYPE, stamp, cdr[:-60])
    images = HIDDEN[0] + 12 + 1
    prompts = {
        0: [Prompt("robot", box=tuple(demo_bag.boxes["robot"]))],  # type: ignore[arg-type]
        LATER: [Prompt("cup", box=tuple(demo_bag.boxes["cup"]))],  # type: ignore[arg-type]
    }
    given = {"truth": demo_bag.path, "truth_topic": LABELS_TOPIC, "truth_ids": {"cup": 1, "robot": 2}}
    summary = run_replay(
        ReplayConfig(
            camera,
            tmp_path / "out",
            prompts,
            node_command=(sys.executable, "-m", "sam2_ros.node.node"),
            direct=False,
            model_options=ModelOptions(device="cpu", image_size=256),
            profiles_file=fastdds_profile(),
            **given,  # type: ignore[arg-type]
        )
    )
    assert summary["precision"] in ("fp32", "bf16", "fp16")  # the node reports them under other names
    run = summary["runs"]["node"]
    assert (summary["transport"], summary["device"], summary["notes"]) == ("compressed", "cpu", [])
    assert run["node_exit_status"] == 0
    assert run["images_in"] == images
    assert run["skipped"] == 1
    assert run["processed"] + run["dropped"] + run["skipped"] == images
    assert run["processed"] >= 4
    assert run["longest_gap_s"] >= 0.1
    assert 0 < run["latency_ms"]["p50"] <= run["latency_ms"]["p99"]
    robot, cup = run["objects"]["robot"], run["objects"]["cup"]
    # Prompted images are always processed, even if others are dropped.
    assert robot["curve"]["processed"][0]
    assert cup["curve"]["processed"][LATER]
    assert cup["curve"]["state"][:LATER].count("TRACKING") == 0
    assert (cup["time_to_first_mask_s"], cup["frames"]) == (0.0, images - LATER - 1)
    assert cup["JF"] > 60
    assert robot["frames_hidden"] == 12
    assert len(robot["time_to_lost_s"]) == 1
    assert run["processed_only"]["JF"] > 50
    # As if the user had run the node and `ros2 bag record`.
    again = run_replay(
        ReplayConfig(
            camera,
            tmp_path / "again",
            prompts,
            direct=False,
            recorded=tmp_path / "out/node/tracked",
            **given,  # type: ignore[arg-type]
        )
    )
    scored = again["runs"]["recorded"]
    assert scored["objects"]["robot"]["curve"] == robot["curve"]
    assert (scored["processed"], scored["JF"], scored["missed"]) == (
        run["processed"],
        run["JF"],
        run["missed"],
    )


@needs_ros
def test_a_node_that_fails_leaves_the_direct_run_and_says_why(demo_bag: DemoBag, tmp_path: Path) -> None:

    camera = tmp_path / "camera"
    with BagFrames(demo_bag.path, IMAGE_TOPIC) as source, BagWriter(camera) as writer:
        for frame, _ in zip(source, range(3), strict=False):
            writer.write_image("/cam", frame.stamp_ns, FRAME_ID, frame.image)
    command = (sys.executable, "-c", "print('no node today')")
    config = ReplayConfig(
        camera,
        tmp_path / "out",
        {0: [Prompt("cup", box=tuple(demo_bag.boxes["cup"]))]},  # type: ignore[arg-type]
        node_command=command,
        model_options=ModelOptions(device="cpu", image_size=256),
    )
    with pytest.raises(UserError, match=r"(?s)ended with exit status 0.*no node today"):
        run_replay(config)
    with BagReader(tmp_path / "out" / "direct" / "tracked") as bag:
        assert sum(topic.count for topic in bag.topics()) == 6
    assert '"direct"' in (tmp_path / "out" / "summary.json").read_text()
