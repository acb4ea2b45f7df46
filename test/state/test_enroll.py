# SPDX-License-Identifier: Apache-2.0
"""Enrolment: an object is learnt from images, and found by another tracker, on another camera, or not at all."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sam2_ros.engine import ObjectState, Prompt, Tracker, TrackerConfig
from sam2_ros.errors import UserError
from sam2_ros.state.enroll import enroll
from sam2_ros.state.identity import ModelIdentity
from sam2_ros.state.state_file import read_state, write_state
from sam2_ros.synthetic.demo import DEMO_SEED, demo_scene
from sam2_ros.synthetic.scene import CameraMotion, Scene
from sam2_ros.weights.load import load_model

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def model():
    return load_model("nano", "cpu")


@pytest.fixture(scope="module")
def identity(model) -> ModelIdentity:
    return ModelIdentity.of(model)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return demo_scene(np.random.default_rng(DEMO_SEED))


def view(scene: Scene, t: int, label: int) -> tuple[np.ndarray, np.ndarray]:
    """Frame ``[H, W, 3]`` and the mask ``[H, W]`` of a labelled object."""
    frame, owner = scene.draw(t)
    return frame, owner == scene.labels.index(label) + 1


class SecondCamera(CameraMotion):
    """Sees the same things from elsewhere: nearer, rolled by 15 degrees, from the side."""

    def matrix(self, t: int) -> np.ndarray:
        angle, zoom = np.radians(15), 1.25
        cos, sin = zoom * np.cos(angle), zoom * np.sin(angle)
        linear, centre = np.array([[cos, -sin], [sin, cos]]), np.array([self.width_px, self.height_px]) / 2
        offset = centre - linear @ centre + (30, -20)
        return np.vstack([np.column_stack([linear, offset]), [0, 0, 1]]) @ super().matrix(t)


def second_camera(scene: Scene) -> Scene:
    return replace(scene, camera=SecondCamera(**vars(scene.camera)))


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / max(1, (a | b).sum()))


@pytest.mark.parametrize("label", [0, 1])
def test_an_object_of_one_camera_is_found_by_another_one(model, identity, scene, label, tmp_path):
    images, masks = zip(*(view(scene, t, label) for t in (0, 6)), strict=True)
    prompts = [Prompt("x", mask=mask) for mask in masks]
    path = tmp_path / "cup.safetensors"
    write_state(path, enroll(model, identity, images, prompts, "cup"))

    other, camera = Tracker(model, TrackerConfig(max_objects=2)), second_camera(scene)
    assert read_state(path).restore(other, identity, seek=True) == {}
    assert overlap(view(camera, 6, label)[1], masks[1]) < 0.6  # it is elsewhere in this image
    overlaps, states = [], []
    for t in range(10, 16):
        frame, truth = view(camera, t, label)
        (cup,) = other.step(frame).objects
        assert cup.id == "cup"
        states.append(cup.state)
        overlaps.append(overlap(cup.mask, truth))
    assert states == [ObjectState.PENDING] + [ObjectState.TRACKING] * 5
    assert min(overlaps[1:]) > 0.7, overlaps


def test_it_is_not_found_where_it_was_taken_away(model, identity, scene):
    frame, mask = view(scene, 0, 0)
    state = enroll(model, identity, [frame], [Prompt("x", mask=mask)], "cup")
    without = replace(scene, layers=tuple(each for each in scene.layers if each.label != 0))
    tracker = Tracker(model, TrackerConfig(max_objects=2))
    state.restore(tracker, identity, seek=True)
    for t in range(6):
        (cup,) = tracker.step(without.draw(t)[0]).objects
        assert (cup.state, cup.area_px) == (ObjectState.PENDING, 0)


def test_a_file_of_an_enrolled_object_has_no_recent_memory_and_no_place_in_time(model, identity, scene):
    frame, mask = view(scene, 0, 0)
    state = enroll(model, identity, [frame, frame], [Prompt("x", mask=mask)] * 2, "cup")
    (stored,) = state.objects
    assert (stored.id, stored.label, state.next_label, stored.sought) == ("cup", 1, 2, True)
    assert all(kind.prompted.all() for kind in stored.memories)
    assert [len(kind.frames) for kind in stored.memories] == [2, 2, 2]


def test_what_cannot_be_enrolled_is_refused(model, identity, scene):
    frame, mask = view(scene, 0, 0)
    prompt = Prompt("x", mask=mask)
    with pytest.raises(UserError, match="2 images and 1 prompts"):
        enroll(model, identity, [frame, frame], [prompt], "cup")
    with pytest.raises(UserError, match="expected at most max_conditioning_frames = 4"):
        enroll(model, identity, [frame] * 5, [prompt] * 5, "cup")
    with pytest.raises(UserError, match="outside"):
        enroll(model, identity, [frame], [Prompt("x", box=(9000.0, 0, 9100, 50))], "cup")
