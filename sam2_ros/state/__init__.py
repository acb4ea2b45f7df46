# SPDX-License-Identifier: Apache-2.0
"""State files: objects with labels and memory that outlive the process. Knows the engine; no ROS, no images."""
