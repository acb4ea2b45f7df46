# SPDX-License-Identifier: Apache-2.0
"""Backends that execute a model instead of PyTorch: onnxruntime. Does not know ROS or tracking."""
