# SPDX-License-Identifier: Apache-2.0
"""Installs sam2_ros for pip and for colcon's ament_python build.

Does not install ROS: its packages are named in package.xml, where rosdep finds them.
"""

import platform
import sys
from glob import glob
from os.path import isfile

from setuptools import Extension, find_packages, setup

NAME = "sam2_ros"
# Optional: without a compiler PyTorch's own attention is used, and that is said then.
CPU_KERNELS = Extension(
    f"{NAME}.engine.kernels._cpu_kernels",
    sorted(glob(f"{NAME}/engine/kernels/cpp/*.cpp")),
    depends=sorted(glob(f"{NAME}/engine/kernels/cpp/*.h")),
    # Not for the CPU that builds: cpu.py asks the one that runs.
    extra_compile_args=[
        "-std=c++17",
        "-O3",
        *(f"-mavx512{part}" for part in ("f", "bw", "dq", "vl", "bf16")),
        *("-Wno-uninitialized", "-Wno-maybe-uninitialized"),  # GCC 12 warns of its own headers
    ],
    language="c++",
    optional=True,
)
ON_LINUX_X86 = sys.platform == "linux" and platform.machine() == "x86_64"


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
    package_data={f"{NAME}.eval.report": ["templates/*"]},
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
        "backports.zstd; python_version < '3.14'",
        "huggingface_hub",
        "jinja2",
        "matplotlib",
        "matplotlib-fontja",  # a font with Japanese letters, for names in overlays
        "numpy",
        "opencv-python-headless<5",
        "pillow",
        "psutil",
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
    ext_modules=[CPU_KERNELS] if ON_LINUX_X86 else [],
    zip_safe=False,
    entry_points={
        "console_scripts": [
            "sam2_node = sam2_ros.node.start:main",
            "sam2-ros = sam2_ros.cli.main:main",
        ],
    },
)
