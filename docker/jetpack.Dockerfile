# SPDX-License-Identifier: Apache-2.0
# sam2_ros on a Jetson Orin with JetPack 6 (L4T r36, Ubuntu 22.04): ROS 2 Humble from apt, NVIDIA's PyTorch beside it.
# Not built by the project's tests, which only read it (test/packaging/test_docker.py).
#
#   docker build -f docker/jetpack.Dockerfile -t sam2_ros .
#   docker run --rm -it --runtime nvidia --network host --ipc host sam2_ros \
#       ros2 launch sam2_ros sam2.launch.py image:=/camera/image_raw params_file:=/ws/src/sam2_ros/config/jetson.yaml
#   docker run --rm --no-healthcheck --runtime nvidia sam2_ros ros2 run sam2_ros sam2-ros demo --out /tmp/demo     # checked
#
# --ipc host: images travel through /dev/shm, and Docker's default of 64 MB is too small (or --shm-size 1g). Shared memory works
# only between processes of one user: build with --build-arg UID="$(id -u)" when the camera runs on the host.
# L4T_TAG goes with the release on the Jetson: r36.4.0 for JetPack 6.1 and 6.2.
ARG L4T_TAG=r36.4.0
FROM nvcr.io/nvidia/l4t-jetpack:${L4T_TAG}
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
WORKDIR /ws
ENV ROS_DISTRO=humble LANG=C.UTF-8

# ROS 2 from apt.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates curl \
 && curl -fsSL https://raw.githubusercontent.com/ros/rosdistro/master/ros.key -o /usr/share/keyrings/ros.gpg \
 && echo "deb [arch=arm64 signed-by=/usr/share/keyrings/ros.gpg] http://packages.ros.org/ros2/ubuntu jammy main" \
        > /etc/apt/sources.list.d/ros2.list \
 && apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends build-essential \
        python3-colcon-common-extensions python3-rosdep python3-venv ros-humble-ros-base \
 && rm -rf /var/lib/apt/lists/*

# The dependencies in package.xml come before the code, so that an edit of the code does not install them again.
COPY package.xml src/sam2_ros/package.xml
COPY sam2_ros_msgs/package.xml src/sam2_ros/sam2_ros_msgs/package.xml
RUN echo 'APT::Install-Recommends "false";' > /etc/apt/apt.conf.d/90no-recommends \
 && apt-get update \
 && rosdep init \
 && rosdep update --rosdistro "${ROS_DISTRO}" \
 && DEBIAN_FRONTEND=noninteractive rosdep install -y --ignore-src --from-paths src src/sam2_ros/sam2_ros_msgs \
 && rm -rf /var/lib/apt/lists/* /root/.ros

# PyTorch alone from NVIDIA's index: with PyPI beside it, pip might take PyPI's wheel, which does not support Tegra.
# Its dependencies therefore come first. numpy<2: apt's cv_bridge and OpenCV are built against NumPy 1.
ARG TORCH=torch==2.8.0
ARG TORCH_INDEX=https://pypi.jetson-ai-lab.io/jp6/cu126
RUN python3 -m venv --system-site-packages /opt/venv \
 && /opt/venv/bin/pip install --no-cache-dir "numpy<2" "setuptools>=77.0.3,<80" \
        filelock fsspec jinja2 networkx "sympy>=1.13.3" "typing-extensions>=4.10" \
        "rosbags>=0.11" backports.zstd huggingface_hub matplotlib-fontja psutil pycocotools rich safetensors typer \
 && /opt/venv/bin/pip install --no-cache-dir --no-deps --index-url "${TORCH_INDEX}" "${TORCH}"

COPY . src/sam2_ros
# With the environment's Python: installed programs start with the interpreter that ran colcon.
RUN . "/opt/ros/${ROS_DISTRO}/setup.bash" \
 && /opt/venv/bin/python -m colcon build --merge-install \
        --base-paths src src/sam2_ros/sam2_ros_msgs --cmake-args -DBUILD_TESTING=OFF \
 && rm -rf build log
# The build fails if the tracker does not work: runs the first frames of the demo, without ROS, on the CPU.
RUN . "/opt/ros/${ROS_DISTRO}/setup.bash" && . install/setup.bash \
 && mkdir /tmp/smoke \
 && HOME=/tmp/smoke ros2 run sam2_ros sam2-ros demo --direct --device cpu --frames 20 --out /tmp/smoke/demo \
 && rm -rf /tmp/smoke

# The device files of the GPU belong to the group video.
ARG UID=1000
RUN useradd --create-home --uid "${UID}" --groups video robot \
 && install --directory --owner robot /models
COPY --chmod=755 docker/entrypoint.sh docker/healthcheck.sh /
# Official checkpoints: -v ~/.cache/sam2_ros:/models
ENV SAM2_ROS_MODELS=/models
USER ${UID}
ENTRYPOINT ["/entrypoint.sh"]
# Once a minute, since each check starts a Python. For the command below; for others: --no-healthcheck.
HEALTHCHECK --interval=60s --timeout=30s --start-period=180s CMD ["/healthcheck.sh"]
CMD ["ros2", "launch", "sam2_ros", "sam2.launch.py"]
