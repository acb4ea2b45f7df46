# SPDX-License-Identifier: Apache-2.0
"""A RealSense camera, your detector's boxes and the tracker in 3D: `... detections:=/detections_output`.

Starts no detector: any node that publishes vision_msgs/Detection2DArray will do, see docs/how-to/detectors.md.
"""

from __future__ import annotations

from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

# The driver's names with its own camera_namespace and camera_name, "camera" both. Before its 4.55 they began with
# /camera once, and the colour profile was named rgb_camera.profile.
CAMERA = "/camera/camera"

ARGUMENTS = {
    "color_profile": ("640x480x30", "Colour stream: width x height x images per second."),
    "image": (f"{CAMERA}/color/image_raw", "Colour topic of the camera."),
    "camera_info": (f"{CAMERA}/color/camera_info", "Calibration of the colour images."),
    "depth_image": (f"{CAMERA}/aligned_depth_to_color/image_raw", "Depth, registered to the colour images."),
    "detections": ("/detections", "vision_msgs/Detection2DArray topic of your detector."),
    "detection_mode": ("track_all", "What its boxes do: track_all starts objects, reseed only brings back."),
    "use_3d": ("true", "Positions in metres from the camera's depth."),
}


def driver_folder() -> Path:
    try:
        return Path(get_package_share_directory("realsense2_camera"))
    except PackageNotFoundError as error:
        raise RuntimeError(
            "the camera's driver realsense2_camera is not installed: apt install ros-<distro>-realsense2-camera, "
            "or start your own camera and use sam2.launch.py"
        ) from error


def find_driver(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    driver_folder()
    return []


def start_camera(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """realsense2_camera's own launch file; its other arguments (serial_no, ...) can be given beside ours."""
    arguments = {
        "enable_color": "true",
        "enable_depth": "true",
        "enable_sync": "true",  # depth and colour under one stamp
        "align_depth.enable": "true",
        "rgb_camera.color_profile": LaunchConfiguration("color_profile").perform(context),
    }
    source = PythonLaunchDescriptionSource(str(driver_folder() / "launch" / "rs_launch.py"))
    return [IncludeLaunchDescription(source, launch_arguments=arguments.items())]


def generate_launch_description() -> LaunchDescription:
    tracker = PythonLaunchDescriptionSource(str(Path(__file__).resolve().parent / "sam2.launch.py"))
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=default, description=description)
                for name, (default, description) in ARGUMENTS.items()
            ),
            # Before anything runs: launch forgets a process that it is just starting when what comes after it fails.
            OpaqueFunction(function=find_driver),
            # First the tracker: it sets the Fast DDS profile, which matters most in the camera's process.
            IncludeLaunchDescription(tracker),
            OpaqueFunction(function=start_camera),
        ]
    )
