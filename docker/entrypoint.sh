#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Gives a command ROS 2 and the workspace, then becomes that command, so that it gets Docker's signals itself.
set -e
source "/opt/ros/${ROS_DISTRO}/setup.bash"
source /ws/install/setup.bash
exec "$@"
