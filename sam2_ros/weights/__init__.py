# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: the known models, where their files are, and how they are downloaded, verified and loaded."""

from sam2_ros.errors import CheckpointError

from .catalogue import ModelInfo, find_checkpoint, list_models
from .load import load_model

__all__ = ["CheckpointError", "ModelInfo", "find_checkpoint", "list_models", "load_model"]
