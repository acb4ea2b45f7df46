# SPDX-License-Identifier: Apache-2.0
"""Starts the tracker, and RViz if asked: `ros2 launch sam2_ros sam2.launch.py image:=/camera/image_raw`.

Starts no camera, and does not drive the node's lifecycle: the node goes to active by itself (`autostart`).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

# Beside launch/ in an install space as in a clone.
CONFIG = Path(__file__).resolve().parent.parent / "config"

# Fast DDS reads the first in Kilted and later, which warn about the second, and the second in Jazzy and before.
PROFILE_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
UP_TO_JAZZY = ("humble", "iron", "jazzy")

YES_OR_NO = ("true", "false", "True", "False")
AS_FILE = "Empty: as params_file says."


class Argument(NamedTuple):
    """One argument; `choices` empty: any text."""

    default: str
    description: str
    choices: tuple[str, ...] = ()


ARGUMENTS = {
    "image": Argument(
        "image_raw",
        "Camera topic, sensor_msgs/Image. With image_transport: compressed, its /compressed is read.",
    ),
    "camera_info": Argument("camera_info", "sensor_msgs/CameraInfo topic, read when use_3d is true."),
    "depth_image": Argument("depth_image", "Depth topic registered to the image, read when use_3d is true."),
    "detections": Argument(
        "",
        "vision_msgs/Detection2DArray topic of a detector, read unless detection_mode is off. "
        "Empty: the node's own ~/detections.",
    ),
    "params_file": Argument(
        str(CONFIG / "desktop.yaml"),
        f"Parameters. Shipped in {CONFIG}: desktop.yaml (every parameter with its default), and jetson.yaml and "
        "cpu.yaml (what differs).",
    ),
    "name": Argument("sam2", "Name of the node; its topics are below it, e.g. /sam2/objects."),
    "namespace": Argument("", "Namespace of the node and of its relative topics."),
    "use_sim_time": Argument(
        "false", "true: time is /clock's, for simulators and `ros2 bag play --clock`.", YES_OR_NO
    ),
    "log_level": Argument("info", "How much the node says.", ("debug", "info", "warn", "error", "fatal")),
    "rviz": Argument("false", "true: show the node in RViz; turns use_debug on for the picture.", YES_OR_NO),
    "rviz_config": Argument(str(CONFIG / "sam2.rviz"), "What RViz shows."),
    "fixed_frame": Argument("", "RViz's fixed frame. Empty: target_frame, or as rviz_config says."),
}

# Parameters of the node that have an argument of their own, which goes before params_file.
OVERRIDES = {
    "model": Argument("", f"nano, tiny, small, base_plus, large, or the path of a checkpoint. {AS_FILE}"),
    "device": Argument("", f"auto, cuda:0 or cpu. {AS_FILE}"),
    "image_transport": Argument("", f"raw or compressed. {AS_FILE}", ("", "raw", "compressed")),
    "use_3d": Argument("", f"true: positions in metres from depth. {AS_FILE}", ("", *YES_OR_NO)),
    "target_frame": Argument("", f"tf frame of the positions, e.g. base_link. {AS_FILE}"),
    "detection_mode": Argument(
        "", f"What boxes do: off, reseed or track_all. {AS_FILE}", ("", "off", "reseed", "track_all")
    ),
    "min_detection_score": Argument("", f"Boxes with a smaller score are ignored, 0 to 1. {AS_FILE}"),
    "autostart": Argument("", f"false: wait for a lifecycle manager. {AS_FILE}", ("", *YES_OR_NO)),
}

# The node's outputs in config/sam2.rviz, where the node is /sam2.
SHOWN = ("debug_image", "label_image", "markers", "object_cloud")


def node_parameters(given: dict[str, str]) -> dict[str, object]:
    """What was said on the command line, with the types that the node declares."""
    parameters: dict[str, object] = {"use_sim_time": is_yes(given["use_sim_time"])}
    for name, argument in OVERRIDES.items():
        if given[name] and "true" in argument.choices:
            parameters[name] = is_yes(given[name])
        elif given[name] and name == "min_detection_score":
            parameters[name] = as_number(name, given[name])
        elif given[name]:
            # As text: launch would read a model named 1 as a number, and off as false.
            parameters[name] = ParameterValue(given[name], value_type=str)
    if is_yes(given["rviz"]):
        parameters["use_debug"] = True
    return parameters


def as_number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise RuntimeError(f"{name}: got {text}; expected a number") from error


def values(context: LaunchContext) -> dict[str, str]:
    return {name: LaunchConfiguration(name).perform(context) for name in (*ARGUMENTS, *OVERRIDES)}


def is_yes(text: str) -> bool:
    return text.lower() == "true"


def start_node(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """The node, with those overrides that were given."""
    given = values(context)
    if not Path(given["params_file"]).is_file():  # launch would start the node without it
        raise RuntimeError(
            f"params_file: {given['params_file']} is no file; expected a file of parameters such as those in {CONFIG}"
        )
    remappings = [
        ("image_raw", given["image"]),
        ("camera_info", given["camera_info"]),
        ("depth_image", given["depth_image"]),
    ]
    if given["detections"]:
        remappings.append(("~/detections", given["detections"]))
    return [
        Node(
            package="sam2_ros",
            executable="sam2_node",
            name=given["name"],
            namespace=given["namespace"],
            parameters=[given["params_file"], node_parameters(given)],
            remappings=remappings,
            arguments=["--ros-args", "--log-level", given["log_level"]],
            output="screen",
        )
    ]


def start_rviz(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """RViz on the node's topics, wherever they are."""
    given = values(context)
    if not is_yes(given["rviz"]):
        return []
    try:
        get_package_prefix("rviz2")
    except PackageNotFoundError as error:
        raise RuntimeError(
            "rviz:=true needs RViz, which is not installed: apt install ros-<distro>-rviz2, or leave rviz out"
        ) from error
    node = "/".join(["", *filter(None, given["namespace"].split("/")), given["name"]])
    arguments = ["-d", given["rviz_config"]]
    if fixed_frame := given["fixed_frame"] or given["target_frame"]:
        arguments += ["-f", fixed_frame]
    return [
        Node(
            package="rviz2",
            executable="rviz2",
            name="rviz",
            namespace=given["namespace"],
            parameters=[{"use_sim_time": is_yes(given["use_sim_time"])}],
            remappings=[(f"/sam2/{topic}", f"{node}/{topic}") for topic in SHOWN if node != "/sam2"],
            arguments=arguments,
            output="screen",
        )
    ]


def start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Both or neither: launch forgets a process that it is just starting when what comes after it fails."""
    return [*start_node(context), *start_rviz(context)]


def fast_dds_profile() -> list[SetEnvironmentVariable]:
    """For all processes that are started after it; a profile of the user's own stays."""
    if any(os.environ.get(variable) for variable in PROFILE_VARIABLES):
        return []
    variable = PROFILE_VARIABLES[os.environ.get("ROS_DISTRO") in UP_TO_JAZZY]
    return [SetEnvironmentVariable(variable, str(CONFIG / "fastdds.xml"))]


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(
                    name,
                    default_value=argument.default,
                    description=argument.description,
                    choices=list(argument.choices) or None,
                )
                for name, argument in {**ARGUMENTS, **OVERRIDES}.items()
            ),
            *fast_dds_profile(),
            OpaqueFunction(function=start),
        ]
    )
