# SPDX-License-Identifier: Apache-2.0
"""ROS messages as plain values, without a ROS installation. Knows no files and no topics."""
