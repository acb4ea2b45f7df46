# SPDX-License-Identifier: Apache-2.0
"""Drop-in replacement for `Matching`, whose products run in onnxruntime: one call for each past frame.

Adds the sums of the frames. Does not know how frames are stored.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from sam2_ros.engine.model.matching import DenseEvidence, Found, MatchFrames, MatchView, evidence_from

from .layout import ExportLayout
from .padding import pad_with_zeros
from .sessions import StageSession


class OnnxMatching(nn.Module):
    """Reads any number of frames for at most as many objects as were exported."""

    def __init__(self, sessions: Mapping[str, StageSession], layout: ExportLayout) -> None:
        super().__init__()
        self._sessions, self._objects = sessions, layout.objects

    def read(self, keys_nc: torch.Tensor, view: MatchView) -> torch.Tensor:
        """As `Matching.read`."""
        prompted = self._search("matching_prompted", keys_nc, view.prompted)
        return evidence_from(prompted, self._search("matching_recent", keys_nc, view.recent))

    def embedding(self, evidence_b6hw: torch.Tensor) -> DenseEvidence:
        """As `Matching.embedding`."""
        padded = pad_with_zeros(evidence_b6hw, self._objects)
        parts = self._sessions["matching_embedding"]({"evidence": padded})
        return DenseEvidence(*(part[: len(evidence_b6hw)] for part in parts))

    def _search(self, stage: str, keys_nc: torch.Tensor, frames: MatchFrames) -> Found:
        b, _, n = frames.values_bfn.shape
        covered, total = torch.zeros(b, n), torch.zeros(b, n)
        for f, past_keys in enumerate(frames.keys_fnc):
            masks = pad_with_zeros(frames.values_bfn[:, f].float(), self._objects)
            found, weights = self._sessions[stage](
                {"keys": keys_nc, "past_keys": past_keys.float(), "masks": masks}
            )
            valid = frames.valid_bf[:, f, None]
            covered += valid * found[:b]
            total += valid * weights
        return Found(covered, total)
