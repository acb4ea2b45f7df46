# SPDX-License-Identifier: Apache-2.0
"""Installs sam2_ros for pip and for colcon's ament_python build.

Does not install ROS: its packages are named in package.xml, where rosdep finds them. The metadata is not in
pyproject.toml, because `colcon build --symlink-install` runs a link to this file, without a pyproject.toml beside it.
"""

import platform
import re
import sys
from glob import glob
from os.path import isfile
from pathlib import Path

from setuptools import Extension, find_packages, setup

NAME = "sam2_ros"
REPOSITORY = "https://github.com/sam2-ros/sam2_ros"
CLONE = Path(__file__).resolve().parent  # resolved: see above
# Optional: without a compiler PyTorch's own attention is used, and a warning states it.
CPU_KERNELS = Extension(
    f"{NAME}.engine.kernels._cpu_kernels",
    sorted(glob(f"{NAME}/engine/kernels/cpp/*.cpp")),
    depends=sorted(glob(f"{NAME}/engine/kernels/cpp/*.h")),
    # Not -march=native: engine/kernels/cpu.py checks the CPU at run time.
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


def version() -> str:
    """The version in sam2_ros/__init__.py, read without importing it."""
    (found,) = re.findall(r'^__version__ = "(.+)"$', (CLONE / NAME / "__init__.py").read_text("utf-8"), re.M)
    return str(found)


def readme() -> str:
    """README.md for a package index, with relative links replaced by links into the repository."""
    text = (CLONE / "README.md").read_text("utf-8")
    text = re.sub(r"(!\[[^\]]*\]\()(?!https?:|#)", rf"\g<1>{REPOSITORY}/raw/main/", text)
    return re.sub(r"(\]\()(?!https?:|#)", rf"\g<1>{REPOSITORY}/blob/main/", text)


setup(
    name=NAME,
    version=version(),
    description="SAM 2 object tracking for camera streams: prompt an object in one image by click, box or mask; "
    "from then on get its mask, box, state and 3D position under a stable id.",
    long_description=readme(),
    long_description_content_type="text/markdown",
    author="sam2_ros developers",
    maintainer="sam2_ros developers",
    maintainer_email="sam2_ros@example.org",
    url=REPOSITORY,
    project_urls={
        "Documentation": f"{REPOSITORY}/tree/main/docs",
        "Source": REPOSITORY,
        "Issues": f"{REPOSITORY}/issues",
        "Changelog": f"{REPOSITORY}/blob/main/CHANGELOG.rst",
    },
    license="Apache-2.0",
    license_expression="Apache-2.0",  # what setuptools from 77 on writes; older ones write `license`
    license_files=["LICENSE"],
    keywords="segment-anything sam2 ros2 robotics video-object-segmentation object-tracking streaming pytorch",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Natural Language :: English",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: C++",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Multimedia :: Video",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Image Recognition",
        "Typing :: Typed",
    ],
    python_requires=">=3.10",
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    package_data={NAME: ["py.typed"], f"{NAME}.eval.report": ["templates/*"], f"{NAME}.ui": ["page/*"]},
    # Files that are read at run time: in share/ of a wheel or an install space, in a clone beside the package.
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml", "LICENSE"]),
        (f"share/{NAME}/launch", files("launch/*.launch.py")),
        (f"share/{NAME}/config", files("config/*")),
        (f"share/{NAME}/config/train", files("config/train/*")),
        (f"share/{NAME}/pick_and_place", files("examples/pick_and_place/*.py")),
        (f"share/{NAME}/models", files("models/models.yaml")),
        (f"share/{NAME}/models/nano", files("models/nano/*")),
        (f"share/{NAME}/msgs/msg", files("sam2_ros_msgs/msg/*.msg")),
        (f"share/{NAME}/msgs/srv", files("sam2_ros_msgs/srv/*.srv")),
        (f"share/{NAME}/msgs/action", files("sam2_ros_msgs/action/*.action")),
    ],
    # The lower bounds are tested: CONTRIBUTING.md has the command.
    install_requires=[
        "backports.zstd>=1.0; python_version < '3.14'",
        "huggingface_hub>=0.34",
        "jinja2>=3.0.3",
        "matplotlib>=3.6",
        "matplotlib-fontja>=1.0",  # a font with Japanese letters, for names in overlays
        "numpy>=1.21.5",
        "opencv-python-headless>=4.11,<5",
        "pillow>=9.2",
        "psutil>=5.9",
        "pycocotools>=2.0.6",
        "pyyaml>=6.0",
        "rich>=12.3",
        "rosbags>=0.11.1",
        "safetensors>=0.4",
        "scikit-image>=0.19",
        "scipy>=1.8",
        "torch>=2.5",
        "typer>=0.16",
    ],
    extras_require={
        "docs": ["furo", "myst-parser", "sphinx", "sphinx-copybutton"],
        "onnx": ["onnx>=1.16", "onnxruntime>=1.18"],
        "ray": ["ray"],
        "ui": [
            "alembic>=1.13",
            "av>=15",
            "fastapi>=0.115.3",
            "sqlalchemy>=2.0",
            "uvicorn>=0.34",
            "websockets>=15",
        ],
        "sim": ["pybullet>=3.2.7"],
        "test": ["hypothesis>=6.100", "pytest>=8", "pytest-xdist>=3.5", "transformers>=4.57"],
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
