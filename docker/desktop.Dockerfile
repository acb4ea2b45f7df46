# SPDX-License-Identifier: Apache-2.0
# sam2_ros on a workstation with an NVIDIA GPU: ROS 2 from apt, PyTorch with CUDA in a virtual environment beside it.
# Not built by the project's tests, which only read it (test/packaging/test_docker.py).
#
#   docker build -f docker/desktop.Dockerfile -t sam2_ros .
#   docker run --rm -it --gpus all --network host --ipc host sam2_ros \
#       ros2 launch sam2_ros sam2.launch.py image:=/camera/image_raw
#   docker run --rm --no-healthcheck sam2_ros ros2 run sam2_ros sam2-ros demo --out /tmp/demo     # the live node, checked
#
# --ipc host: images travel through /dev/shm, and Docker's default of 64 MB is too small (or --shm-size 1g). Shared memory works
# only between processes of one user: build with --build-arg UID="$(id -u)" when the camera runs on the host.
# Humble: --build-arg ROS_DISTRO=humble. A GPU older than PyTorch's CUDA supports: see docs/how-to/troubleshooting.md.
ARG ROS_DISTRO=jazzy
FROM ros:${ROS_DISTRO}-ros-base
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
WORKDIR /ws

# The dependencies in package.xml come before the code, so that an edit of the code does not install them again.
COPY package.xml src/sam2_ros/package.xml
COPY sam2_ros_msgs/package.xml src/sam2_ros/sam2_ros_msgs/package.xml
# hadolint ignore=DL3008
RUN echo 'APT::Install-Recommends "false";' > /etc/apt/apt.conf.d/90no-recommends \
 && apt-get update \
 && apt-get install -y --no-install-recommends python3-venv \
 && rosdep update --rosdistro "${ROS_DISTRO}" \
 && rosdep install -y --ignore-src --from-paths src src/sam2_ros/sam2_ros_msgs \
 && rm -rf /var/lib/apt/lists/* /root/.ros

# PyTorch's requirement, as in the Makefile; PyPI's wheels for x86-64 Linux bring CUDA.
ARG TORCH=torch==2.13.0
# numpy<2: apt's cv_bridge and OpenCV are built against NumPy 1 in Humble, Jazzy and Kilted.
# setuptools: the versions on which PyTorch and colcon agree.
RUN python3 -m venv --system-site-packages /opt/venv \
 && /opt/venv/bin/pip install --no-cache-dir "${TORCH}" "numpy<2" "setuptools>=77.0.3,<80" \
        "rosbags>=0.11" backports.zstd huggingface_hub jinja2 matplotlib-fontja psutil pycocotools rich safetensors typer

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

# 24.04 has a user 1000 already.
ARG UID=1000
RUN if id ubuntu; then userdel --remove ubuntu; fi \
 && useradd --create-home --uid "${UID}" robot \
 && install --directory --owner robot /models
COPY --chmod=755 docker/entrypoint.sh docker/healthcheck.sh /
# Official checkpoints: -v ~/.cache/sam2_ros:/models
ENV SAM2_ROS_MODELS=/models
USER ${UID}
ENTRYPOINT ["/entrypoint.sh"]
# Once a minute, since each check starts a Python. For the command below; for others: --no-healthcheck.
HEALTHCHECK --interval=60s --timeout=30s --start-period=180s CMD ["/healthcheck.sh"]
CMD ["ros2", "launch", "sam2_ros", "sam2.launch.py"]
