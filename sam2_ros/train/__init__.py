# SPDX-License-Identifier: Apache-2.0
"""Training of SAM 2 models: losses, simulated prompts, training loops. Knows neither ROS nor checkpoints' URLs."""
