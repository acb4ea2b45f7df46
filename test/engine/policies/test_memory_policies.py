# SPDX-License-Identifier: Apache-2.0
"""Policies that decide which frames are remembered: each changes a scene's memories, which are others without it."""

from __future__ import annotations

import numpy as np
import pytest
from policy_scenes import SIDE, clip, recents, track, tracker

from sam2_ros.engine import Prompt
from sam2_ros.engine.memory_slots import EMPTY


@pytest.mark.parametrize(("policy", "remembered"), [("official", [4, 5]), ("cross-object", [])])
def test_of_two_tracks_on_one_thing_the_less_certain_one_stops_writing(model, policy, remembered):
    scene = clip(frames=6)
    whole = scene.masks[0, 0]
    rows = np.nonzero(whole)[0]
    part = whole & (np.arange(SIDE)[:, None] < np.median(rows))  # half of the thing: a poor prompt
    one = tracker(model, policy)
    track(one, scene.frames, {0: [Prompt("whole", mask=whole), Prompt("part", mask=part)]})
    assert recents(one, "whole") == [4, 5]
    assert recents(one, "part") == remembered


@pytest.mark.parametrize(("policy", "remembered"), [("official", [6, 7]), ("scene-cut", [7])])
def test_after_a_cut_nothing_is_adopted_on_the_first_frame(model, policy, remembered):
    before, after = clip(3, 6), clip(11, 3)
    frames = np.concatenate([before.frames, after.frames[:2]])
    one = tracker(model, policy)
    results = track(one, frames, {0: [Prompt("a", mask=before.masks[0, 0])]})
    assert all(result.objects[0].visible for result in results), (
        "the model takes another thing for the object"
    )
    assert recents(one, "a") == remembered


def test_scene_cut_remembers_again_once_the_object_is_found(model):
    scene, other = clip(3, 6), clip(11, 3)
    frames = np.concatenate([scene.frames, other.frames[:2], scene.frames[:5]])
    one = tracker(model, "scene-cut")
    track(one, frames, {0: [Prompt("a", mask=scene.masks[0, 0])]})
    assert recents(one, "a") == [11, 12]


def test_a_calm_stream_has_no_cuts(model):
    scene = clip(frames=10)
    one, plain = tracker(model, "scene-cut"), tracker(model)
    prompts = {0: [Prompt("a", mask=scene.masks[0, 0])]}
    for a, b in zip(track(one, scene.frames, prompts), track(plain, scene.frames, prompts), strict=True):
        assert np.array_equal(a.objects[0].logits, b.objects[0].logits)


@pytest.mark.parametrize(("policy", "remembered"), [("official", [10, 11]), ("distractors", [6, 11])])
def test_distractors_keeps_recent_memories_apart(model, policy, remembered):
    scene = clip(frames=12)
    one = tracker(model, policy)
    track(one, scene.frames, {0: [Prompt("a", mask=scene.masks[0, 0])]})
    assert recents(one, "a") == remembered


@pytest.mark.parametrize("policy", ["official", "distractors"])
def test_distractors_anchors_frames_with_a_look_alike_and_prompts_stay(model, policy):
    scene = clip(41, 24, twins=1.0)
    one = tracker(model, policy)
    track(one, scene.frames, {0: [Prompt(id, mask=scene.masks[0, i]) for i, id in enumerate("ab")]})
    anchors = [one.bank.anchors(one.tracks[id].row) for id in "ab"]
    assert (max(map(len, anchors)) > 0) == (policy == "distractors")
    for id, kept in zip("ab", anchors, strict=True):
        row = one.tracks[id].row
        fixed = one.bank.spatial_frame[row, : one.bank.conditioning]
        assert sorted(fixed[fixed != EMPTY]) == [0, *kept]
        assert not one.take_back(id, kept[0] if kept else 99)


@pytest.mark.parametrize("policy", ["official", "quality"])
def test_a_poor_recent_frame_is_replaced_first(model, policy):
    scene = clip(frames=9)
    noise = np.random.default_rng(0).integers(0, 255, scene.frames[0].shape, dtype=np.uint8)
    frames = scene.frames.copy()
    frames[6] = (0.4 * frames[6] + 0.6 * noise).astype(np.uint8)
    one = tracker(model, policy)
    results = track(one, frames[:8], {0: [Prompt("a", mask=scene.masks[0, 0])]})
    poor = results[6].objects[0]
    assert poor.presence > 0
    assert poor.score < 0.5
    assert recents(one, "a") == ([6, 7] if policy == "official" else [5, 7])


@pytest.mark.parametrize("policy", ["official", "appearance"])
def test_what_comes_back_looking_different_is_not_remembered(model, policy):
    scene, other = clip(3, 10), clip(11, 10)
    grey = np.full_like(scene.frames[:5], 128)
    frames = np.concatenate([scene.frames[:4], grey, other.frames[:2]])
    one = tracker(model, policy)
    results = track(one, frames, {0: [Prompt("a", mask=scene.masks[0, 0])]})
    assert all(result.objects[0].presence < 0 for result in results[4:9])
    shown = [i for i in (9, 10) if results[i].objects[0].visible]
    assert shown
    assert [f for f in recents(one, "a") if f >= 9] == (shown if policy == "official" else [])
