"""Installs sam2_ros for pip and for colcon's ament_python build.

Does not install ROS: its packages are named in package.xml, where rosdep finds them.
"""

from glob import glob
from os.path import isfile

from setuptools import find_packages, setup

NAME = "sam2_ros"


def files(pattern: str) -> list[str]:
    return sorted(path for path in glob(pattern) if isfile(path))


setup(
    name=NAME,
    version="0.1.0",
    description="SAM 2 as a stream, in ROS 2 and without: prompt once, get masks under a stable id.",
    author="sam2_ros developers",
    maintainer="sam2_ros developers",
    maintainer_email="sam2_ros@example.org",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    # What is read at run time: in share/ of a wheel and of an install space, beside the package in a clone.
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        (f"share/{NAME}/launch", files("launch/*.launch.py")),
        (f"share/{NAME}/config", files("config/*")),
        (f"share/{NAME}/config/train", files("config/train/*")),
        (f"share/{NAME}/models", files("models/models.yaml")),
        (f"share/{NAME}/models/nano", files("models/nano/*")),
        (f"share/{NAME}/msgs/msg", files("sam2_ros_msgs/msg/*.msg")),
        (f"share/{NAME}/msgs/srv", files("sam2_ros_msgs/srv/*.srv")),
    ],
    install_requires=[
        "huggingface_hub",
        "matplotlib",
        "numpy",
        "opencv-python-headless<5",
        "pillow",
        "pycocotools",
        "pyyaml",
        "rich",
        "rosbags>=0.11",
        "safetensors",
        "scikit-image",
        "scipy",
        "torch>=2.5",
        "typer",
    ],
    extras_require={
        "onnx": ["onnx", "onnxruntime"],
        "ray": ["ray"],
        "test": ["hypothesis", "pytest", "transformers"],
    },
    zip_safe=False,
    entry_points={
        "console_scripts": [
            "sam2_node = sam2_ros.node.node:main",
            "sam2-ros = sam2_ros.cli:main",
        ],
    },
)
