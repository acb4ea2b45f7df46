# SPDX-License-Identifier: Apache-2.0
"""Plays a rosbag2 to the tracker and records its outputs: `... bag:=my_bag image:=/camera/image_raw out:=tracked`.

Knows topics, services and the `ros2 bag` command; does not know how objects are tracked. Accepts all arguments of
sam2.launch.py.

Steps: wait until the node is active > send the prompts > start the recorder > play the bag > wait for the last image >
end all processes, the recorder with SIGINT, which closes its file. The node's state is polled, not awaited as an
event: a small model is active before the two sides have discovered each other.
"""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    ExecuteProcess,
    IncludeLaunchDescription,
    LogInfo,
    OpaqueFunction,
    RegisterEventHandler,
    TimerAction,
)
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch.events.process import ProcessExited
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.ros_adapters import get_ros_node
from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import GetState

POLL_S = 0.2
RECORDER_TIMEOUT_S = 60.0
CLOCK_HZ = 100

ARGUMENTS = {
    "bag": (None, "rosbag2 to play: a folder, or a file that `ros2 bag play` accepts."),
    "out": ("", "Folder of the recording; must not exist. Empty: record nothing."),
    "record": (
        "~/objects ~/label_image /diagnostics",
        "Topics to record, separated by spaces; ~ is the node's name. Each topic costs time in the node.",
    ),
    "prompts": (
        "",
        "What to track: a list of sam2_ros_msgs/Prompt as YAML or JSON, or a file that holds one, e.g. "
        '"[{id: cup, box: [210, 140, 290, 260]}]". A prompt without a header is applied to the first image.',
    ),
    "rate": ("1.0", "Speed factor; 1.0: as recorded."),
    "delay": ("3.0", "Seconds from the player's start to the first image; DDS discovery takes up to 2.5 s."),
    "play_args": ("", 'More arguments of `ros2 bag play`, e.g. "--remap /old:=/new --start-offset 10".'),
    "drain": ("2.0", "Seconds to wait for the last results after the bag has ended."),
    "start_timeout": ("300.0", "Maximum seconds until the node is active; large models load slowly."),
}

Entities = list[LaunchDescriptionEntity]


class Replay:
    """The steps of a replay, one method each; each returns the launch actions that lead to the next step."""

    def __init__(self) -> None:
        self.given: dict[str, str] = {}
        self.node = ""  # full name
        self.recorder: ExecuteProcess | None = None
        self.player: ExecuteProcess | None = None
        self._deadline_s = 0.0

    def check(self, context: LaunchContext) -> Entities:
        """Check the arguments before anything is started."""
        check({name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS})
        return []

    def begin(self, context: LaunchContext) -> Entities:
        names = (*ARGUMENTS, "namespace", "name")
        self.given = {name: LaunchConfiguration(name).perform(context) for name in names}
        self.node = "/".join(["", *filter(None, self.given["namespace"].split("/")), self.given["name"]])
        self._deadline_s = time.monotonic() + float(self.given["start_timeout"])
        self._ros = get_ros_node(context)
        self._state = self._ros.create_client(GetState, f"{self.node}/get_state")
        if self.given["prompts"]:
            # Made before the node starts: a service that has discovered a client's request topic, but not yet its reply
            # topic, loses the reply (https://github.com/ros2/rmw_fastrtps/issues/842).
            from sam2_ros_msgs.srv import AddObjects

            self._prompts = self._ros.create_client(AddObjects, f"{self.node}/add_objects")
        return self._ask_state(context)

    def _ask_state(self, context: LaunchContext) -> Entities:
        if time.monotonic() > self._deadline_s:
            raise RuntimeError(
                f"{self.node} was not active within start_timeout = {self.given['start_timeout']} s: see its output "
                "above; autostart must be true, and a large model may need a larger start_timeout"
            )
        if not self._state.service_is_ready():
            return later(self._ask_state)
        asked_s = time.monotonic()
        reply = self._state.call_async(GetState.Request())

        def look(context: LaunchContext) -> Entities:
            if reply.done() and reply.result().current_state.id == State.PRIMARY_STATE_ACTIVE:
                return self._prompt(context)
            if reply.done() or time.monotonic() - asked_s > 2.0:  # a busy node may lose a request
                return later(self._ask_state)
            return later(look)

        return later(look)

    def _prompt(self, context: LaunchContext) -> Entities:
        if not self.given["prompts"]:
            return self._record(context)
        request = prompt_request(self.given["prompts"])
        reply: Any = None

        def look(context: LaunchContext) -> Entities:
            nonlocal reply
            if time.monotonic() > self._deadline_s:
                raise RuntimeError(
                    f"{self.node}/add_objects did not answer within start_timeout; see the node's output above"
                )
            if reply is None and self._prompts.service_is_ready():
                reply = self._prompts.call_async(request)
            if reply is None or not reply.done():
                return later(look)
            if not reply.result().success:
                raise RuntimeError(f"prompts were rejected: {reply.result().message}")
            return self._record(context)

        return look(context)

    def _record(self, context: LaunchContext) -> Entities:
        if not self.given["out"]:
            return self._play(context)
        self.recorder = ExecuteProcess(
            cmd=record_command(self.given, self.node),
            output="screen",
            # Time from SIGINT to SIGTERM at the end: closing the file takes as long as the disk needs.
            sigterm_timeout=str(RECORDER_TIMEOUT_S),
        )

        def look(context: LaunchContext) -> Entities:
            # It subscribes during the player's delay. If the recorder fails, on_exit ends the launch.
            if "rosbag2_recorder" in self._ros.get_node_names():
                return self._play(context)
            return later(look)

        return [self.recorder, *later(look)]

    def _play(self, context: LaunchContext) -> Entities:
        self.player = ExecuteProcess(cmd=play_command(self.given), output="screen")
        return [self.player]

    def on_exit(self, event: ProcessExited, context: LaunchContext) -> Entities:
        """A process has ended: the player's end is the end of the replay; the recorder's or node's is a failure."""
        if context.is_shutdown:
            return []
        if event.action is self.player and event.returncode == 0:
            said = f"{self.given['bag']} has ended; all processes end in {self.given['drain']} s"
            end = EmitEvent(event=Shutdown(reason="the bag has ended"))
            return [LogInfo(msg=said), TimerAction(period=float(self.given["drain"]), actions=[end])]
        needed = event.action in (self.player, self.recorder) or "sam2_node" in event.process_name
        if needed:
            raise RuntimeError(
                f"{' '.join(event.cmd[:3])} ended with exit status {event.returncode} before the replay was over: "
                "see its output above"
            )
        return []  # such as an RViz window that was closed


def later(function: Callable[[LaunchContext], Entities]) -> Entities:
    return [TimerAction(period=POLL_S, actions=[OpaqueFunction(function=function)])]


def check(given: dict[str, str]) -> None:
    """Raise RuntimeError for wrong arguments, before a model is loaded."""
    try:
        get_package_prefix("ros2bag")
    except PackageNotFoundError as error:
        raise RuntimeError(
            "a replay needs `ros2 bag`, which is not installed: apt install ros-<distro>-ros2bag"
        ) from error
    if not Path(given["bag"]).exists():
        raise RuntimeError(f"bag: {given['bag']} does not exist; expected a rosbag2")
    if given["out"] and os.path.lexists(given["out"]):
        raise RuntimeError(
            f"out: {given['out']} exists; recordings are not overwritten: remove it or choose another"
        )
    if given["out"] and not given["record"].split():
        raise RuntimeError("record: got no topic; expected topics separated by spaces, or leave out empty")
    if given["prompts"]:
        prompt_request(given["prompts"])


def prompt_request(text_or_file: str) -> Any:
    """A sam2_ros_msgs/srv/AddObjects.Request from YAML or JSON text, or from a file that holds it."""
    # Imported here: without prompts neither is needed.
    from rosidl_runtime_py.set_message import set_message_fields
    from sam2_ros_msgs.srv import AddObjects

    is_file = not text_or_file.lstrip().startswith(("[", "{")) and Path(text_or_file).is_file()
    text = Path(text_or_file).read_text("utf-8") if is_file else text_or_file
    request = AddObjects.Request()
    try:
        prompts = yaml.safe_load(text)
        if not isinstance(prompts, list):
            raise ValueError(f"expected a list of prompts, got {type(prompts).__name__}: {prompts}")
        set_message_fields(request, {"prompts": prompts})
    except Exception as error:  # invalid YAML, an unknown field or a value of another type
        reason = " ".join(str(error).split())
        raise RuntimeError(
            f"prompts: {text_or_file} cannot be read ({reason}); expected a file, or a list such as "
            "[{id: cup, box: [210, 140, 290, 260]}] with the fields of sam2_ros_msgs/msg/Prompt"
        ) from error
    return request


def recorded_topics(record: str, node: str) -> list[str]:
    return [f"{node}/{topic[2:]}" if topic.startswith("~/") else topic for topic in record.split()]


def record_command(given: dict[str, str], node: str) -> list[str]:
    # As a regular expression: topic names are positional in Humble, and an option `--topics` later.
    names = "|".join(recorded_topics(given["record"], node))
    return ["ros2", "bag", "record", "--output", given["out"], "--regex", f"^({names})$"]


def play_command(given: dict[str, str]) -> list[str]:
    command = ["ros2", "bag", "play", given["bag"], "--clock", str(CLOCK_HZ), "--rate", given["rate"]]
    if float(given["delay"]) > 0:
        command += ["--delay", given["delay"]]
    return [*command, "--disable-keyboard-controls", *shlex.split(given["play_args"])]


def generate_launch_description() -> LaunchDescription:
    replay = Replay()
    tracker = PythonLaunchDescriptionSource(str(Path(__file__).resolve().parent / "sam2.launch.py"))
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=default, description=description)
                for name, (default, description) in ARGUMENTS.items()
            ),
            RegisterEventHandler(OnProcessExit(on_exit=replay.on_exit)),
            OpaqueFunction(function=replay.check),
            # The tracker first: it sets the Fast DDS profile, without which the player's images are lost.
            IncludeLaunchDescription(tracker, launch_arguments={"use_sim_time": "true"}.items()),
            OpaqueFunction(function=replay.begin),
        ]
    )
