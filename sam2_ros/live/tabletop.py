# SPDX-License-Identifier: Apache-2.0
"""Plays the tabletop scene: starts the node, a simulated table with an arm, and a client that grasps, as processes.

Does not know what they measure: they write files, and talk to each other by topics and services alone.
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sam2_ros.errors import UserError
from sam2_ros.share_folder import shared_folder

from .graph import POLL_S, LiveGraph, dds_environment, environment_set, own_domain_id, ros_arguments
from .node_process import NodeProcess
from .player import NODE_NAME, missing_ros

PROGRAMS = "pick_and_place"
TOPICS = ("depth_image:=/camera/depth", "camera_info:=/camera/camera_info")
PARAMETERS: dict[str, str | float] = {
    "use_3d": True,
    "target_frame": "base_link",
    "use_sim_time": True,
    "stable_within": 0.006,
}
OF_ROS = {"message_filters": "message-filters", "tf2_ros": "tf2-ros", "tf2_msgs": "tf2-msgs"}
"""Modules that the scene needs and pip's ROS 2 lacks -> the end of their Debian package's name."""


@dataclass(frozen=True)
class TabletopPlay:
    """What is played. `parameters`: of the node; `trials`: their number; `start_timeout_s`: for the node."""

    node_command: tuple[str, ...]
    parameters: Mapping[str, str | int | float | bool]
    profiles_file: Path | None
    trials: int
    seed: int
    moving_camera: bool
    start_timeout_s: float


def missing_for_tabletop() -> str | None:
    """Why the scene cannot be played in this environment, in one line; None if it can."""
    if importlib.util.find_spec("pybullet") is None:
        return "pybullet is not installed: run `pip install 'sam2_ros[sim]'`"
    if (reason := missing_ros()) is not None:
        return reason
    missing = [module for module in OF_ROS if importlib.util.find_spec(module) is None]
    if missing:
        packages = " ".join(f"ros-$ROS_DISTRO-{OF_ROS[module]}" for module in missing)
        return f"{', '.join(missing)} cannot be imported: run `apt install {packages}` and source ROS 2"
    return None


def play_tabletop(
    play: TabletopPlay,
    out: Path,
    log: Callable[[str], Path],
    on_trials: Callable[[int], None] = lambda done: None,
) -> int | None:
    """Plays all trials. Returns the node's exit status.

    The simulator writes trials.jsonl, overlay.mp4 and pictures/ into `out`.

    Args:
        log: returns the file for the output of a process: node.log, client.log, simulator.log.
        on_trials: called with the number of complete trials.

    Raises UserError if a process does not start or ends early.
    """
    programs = shared_folder(PROGRAMS, "simulator.py", in_clone=f"examples/{PROGRAMS}")
    domain_id = own_domain_id()
    environment = dds_environment(domain_id, play.profiles_file)
    parameters = {**play.parameters, **PARAMETERS}
    command = [*play.node_command, *ros_arguments(NODE_NAME, "/camera/image_raw", parameters)]
    command += [word for topic in TOPICS for word in ("-r", topic)]
    simulator = [sys.executable, str(programs / "simulator.py"), "--out", str(out)]
    simulator += ["--trials", str(play.trials), "--seed", str(play.seed)]
    simulator += ["--moving-camera"] if play.moving_camera else []
    with contextlib.ExitStack() as stack:
        stack.enter_context(environment_set(environment))
        node = stack.enter_context(NodeProcess(command, log("node.log"), environment))
        with LiveGraph("sam2_ros_tabletop", domain_id, node, NODE_NAME) as graph:
            graph.wait_until_active(play.start_timeout_s)
        client = [sys.executable, str(programs / "client.py")]
        picker = stack.enter_context(NodeProcess(client, log("client.log"), environment))
        table = stack.enter_context(NodeProcess(simulator, log("simulator.log"), environment))
        lines = out / "trials.jsonl"
        while table.running:
            node.check()
            picker.check()
            on_trials(lines.read_bytes().count(b"\n") if lines.exists() else 0)
            time.sleep(10 * POLL_S)
        if status := table.stop():
            raise UserError(f"the simulator ended with exit status {status}; {table.last_words()}", status=1)
        return node.stop()
