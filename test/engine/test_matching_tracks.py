# SPDX-License-Identifier: Apache-2.0
"""The tracker with a matching memory: every object keeps its masks with the keys of the frames they are from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from matching_models import matching_model, moving_boxes

from sam2_ros.engine import (
    EverythingConfig,
    ImageSegmenter,
    Prompt,
    Sam2Model,
    Tracker,
    TrackerConfig,
    segment_everything,
)
from sam2_ros.engine.adoption import adopt
from sam2_ros.engine.kernels.prepare import prepare
from sam2_ros.engine.preprocess import preprocess
from sam2_ros.engine.warm_up import warm_up

SIZE, COUNT = 128, 12


@pytest.fixture(scope="module")
def model() -> Sam2Model:
    return matching_model(SIZE, rivals=False)


@pytest.fixture(scope="module")
def scene() -> tuple[np.ndarray, np.ndarray]:
    return moving_boxes(COUNT, SIZE)


@pytest.fixture(scope="module")
def keys(model: Sam2Model, scene) -> torch.Tensor:
    """Keys of every frame of the scene, as the bank stores them."""
    with torch.inference_mode():
        images = [preprocess(frame, SIZE, "image", model.device) for frame in scene[0]]
        return torch.cat([model.encode_image(image).keys for image in images]).bfloat16()


def make(model: Sam2Model, **settings) -> Tracker:
    return Tracker(model, TrackerConfig(memory_policy="official", max_objects=3, **settings))


def mask(scene, frame: int, number: int, id: str = "") -> Prompt:
    return Prompt(id or "ab"[number], mask=scene[1][frame, number])


def follow(tracker: Tracker, scene, frames: Sequence[int], prompts=None) -> list[dict[str, np.ndarray]]:
    """Logits of every object on these frames of the scene."""
    results = [tracker.step(scene[0][frame], (prompts or {}).get(frame, ())) for frame in frames]
    return [{obj.id: obj.logits for obj in result.objects} for result in results]


def kept(tracker: Tracker, keys: torch.Tensor) -> tuple[list[list], list[list]]:
    """Frames in the view of the next frame: prompted and recent ones; of each its number in the scene, and which
    objects have a mask on it."""
    rows = [track.row for track in tracker.tracks]
    ids = [track.id for track in tracker.tracks]
    view = tracker.bank.match_view(rows, tracker.frame_index)
    found = []
    for frames in view:
        numbers = [[n for n, own in enumerate(keys) if torch.equal(own, frame)] for frame in frames.keys_fnc]
        assert all(len(number) == 1 for number in numbers), "keys of no frame, or of several"
        assert len({number[0] for number in numbers}) == len(numbers), "a frame is there twice"
        owners = [
            "".join(id for id, valid in zip(ids, column, strict=True) if valid)
            for column in frames.valid_bf.t()
        ]
        found.append(sorted([number[0], owner] for number, owner in zip(numbers, owners, strict=True)))
    return found[0], found[1]


def values(tracker: Tracker, id: str, keys_nc: torch.Tensor) -> torch.Tensor:
    """The mask of an object with these keys."""
    for frames in tracker.bank.match_view([tracker.tracks[id].row], tracker.frame_index):
        for index, own in enumerate(frames.keys_fnc):
            if torch.equal(own, keys_nc):
                return frames.values_bfn[0, index]
    raise AssertionError("no such frame")


def as_values(model: Sam2Model, logits: np.ndarray) -> torch.Tensor:
    return model.match_values(torch.as_tensor(logits)[None, None])[0].bfloat16()


def test_objects_share_the_frames_that_they_have_in_common(model, scene, keys) -> None:
    tracker = make(model)
    tracks = follow(tracker, scene, range(2), {0: [mask(scene, 0, 0)], 1: [mask(scene, 1, 1)]})
    assert kept(tracker, keys) == ([[0, "a"], [1, "b"]], [[1, "a"]])
    tracks += follow(tracker, scene, range(2, 7))
    assert kept(tracker, keys) == ([[0, "a"], [1, "b"]], [[5, "ab"], [6, "ab"]])
    for frame, ids in ((0, "a"), (1, "b"), (5, "ab"), (6, "ab")):
        for id in ids:
            expected = as_values(model, tracks[frame][id])
            torch.testing.assert_close(values(tracker, id, keys[frame]), expected, atol=0.01, rtol=0)


def test_a_frame_prompted_for_two_objects_is_there_once(model, scene, keys) -> None:
    tracker = make(model)
    follow(tracker, scene, range(3), {0: [mask(scene, 0, 0), mask(scene, 0, 1)], 2: [mask(scene, 2, 1)]})
    assert kept(tracker, keys) == ([[0, "ab"], [2, "b"]], [[1, "ab"], [2, "a"]])


def test_a_refined_frame_keeps_its_keys_and_gets_the_new_mask(model, scene, keys) -> None:
    tracker = make(model)
    follow(tracker, scene, range(4), {0: [mask(scene, 0, 0), mask(scene, 0, 1)]})
    before = values(tracker, "b", keys[3])
    result = tracker.refine([mask(scene, 3, 0)])
    assert kept(tracker, keys) == ([[0, "ab"], [3, "a"]], [[2, "ab"], [3, "b"]])
    logits = {obj.id: obj.logits for obj in result.objects}
    assert torch.equal(values(tracker, "a", keys[3]), as_values(model, logits["a"]))
    assert torch.equal(values(tracker, "b", keys[3]), before)
    tracker.refine([Prompt("new", box=(20, 20, 70, 70))])
    assert kept(tracker, keys)[0] == [[0, "ab"], [3, "anew"]]


def test_a_prompt_that_is_taken_back_leaves_a_tracked_frame(model, scene, keys) -> None:
    tracker = make(model)
    follow(tracker, scene, range(4), {0: [mask(scene, 0, 0)], 2: [mask(scene, 2, 0)]})
    assert kept(tracker, keys) == ([[0, "a"], [2, "a"]], [[3, "a"]])
    assert tracker.take_back("a", 2)
    assert kept(tracker, keys) == ([[0, "a"]], [[2, "a"], [3, "a"]])
    follow(tracker, scene, range(4, 6))
    assert kept(tracker, keys) == ([[0, "a"]], [[4, "a"], [5, "a"]])


def test_an_adopted_object_brings_its_frames(model, scene, keys) -> None:
    alone, behind, stream = make(model), make(model), make(model)
    follow(stream, scene, [11, 10], {11: [mask(scene, 11, 0, "old")]})
    given = {0: [mask(scene, 0, 0), mask(scene, 0, 1)]}
    for tracker in (alone, behind):
        follow(tracker, scene, range(5), given)
    for id in "ab":
        assert adopt(id, behind, stream) == ""
    assert kept(stream, keys) == ([[0, "ab"], [11, "old"]], [[3, "ab"], [4, "ab"], [10, "old"]])
    (expected,), (found,) = (follow(tracker, scene, [5]) for tracker in (alone, stream))
    for id in "ab":
        np.testing.assert_allclose(found[id], expected[id], atol=1e-3)
    assert kept(stream, keys)[1] == [[4, "ab"], [5, "oldab"], [10, "old"]]


def test_frames_of_equal_numbers_stay_apart(model, scene, keys) -> None:
    """A tracker that starts again counts frames from 0 again; objects adopted from both times are in one bank."""
    behind, stream = make(model), make(model)
    for number, frame in enumerate((3, 8)):
        behind.restart()
        follow(behind, scene, [frame], {frame: [mask(scene, frame, number)]})
        assert adopt("ab"[number], behind, stream) == ""
    assert kept(stream, keys)[0] == [[3, "a"], [8, "b"]]


def test_a_jump_of_the_stream_leaves_the_prompted_frames(model, scene, keys) -> None:
    tracker = make(model)
    follow(tracker, scene, range(4), {0: [mask(scene, 0, 0)]})
    tracker.discontinuity()
    assert kept(tracker, keys) == ([[0, "a"]], [])
    follow(tracker, scene, [9])
    assert kept(tracker, keys) == ([[0, "a"]], [[9, "a"]])


def test_a_new_object_in_the_row_of_another_starts_without_its_frames(model, scene, keys) -> None:
    tracker = make(model)
    follow(tracker, scene, range(3), {0: [mask(scene, 0, 0), mask(scene, 0, 1)]})
    row = tracker.tracks["a"].row
    tracker.remove("a")
    follow(tracker, scene, [3], {3: [mask(scene, 3, 0, "c")]})
    assert tracker.tracks["c"].row == row
    assert kept(tracker, keys) == ([[0, "b"], [3, "c"]], [[2, "b"], [3, "b"]])
    follow(tracker, scene, [4], {4: [Prompt("c", mask=scene[1][4, 0], replace=True)]})
    assert kept(tracker, keys)[0] == [[0, "b"], [4, "c"]]


def test_only_so_many_prompted_frames_are_kept(model, scene, keys) -> None:
    tracker = make(model, max_conditioning_frames=2)
    follow(tracker, scene, range(4), {frame: [mask(scene, frame, 0)] for frame in (0, 1, 3)})
    assert kept(tracker, keys)[0] == [[0, "a"], [3, "a"]]


def test_frames_without_the_object_are_not_searched(scene) -> None:
    """As in training. A mask prompt shows the object whatever the model thinks."""
    hidden = matching_model(SIZE, presence_bias=-20.0)
    tracker = make(hidden)
    follow(tracker, scene, range(4), {0: [mask(scene, 0, 0)]})
    view = tracker.bank.match_view([0], 4)
    assert view.prompted.valid_bf.tolist() == [[1.0]]
    assert view.recent.valid_bf.tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("numerics", ["stream", "official_vos"])
def test_objects_tracked_together_are_as_tracked_alone(model, scene, numerics: str) -> None:
    given = {0: [mask(scene, 0, 0)], 2: [mask(scene, 2, 1)], 5: [mask(scene, 5, 0)]}
    given[7] = [Prompt("b", points=np.array([[80.0, 80.0]]), labels=np.array([1]))]
    together = follow(make(model, numerics=numerics), scene, range(10), given)
    for id in "ab":
        own = {frame: [prompt for prompt in prompts if prompt.id == id] for frame, prompts in given.items()}
        alone = follow(make(model, numerics=numerics), scene, range(10), own)
        for frame, (found, expected) in enumerate(zip(together, alone, strict=True)):
            if id in expected:
                assert np.abs(found[id] - expected[id]).max() < 5e-3 * np.abs(expected[id]).max(), frame


def test_what_other_objects_match_counts_if_the_model_has_learned_it(scene) -> None:
    learned = matching_model(SIZE)
    given = {0: [mask(scene, 0, 0), mask(scene, 0, 1)]}
    together = follow(make(learned), scene, range(3), given)
    alone = follow(make(learned), scene, range(3), {0: given[0][:1]})
    assert np.abs(together[2]["a"] - alone[2]["a"]).max() > 1e-2


def test_the_bank_never_grows(model, scene) -> None:
    tracker = make(model)
    plain = Tracker(matching_model(SIZE), TrackerConfig(max_objects=1)).bank_bytes
    size = tracker.bank_bytes
    keys_and_masks = (4 + 2) * 4 * (SIZE // 16) ** 2 * (64 + 1) * 2
    assert plain > keys_and_masks
    for turn in range(5):
        follow(tracker, scene, range(COUNT), {0: [mask(scene, 0, 0), mask(scene, 0, 1)]})
        assert tracker.bank_bytes == size, turn
    assert len(tracker.bank.match_view([0, 1], tracker.frame_index).recent.keys_fnc) == 2


def test_matching_is_timed_and_warmed_up(model, scene) -> None:
    warm_up(model)
    tracker = make(model)
    results = [
        tracker.step(frame, [mask(scene, 0, 0)] if not n else []) for n, frame in enumerate(scene[0][:2])
    ]
    assert ["matching" in result.timings_ms for result in results] == [False, True]


def test_images_are_segmented(model, scene) -> None:
    segmenter, box = ImageSegmenter(model), (16.0, 16.0, 48.0, 48.0)
    segmenter.set_images(list(scene[0][:2]))
    together = segmenter.predict(box=box, image=1)
    segmenter.set_image(scene[0][1])
    alone = segmenter.predict(box=box)
    np.testing.assert_allclose(together.logits, alone.logits, atol=1e-2)
    tracked = make(model, numerics="official_vos").step(scene[0][1], [Prompt("a", box=box)])
    assert np.isfinite(tracked.objects[0].logits).all()
    found = segment_everything(
        model,
        scene[0][0],
        EverythingConfig(points_per_side=3, pred_iou_thresh=0.0, stability_score_thresh=0.0),
    )
    assert found


def test_half_precision_and_a_prepared_model_find_the_same(model, scene) -> None:
    """Evidence on the last of four frames, of which all before have true masks."""
    found = []
    for each in (
        model,
        prepare(model),
        prepare(matching_model(SIZE, rivals=False).for_inference(torch.bfloat16)),
    ):
        tracker = make(each)
        prompts = {t: [mask(scene, t, 0), mask(scene, t, 1)] for t in range(3)}
        follow(tracker, scene, range(4), prompts)
        found.append(torch.cat(list(tracker._last.evidence.values())))
    assert found[0].std() > 0.1
    assert (found[1] - found[0]).abs().max() < 1e-2
    assert (found[2] - found[0]).abs().mean() < 2e-2
