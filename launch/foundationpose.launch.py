# SPDX-License-Identifier: Apache-2.0
"""Starts the tracker and hands the mask of one object to FoundationPose: `... id:=gear mesh:=/meshes/gear.obj`.

Starts Isaac ROS FoundationPose where its package is installed; any other estimator finds the masks on the topics that
are printed. All of sam2.launch.py's arguments work. See docs/how-to/foundationpose.md.
"""

from __future__ import annotations

from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import (
    DeclareLaunchArgument,
    IncludeLaunchDescription,
    LogInfo,
    OpaqueFunction,
    SetLaunchConfiguration,
)
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import ComposableNodeContainer
from launch_ros.descriptions import ComposableNode

from sam2_ros.errors import UserError
from sam2_ros.node.outputs.topic_names import topic_names

PACKAGE = "isaac_ros_foundationpose"

ARGUMENTS = {
    "id": ("", "Id of the object: prompt it under this id."),
    "mesh": (
        "",
        "Mesh of the object (.obj) for Isaac ROS FoundationPose. Empty: only the tracker is started.",
    ),
    "refine_engine": ("", "TensorRT engine of FoundationPose's refine network."),
    "score_engine": ("", "TensorRT engine of FoundationPose's score network."),
    "tf_frame": ("fp_object", "tf frame in which FoundationPose publishes the object."),
}


def values(context: LaunchContext) -> dict[str, str]:
    names = (*ARGUMENTS, "image", "depth_image", "camera_info", "name", "namespace")
    return {name: LaunchConfiguration(name).perform(context) for name in names}


def is_installed() -> bool:
    try:
        get_package_prefix(PACKAGE)
    except PackageNotFoundError:
        return False
    return True


def fill_in(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Turns the mask topic of the object on; raises before anything is started."""
    given = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    if not given["id"]:
        raise RuntimeError("id: nothing was given; expected the object's id, such as id:=gear")
    if given["mesh"] and not is_installed():
        raise RuntimeError(
            f"mesh: {given['mesh']} was given, but {PACKAGE} is not installed or not sourced; install it, or leave "
            "mesh out and start your estimator yourself"
        )
    mask_topic(given["id"])
    return [SetLaunchConfiguration("mask_topics", given["id"])]


def mask_topic(object_id: str) -> str:
    try:
        return topic_names([object_id])[object_id]
    except UserError as error:
        raise RuntimeError(str(error)) from error


def hand_over(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """FoundationPose with the tracker's mask as its segmentation, or a line on where the masks are."""
    given = values(context)
    node = "/".join(["", *filter(None, given["namespace"].split("/")), given["name"]])
    masks = mask_topic(given["id"]).replace("~", node, 1)
    first = masks.replace("/mask/", "/first_mask/")
    said = f"masks of '{given['id']}': {masks} (every image), {first} (the first, latched)"
    if not given["mesh"]:
        return [LogInfo(msg=f"{said}; no estimator is started here")]
    estimator = ComposableNode(
        name="foundationpose",
        namespace=given["namespace"],
        package=PACKAGE,
        plugin="nvidia::isaac_ros::foundationpose::FoundationPoseNode",
        parameters=[
            {
                "mesh_file_path": given["mesh"],
                "refine_engine_file_path": given["refine_engine"],
                "score_engine_file_path": given["score_engine"],
                "tf_frame_name": given["tf_frame"],
            }
        ],
        remappings=[
            ("pose_estimation/image", given["image"]),
            ("pose_estimation/depth_image", given["depth_image"]),
            ("pose_estimation/camera_info", given["camera_info"]),
            ("pose_estimation/segmentation", masks),
            ("pose_estimation/output", "output"),
        ],
    )
    container = ComposableNodeContainer(
        name="foundationpose_container",
        namespace=given["namespace"],
        package="rclcpp_components",
        executable="component_container_mt",
        composable_node_descriptions=[estimator],
        output="screen",
    )
    return [LogInfo(msg=said), container]


def generate_launch_description() -> LaunchDescription:
    tracker = PythonLaunchDescriptionSource(str(Path(__file__).resolve().parent / "sam2.launch.py"))
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=default, description=description)
                for name, (default, description) in ARGUMENTS.items()
            ),
            # Before anything runs: launch forgets a process that it is just starting when what comes after it fails.
            OpaqueFunction(function=fill_in),
            # First the tracker: it sets the Fast DDS profile for what is started after it.
            IncludeLaunchDescription(tracker),
            OpaqueFunction(function=hand_over),
        ]
    )
