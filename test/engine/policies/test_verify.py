# SPDX-License-Identifier: Apache-2.0
"""Policy `verify`: the mask of the right thing leads back to the first frame, that of another one does not."""

from __future__ import annotations

import pytest
import torch
from policy_scenes import clip, track, tracker

from sam2_ros.engine import Prompt
from sam2_ros.engine.policies.policy import Policy
from sam2_ros.engine.policies.runner import _BY_NAME
from sam2_ros.engine.preprocess import resize_mask


class _Eager(Policy):
    """Promotes every frame."""

    name = "eager"

    def promote(self, state, seen):
        return True


@pytest.mark.parametrize(("others", "promoted"), [((), [True, True]), (("verify",), [True, False])])
@torch.inference_mode()
def test_a_frame_is_promoted_only_if_its_mask_leads_back_to_the_object(model, others, promoted):
    scene = clip(frames=4)
    one = tracker(model, "distractors", *others)
    track(one, scene.frames, {0: [Prompt("a", mask=scene.masks[0, 0])]})
    last, row, runner = one._last, one.tracks["a"].row, one._policies
    assert last is not None
    runner._policies[row] = (_Eager(), *(_BY_NAME[name] for name in others))
    found = []
    for thing in (0, 1):  # as if the object had been tracked into its own place, or that of the other thing
        mask = resize_mask(scene.masks[3, thing], model.config.image_size, model.device)
        runner.judge(last, {row: model.mask_as_output(mask, last.features)}, (), one.tracks)
        found.append(runner.verdict(row).promote)
    assert found == promoted
