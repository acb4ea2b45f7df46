"""Starts the tracker: `ros2 launch sam2_ros sam2.launch.py image:=/camera/image_raw`.

Starts no camera, and does not drive the node's lifecycle: the node goes to active by itself (`autostart`).
"""

from __future__ import annotations

import os
from pathlib import Path

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

# Beside launch/ in an install space as in a clone.
CONFIG = Path(__file__).resolve().parent.parent / "config"

# Fast DDS reads the first in Kilted and later, the second in Jazzy and before.
PROFILE_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")

ARGUMENTS = {
    "image": (
        "image_raw",
        "Camera topic, sensor_msgs/Image. With image_transport: compressed, its /compressed is read.",
    ),
    "camera_info": ("camera_info", "sensor_msgs/CameraInfo topic, read when use_3d is true."),
    "depth_image": ("depth_image", "Depth topic registered to the image, read when use_3d is true."),
    "params_file": (
        str(CONFIG / "desktop.yaml"),
        f"Parameters. Shipped in {CONFIG}: desktop.yaml, jetson.yaml, cpu.yaml.",
    ),
    "model": (
        "",
        "nano, tiny, small, base_plus, large, or the path of a checkpoint. Empty: as params_file says.",
    ),
    "device": ("", "auto, cuda:0 or cpu. Empty: as params_file says."),
    "name": ("sam2", "Name of the node; its topics are below it, e.g. /sam2/objects."),
    "namespace": ("", "Namespace of the node and of its relative topics."),
    "use_sim_time": ("false", "true: time is /clock's, for simulators and `ros2 bag play --clock`."),
    "log_level": ("info", "debug, info, warn, error or fatal."),
}


def start_node(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """The node, with those overrides that were given."""
    given = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    overrides: dict[str, object] = {"use_sim_time": given["use_sim_time"].lower() in ("true", "1")}
    # As text: launch would read a model named 1 as a number.
    overrides.update(
        {name: ParameterValue(given[name], value_type=str) for name in ("model", "device") if given[name]}
    )
    return [
        Node(
            package="sam2_ros",
            executable="sam2_node",
            name=given["name"],
            namespace=given["namespace"],
            parameters=[given["params_file"], overrides],
            remappings=[
                ("image_raw", given["image"]),
                ("camera_info", given["camera_info"]),
                ("depth_image", given["depth_image"]),
            ],
            arguments=["--ros-args", "--log-level", given["log_level"]],
            output="screen",
        )
    ]


def generate_launch_description() -> LaunchDescription:
    given = [os.environ[variable] for variable in PROFILE_VARIABLES if os.environ.get(variable)]
    profile = given[0] if given else str(CONFIG / "fastdds.xml")  # a profile of the user's own stays
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=default, description=description)
                for name, (default, description) in ARGUMENTS.items()
            ),
            *(SetEnvironmentVariable(variable, profile) for variable in PROFILE_VARIABLES),
            OpaqueFunction(function=start_node),
        ]
    )
