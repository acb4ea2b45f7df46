# SPDX-License-Identifier: Apache-2.0
"""Policy `motion`: the Kalman filter follows boxes, and its prediction decides between candidates."""

from __future__ import annotations

import numpy as np
from policy_scenes import clip, track, tracker

from sam2_ros.engine import Prompt
from sam2_ros.engine.policies.motion import GOOD_FRAMES, Motion, moved, predicted_box, started, updated
from sam2_ros.engine.policies.policy import box_iou


def test_the_filter_predicts_a_box_that_moves_evenly():
    mean, covariance = started((10, 20, 30, 60))
    for frame in range(1, 20):
        mean, covariance = moved(
            *updated(mean, covariance, (10 + 3 * frame, 20 + frame, 30 + 3 * frame, 60 + frame))
        )
    assert box_iou(predicted_box(mean), (70, 40, 90, 80)) > 0.9


def test_a_candidate_where_the_object_is_expected_wins_over_a_slightly_better_one_elsewhere():
    mean, covariance = started((20, 20, 40, 40))
    state = [float(GOOD_FRAMES), *mean, *covariance.ravel()]
    masks = np.zeros((4, 112, 112), bool)
    masks[0, 80:100, 80:100] = masks[1, 20:40, 20:40] = True
    assert Motion().choose_mask(state, masks, [0.80, 0.75, 0.1, 0.1]) == 1
    assert Motion().choose_mask(state, masks, [0.95, 0.75, 0.1, 0.1]) == 0
    assert Motion().choose_mask([0.0, *state[1:]], masks, [0.80, 0.75, 0.1, 0.1]) is None


def test_motion_has_a_say_only_after_fifteen_good_frames(model):
    scene = clip(frames=20)
    plain, one = tracker(model), tracker(model, "motion")
    prompts = {0: [Prompt("a", mask=scene.masks[0, 0])]}
    same = [
        np.array_equal(a.objects[0].logits, b.objects[0].logits)
        for a, b in zip(track(plain, scene.frames, prompts), track(one, scene.frames, prompts), strict=True)
    ]
    assert all(same[: GOOD_FRAMES + 1])
    assert not all(same)
    assert one.tracks["a"].policy_state["motion"][0] == GOOD_FRAMES
