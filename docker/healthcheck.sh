#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Healthy if the node reports that it is active. Another name of the node: docker run -e SAM2_NODE=/robot1/sam2.
set -eo pipefail
/entrypoint.sh ros2 lifecycle get --no-daemon --spin-time 2 "${SAM2_NODE:-/sam2}" | grep --quiet '^active'
