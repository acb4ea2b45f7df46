# SPDX-License-Identifier: Apache-2.0
"""Chooses at random which frames of a batch are prompted and corrected in fine-tuning (SAM 2 paper, section D.2.2).

Knows the settings; does not know masks or the model.
"""

from __future__ import annotations

import numpy as np

from sam2_ros.train.prompts import PromptPlan
from sam2_ros.train.train_config import FinetuneConfig


def draw_plan(rng: np.random.Generator, config: FinetuneConfig, visible_tm: np.ndarray) -> PromptPlan:
    """A random plan for a batch. Further conditioning frames are frames on which every object is visible."""
    shares = (config.mask_share, config.click_share, max(0.0, config.box_share))
    kind = str(rng.choice(("mask", "click", "box"), p=np.array(shares) / sum(shares)))
    whole = np.flatnonzero(visible_tm.all(axis=1))
    whole = whole[whole > 0]
    more = min(int(rng.integers(config.conditioning_frames)), len(whole))
    conditioning = (0, *sorted(rng.choice(whole, more, replace=False).tolist()))
    if kind == "mask" or not config.corrected_frames or not config.correction_clicks:
        return PromptPlan(kind, conditioning)
    others = np.setdiff1d(np.arange(len(visible_tm)), conditioning)
    wanted = int(rng.integers(1, config.corrected_frames + 1))
    extra = min(max(0, wanted - len(conditioning)), len(others))
    corrected = (*conditioning[:wanted], *sorted(rng.choice(others, extra, replace=False).tolist()))
    return PromptPlan(kind, conditioning, corrected, config.correction_clicks)
