# SPDX-License-Identifier: Apache-2.0
"""Training SAM 2 models: losses, prompt simulation, the loop. Does not know the tracker, ROS or checkpoints' URLs."""
