# SPDX-License-Identifier: Apache-2.0
"""A live replay reports a node that does not start."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from sam2_ros.errors import UserError
from sam2_ros.live.bag_replay import replay_live
from sam2_ros.live.player import LivePlayerConfig, missing_ros
from sam2_ros.media.bag.storage import BagWriter
from sam2_ros.media.bag.timeline import BagTimeline, read_timeline

needs_ros = pytest.mark.skipif(missing_ros() is not None, reason=str(missing_ros()))


def black_camera(folder: Path) -> BagTimeline:
    """A bag of one black image."""
    with BagWriter(folder / "camera") as writer:
        writer.write_image("/camera/image_raw", 1_000_000_000, "camera", np.zeros((48, 64, 3), np.uint8))
    return read_timeline(folder / "camera")


@needs_ros
def test_a_node_that_cannot_load_its_model_is_reported_with_its_log(tmp_path: Path) -> None:
    camera = black_camera(tmp_path)
    config = LivePlayerConfig(
        node_command=(sys.executable, "-m", "sam2_ros.node.node"),
        parameters={"model": "/nowhere/model.pt"},
        start_timeout_s=180.0,
    )
    with pytest.raises(UserError, match=r"(?s)unconfigured.*/nowhere/model\.pt"):
        replay_live(camera, {}, tmp_path / "tracked", tmp_path / "node.log", config)


@needs_ros
def test_a_process_that_never_becomes_a_node_is_reported_in_time(tmp_path: Path) -> None:
    command = (sys.executable, "-c", "import time; print('not a node', flush=True); time.sleep(60)")
    config = LivePlayerConfig(node_command=command, start_timeout_s=3.0)
    camera = black_camera(tmp_path)
    with pytest.raises(UserError, match=r"(?s)becoming active within 3 s.*not a node"):
        replay_live(camera, {}, tmp_path / "tracked", tmp_path / "node.log", config)
