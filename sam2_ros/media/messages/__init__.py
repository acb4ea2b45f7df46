# SPDX-License-Identifier: Apache-2.0
"""ROS messages as plain values, without a ROS installation. Knows nothing of files and topics."""
