# SPDX-License-Identifier: Apache-2.0
"""What executes a model in the place of PyTorch: onnxruntime. Knows neither ROS nor how a stream is followed."""
