# SPDX-License-Identifier: Apache-2.0
"""Starts a RealSense camera and the tracker in 3D, for your detector's boxes: `... detections:=/detections_output`.

Starts no detector: any node that publishes vision_msgs/Detection2DArray works, see docs/how-to/detectors.md.
"""

from __future__ import annotations

from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

# Prefix of the driver's topics: its defaults of camera_namespace and camera_name are both "camera". Before driver
# version 4.55 it was /camera, and the colour profile was named rgb_camera.profile.
CAMERA = "/camera/camera"

ARGUMENTS = {
    "color_profile": ("640x480x30", "Colour stream of the camera: WIDTHxHEIGHTxFPS."),
    "image": (f"{CAMERA}/color/image_raw", "Colour topic of the camera."),
    "camera_info": (f"{CAMERA}/color/camera_info", "Calibration topic of the colour images."),
    "depth_image": (f"{CAMERA}/aligned_depth_to_color/image_raw", "Depth topic, registered to colour."),
    "detections": ("/detections", "Topic of your detector (vision_msgs/Detection2DArray)."),
    "detection_mode": (
        "track_all",
        "Use of the detector's boxes: track_all (start and find objects), reseed (find hidden objects again), off.",
    ),
    "use_3d": ("true", "true: 3D positions from the camera's depth."),
}


def driver_folder() -> Path:
    try:
        return Path(get_package_share_directory("realsense2_camera"))
    except PackageNotFoundError as error:
        raise RuntimeError(
            "the camera driver realsense2_camera is not installed: apt install ros-<distro>-realsense2-camera, "
            "or start another camera and use sam2.launch.py"
        ) from error


def find_driver(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    driver_folder()
    return []


def start_camera(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """The launch file of realsense2_camera; its other arguments (serial_no, ...) can be given as well."""
    arguments = {
        "enable_color": "true",
        "enable_depth": "true",
        "enable_sync": "true",  # same stamp for depth and colour
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
            # Before anything starts: if a later action failed, launch would not stop a process that is just starting.
            OpaqueFunction(function=find_driver),
            # The tracker first: it sets the Fast DDS profile, which the camera's process needs most.
            IncludeLaunchDescription(tracker),
            OpaqueFunction(function=start_camera),
        ]
    )
