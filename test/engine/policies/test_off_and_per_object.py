# SPDX-License-Identifier: Apache-2.0
"""Policies that are off change nothing; each object has its own; wrong names are refused."""

from __future__ import annotations

import numpy as np
import pytest
from policy_scenes import clip, track, tracker

from sam2_ros.engine import Prompt, Tracker, TrackerConfig
from sam2_ros.engine.policies.names import POLICIES, policies_of
from sam2_ros.errors import CheckpointError


@pytest.mark.parametrize("entries", [("official",), ("c:distractors", "c:quality"), ("official", "c:motion")])
def test_an_object_without_policies_gets_the_same_bits(model, entries):
    scene = clip()
    prompts = {0: [Prompt("a", mask=scene.masks[0, 0])], 3: [Prompt("b", mask=scene.masks[3, 1])]}
    plain = Tracker(model, TrackerConfig(max_objects=2, policies=("official",)))
    other = tracker(model, *entries)
    for one, two in zip(
        track(plain, scene.frames, prompts), track(other, scene.frames, prompts), strict=True
    ):
        for a, b in zip(one.objects, two.objects, strict=True):
            assert np.array_equal(a.logits, b.logits)
            assert (a.score, a.presence, a.state) == (b.score, b.presence, b.state)
    for store, same in zip(plain.bank.stores, other.bank.stores, strict=True):
        assert np.array_equal(store.frames, same.frames)


def test_policies_keep_numbers_of_bounded_length_that_a_snapshot_brings_back(model):
    scene = clip(frames=16)
    one = tracker(model, *POLICIES)
    track(one, scene.frames, {0: [Prompt(id, mask=scene.masks[0, i]) for i, id in enumerate("ab")]})
    state = {name: list(numbers) for name, numbers in one.tracks["a"].policy_state.items()}
    snapshot = one.snapshot()
    sizes = {name: len(numbers) for name, numbers in state.items()}
    first = track(one, scene.frames[::-1])
    assert {name: len(numbers) for name, numbers in one.tracks["a"].policy_state.items()} == sizes
    one.restore(snapshot)
    assert one.tracks["a"].policy_state == state
    again = track(one, scene.frames[::-1])
    for a, b in zip(first, again, strict=True):
        assert all(np.array_equal(x.logits, y.logits) for x, y in zip(a.objects, b.objects, strict=True))


def test_an_object_with_entries_of_its_own_has_no_others():
    entries = ("quality", "scene-cut", "cup:motion", "box:official")
    assert policies_of(entries, "ball") == ("scene-cut", "quality")
    assert policies_of(entries, "cup") == ("motion",)
    assert policies_of(entries, "box") == ()


@pytest.mark.parametrize("entries", [("samurai",), ("cup:",), ("official", "quality")])
def test_wrong_names_are_refused_with_what_was_expected(entries):
    with pytest.raises(ValueError, match="expected"):
        TrackerConfig(policies=entries)


def test_verify_needs_a_matching_memory():

    from compiled_streams import smallest

    with pytest.raises(CheckpointError, match="'verify': expected a model with a matching memory"):
        Tracker(smallest(), TrackerConfig(policies=("verify",)))
