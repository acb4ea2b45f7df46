# SPDX-License-Identifier: Apache-2.0
"""The frames of a source: decoded once into JPEGs that are found in constant time, and exact pixels for the tracker.

Knows sources and files. Knows no objects, no model and no HTTP.
"""

from .source_frames import SourceFrames
from .source_spec import DEMO, SourceSpec, describe

__all__ = ["DEMO", "SourceFrames", "SourceSpec", "describe"]
