# SPDX-License-Identifier: Apache-2.0
"""The SAM 2 model and the streaming tracker, in plain PyTorch. Knows nothing of ROS, files or the web."""

from .config import ModelConfig, config_for
from .everything import EverythingConfig, FoundMask, segment_everything
from .image_segmenter import ImagePrediction, ImageSegmenter
from .model.sam2 import Sam2Model
from .prompt import MAX_POINTS, Prompt, PromptError
from .result import FrameResult, ObjectState, TrackedObject
from .tracker import Tracker
from .tracker_config import TrackerConfig

__all__ = [
    "MAX_POINTS",
    "EverythingConfig",
    "FoundMask",
    "FrameResult",
    "ImagePrediction",
    "ImageSegmenter",
    "ModelConfig",
    "ObjectState",
    "Prompt",
    "PromptError",
    "Sam2Model",
    "TrackedObject",
    "Tracker",
    "TrackerConfig",
    "config_for",
    "segment_everything",
]
