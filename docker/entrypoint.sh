#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Sources ROS 2 and the workspace, then replaces itself by the command, so that the command gets Docker's signals.
set -e
source "/opt/ros/${ROS_DISTRO}/setup.bash"
source /ws/install/setup.bash
exec "$@"
