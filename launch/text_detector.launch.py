# SPDX-License-Identifier: Apache-2.0
"""Starts the tracker beside an open-vocabulary detector: `... text:="a cup, a red box" image:=/camera/image_raw`.

Starts the detector where its package is installed and it is one node; sends it the text. All of sam2.launch.py's
arguments work. Knows topics, services and packages of the detectors; see docs/how-to/detectors.md.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import (
    DeclareLaunchArgument,
    IncludeLaunchDescription,
    LogInfo,
    OpaqueFunction,
    SetLaunchConfiguration,
    TimerAction,
)
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.ros_adapters import get_ros_node

POLL_S = 0.5

Entities = list[LaunchDescriptionEntity]


class Preset(NamedTuple):
    """What a detector listens to and publishes. Scores of 0: it sets none, so no box may be held against its score."""

    detections: str = ""
    text_topic: str = ""
    min_detection_score: str = "0.0"


# The names in the detectors' source: ROS2-NanoOWL of March 2024, sam3_ros of humble-devel, Isaac ROS 4.4.
PRESETS = {
    "nanoowl": Preset("/output_detections", "/input_query"),
    "sam3": Preset("/sam3_ros/object_boxes", "/sam3_ros/set_prompt_text"),
    "grounding_dino": Preset("/detections_output", min_detection_score="0.5"),
    "other": Preset(),
}
AS_DETECTOR = "Empty: as the detector has it."

ARGUMENTS = {
    "text": (
        None,
        'What to track, as the detector reads it: "a cup, a red box" (nanoowl, sam3), "a cup. a red box." '
        "(grounding_dino).",
    ),
    "detector": (
        "nanoowl",
        "nanoowl (NVIDIA-AI-IOT/ROS2-NanoOWL; started here where it is installed), sam3 (TeamSOBITS/sam3_ros), "
        "grounding_dino (isaac_ros_grounding_dino) or other, which run already.",
    ),
    "detections": ("", f"vision_msgs/Detection2DArray topic of the detector. {AS_DETECTOR}"),
    "text_topic": (
        "",
        f"std_msgs/String topic for the text; grounding_dino takes it by service. {AS_DETECTOR}",
    ),
    "prompt_service": ("/set_prompt", "Service for the text of grounding_dino."),
    "detection_mode": ("track_all", "What the boxes do: track_all starts objects, reseed only brings back."),
    "min_detection_score": ("", f"Boxes with a smaller score are ignored, 0 to 1. {AS_DETECTOR}"),
    "threshold": ("0.1", "nanoowl: boxes with a smaller score are not published."),
    "image_encoder_engine": ("", "nanoowl: path of the TensorRT engine of its image encoder."),
}


def fill_in(context: LaunchContext) -> Entities:
    """The preset's values for the arguments that were left empty; raises before anything is started."""
    given = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    preset = PRESETS[given["detector"]]
    if not given["text"].strip():
        raise RuntimeError(
            'text: nothing was given; expected what to track, such as text:="a cup, a red box"'
        )
    if given["detector"] == "other" and not given["detections"]:
        raise RuntimeError(
            "detections: empty; detector:=other needs the Detection2DArray topic of the detector"
        )
    if given["detector"] == "grounding_dino":
        prompt_type()
    if starts_nanoowl(given["detector"]) and not given["image_encoder_engine"]:
        raise RuntimeError(
            "image_encoder_engine: empty; ros2_nanoowl needs the path of the TensorRT engine of its image encoder "
            "(its README builds it), or run it yourself and add detector:=other"
        )
    try:
        float(given["threshold"])
    except ValueError as error:
        raise RuntimeError(f"threshold: got {given['threshold']}; expected a number from 0 to 1") from error
    return [
        SetLaunchConfiguration(name, value) for name, value in preset._asdict().items() if not given[name]
    ]


def is_installed(package: str) -> bool:
    try:
        get_package_prefix(package)
    except PackageNotFoundError:
        return False
    return True


def starts_nanoowl(detector: str) -> bool:
    return detector == "nanoowl" and is_installed("ros2_nanoowl")


def prompt_type() -> Any:
    """The service type by which Grounding DINO takes its text."""
    try:
        return import_module("isaac_ros_grounding_dino_interfaces.srv").SetPrompt
    except ImportError as error:
        raise RuntimeError(
            "detector:=grounding_dino needs isaac_ros_grounding_dino_interfaces to send the text, which is not "
            "installed or not sourced: install isaac_ros_grounding_dino, or source its workspace in this shell"
        ) from error


def start_detector(context: LaunchContext) -> Entities:
    """NanoOWL's node where it is installed; of the others, and elsewhere, a line on what is expected."""
    names = (*ARGUMENTS, "image", "namespace")
    given = {name: LaunchConfiguration(name).perform(context) for name in names}
    if not starts_nanoowl(given["detector"]):
        said = f"no detector is started here: {given['detector']} is expected to publish on {given['detections']}"
        return [LogInfo(msg=said)]
    return [
        Node(
            package="ros2_nanoowl",
            executable="nano_owl_py",
            namespace=given["namespace"],
            parameters=[
                {
                    "image_encoder_engine": ParameterValue(given["image_encoder_engine"], value_type=str),
                    "thresholds": float(given["threshold"]),
                }
            ],
            remappings=[
                ("input_image", given["image"]),
                ("input_query", given["text_topic"]),
                ("output_detections", given["detections"]),
            ],
            output="screen",
        )
    ]


def send_text(context: LaunchContext) -> Entities:
    """Sends the text to a detector that is running, and the newest text to one that is restarted."""
    given = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    if given["detector"] == "grounding_dino":
        return by_service(context, given["text"], given["prompt_service"])
    if given["text_topic"]:
        return by_topic(context, given["text"], given["text_topic"])
    return [LogInfo(msg="text_topic is empty: the text is not sent to the detector")]


def by_topic(context: LaunchContext, text: str, topic: str) -> Entities:
    # Here, because with Grounding DINO it is not needed.
    from std_msgs.msg import String

    node = get_ros_node(context)
    publisher = node.create_publisher(String, topic, 1)
    newest = String(data=text)
    ourselves = 1  # the subscription below
    listeners = ourselves

    def hear(message: String) -> None:
        newest.data = message.data

    def look(context: LaunchContext) -> Entities:
        nonlocal listeners
        before, listeners = listeners, max(publisher.get_subscription_count(), ourselves)
        if listeners <= before:
            return later(look)
        publisher.publish(newest)
        return [LogInfo(msg=f"text sent to the detector on {topic}: {newest.data}"), *later(look)]

    # A restarted detector gets the newest text, also one that another node sent.
    node.create_subscription(String, topic, hear, 1)
    return look(context)


def by_service(context: LaunchContext, text: str, service: str) -> Entities:
    service_type = prompt_type()
    client = get_ros_node(context).create_client(service_type, service)
    reply: Any = None
    done = False

    def look(context: LaunchContext) -> Entities:
        nonlocal reply, done
        if not client.service_is_ready():
            reply, done = None, False
            return later(look)
        if done:
            return later(look)
        if reply is None:
            reply = client.call_async(service_type.Request(prompt=text))
            return later(look)
        if not reply.done():
            return later(look)
        done, reply = bool(reply.result().success), None
        outcome = (
            f"text accepted by {service}: {text}"
            if done
            else f"text refused by {service}, sent again: {text}"
        )
        return [LogInfo(msg=outcome), *later(look)]

    return look(context)


def later(function: Callable[[LaunchContext], Entities]) -> Entities:
    return [TimerAction(period=POLL_S, actions=[OpaqueFunction(function=function)])]


def generate_launch_description() -> LaunchDescription:
    tracker = PythonLaunchDescriptionSource(str(Path(__file__).resolve().parent / "sam2.launch.py"))
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(
                    name,
                    default_value=default,
                    description=description,
                    choices=list(PRESETS) if name == "detector" else None,
                )
                for name, (default, description) in ARGUMENTS.items()
            ),
            # Before anything runs: launch forgets a process that it is just starting when what comes after it fails.
            OpaqueFunction(function=fill_in),
            # First the tracker: it sets the Fast DDS profile for what is started after it.
            IncludeLaunchDescription(tracker),
            OpaqueFunction(function=start_detector),
            OpaqueFunction(function=send_text),
        ]
    )
