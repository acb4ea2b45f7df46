# SPDX-License-Identifier: Apache-2.0
"""Starts the tracker, and RViz if asked: `ros2 launch sam2_ros sam2.launch.py image:=/camera/image_raw`.

Starts no camera, and triggers no lifecycle transitions: the node activates itself (parameter `autostart`).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import List, NamedTuple  # noqa: UP035

from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration, TextSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

# Beside launch/, in an install space and in a clone.
CONFIG = Path(__file__).resolve().parent.parent / "config"

# Fast DDS reads the first in Kilted and later (and warns about the second), the second in Jazzy and earlier.
PROFILE_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
UP_TO_JAZZY = ("humble", "iron", "jazzy")

YES_OR_NO = ("true", "false", "True", "False")
AS_FILE = "Empty: the value in params_file."


class Argument(NamedTuple):
    """One launch argument; without `choices`, any text."""

    default: str
    description: str
    choices: tuple[str, ...] = ()


ARGUMENTS = {
    "image": Argument(
        "image_raw",
        "Camera topic (sensor_msgs/Image). With image_transport:=compressed, <image>/compressed is read.",
    ),
    "camera_info": Argument("camera_info", "Calibration topic (sensor_msgs/CameraInfo); needed for use_3d."),
    "depth_image": Argument("depth_image", "Depth topic, registered to the colour image; needed for use_3d."),
    "detections": Argument(
        "",
        "Topic of a detector (vision_msgs/Detection2DArray), read unless detection_mode is off. "
        "Empty: ~/detections of the node.",
    ),
    "params_file": Argument(
        str(CONFIG / "desktop.yaml"),
        f"Parameter file of the node. In {CONFIG}: desktop.yaml (all parameters, defaults), jetson.yaml, cpu.yaml.",
    ),
    "name": Argument("sam2", "Name of the node and prefix of its topics, e.g. /sam2/objects."),
    "namespace": Argument("", "Namespace of the node and of its relative topic names."),
    "use_sim_time": Argument(
        "false", "true: take the time from /clock (simulators, `ros2 bag play --clock`).", YES_OR_NO
    ),
    "log_level": Argument(
        "info", "Lowest severity of the node's log messages.", ("debug", "info", "warn", "error", "fatal")
    ),
    "rviz": Argument(
        "false", "true: start RViz and show the node's outputs; also sets use_debug to true.", YES_OR_NO
    ),
    "rviz_config": Argument(str(CONFIG / "sam2.rviz"), "RViz configuration file."),
    "fixed_frame": Argument("", "Fixed frame of RViz. Empty: target_frame, else that of rviz_config."),
}

# Parameters of the node with a launch argument of their own, which overrides params_file.
OVERRIDES = {
    "model": Argument(
        "", f"Model: nano, tiny, small, base_plus, large, or the path of a checkpoint. {AS_FILE}"
    ),
    "device": Argument("", f"Device of the model: auto, cpu, cuda:0, ... {AS_FILE}"),
    "image_transport": Argument(
        "", f"Type of the camera topic: raw or compressed. {AS_FILE}", ("", "raw", "compressed")
    ),
    "use_3d": Argument(
        "", f"true: 3D positions from depth_image and camera_info. {AS_FILE}", ("", *YES_OR_NO)
    ),
    "target_frame": Argument("", f"tf frame of the 3D positions, e.g. base_link. {AS_FILE}"),
    "detection_mode": Argument(
        "",
        f"Use of the detector's boxes: off, reseed (find hidden objects again), track_all (also new ones). {AS_FILE}",
        ("", "off", "reseed", "track_all"),
    ),
    "min_detection_score": Argument("", f"Boxes with a smaller score are ignored, 0 to 1. {AS_FILE}"),
    "mask_topics": Argument("", f"Ids whose masks are published, separated by commas: cup,gear. {AS_FILE}"),
    "autostart": Argument("", f"false: wait for a lifecycle manager. {AS_FILE}", ("", *YES_OR_NO)),
}

# Topics of the node in config/sam2.rviz, which has them under /sam2.
SHOWN = ("debug_image", "label_image", "markers", "object_cloud", "clicked_point")


def node_parameters(given: dict[str, str]) -> dict[str, object]:
    """Parameters given as launch arguments, with the types that the node declares."""
    parameters: dict[str, object] = {"use_sim_time": is_yes(given["use_sim_time"])}
    for name, argument in OVERRIDES.items():
        if given[name] and "true" in argument.choices:
            parameters[name] = is_yes(given[name])
        elif given[name] and name == "min_detection_score":
            parameters[name] = as_number(name, given[name])
        elif given[name] and name == "mask_topics":
            ids = [[TextSubstitution(text=each.strip())] for each in given[name].split(",")]
            parameters[name] = ParameterValue(ids, value_type=List[str])  # noqa: UP006 (not list: launch)
        elif given[name]:
            # As string: launch would convert a model named 1 to a number, and off to false.
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
    """The node, with the given overrides."""
    given = values(context)
    if not Path(given["params_file"]).is_file():  # launch would start the node without it
        raise RuntimeError(
            f"params_file: {given['params_file']} is not a file; expected a parameter file such as those in {CONFIG}"
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
    """RViz, with its topics remapped to the node's name and namespace."""
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
    """The node and RViz in one action: if a later action failed, launch would not stop a node that is just starting."""
    return [*start_node(context), *start_rviz(context)]


def fast_dds_profile() -> list[SetEnvironmentVariable]:
    """Set config/fastdds.xml for all processes started later, unless the user has set a profile."""
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
