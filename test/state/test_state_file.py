# SPDX-License-Identifier: Apache-2.0
"""State files: what is written is read back exactly, and anything else is refused with one line."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from matching_models import matching_model, moving_boxes
from safetensors.torch import load, save, save_file

from sam2_ros.engine import Prompt, Tracker, TrackerConfig
from sam2_ros.errors import UserError
from sam2_ros.state.identity import ModelIdentity
from sam2_ros.state.saved_state import SavedState
from sam2_ros.state.state_file import read_state, write_state

FRAMES = moving_boxes(12)[0]
BOXES = {"a": (10.0, 10, 50, 60), "b": (60.0, 40, 110, 100)}
SETTINGS = TrackerConfig(max_objects=3, memory_policy="official")


@pytest.fixture(scope="module")
def model():
    return matching_model()


@pytest.fixture(scope="module")
def identity(model) -> ModelIdentity:
    return ModelIdentity.of(model)


def begun(model) -> Tracker:
    tracker = Tracker(model, SETTINGS)
    tracker.step(FRAMES[0], [Prompt("gone", box=BOXES["a"])])
    tracker.remove("gone")
    for index in range(1, 6):
        tracker.step(FRAMES[index], [Prompt(i, box=b) for i, b in BOXES.items()] if index == 1 else [])
    return tracker


@pytest.fixture
def file(model, identity, tmp_path) -> Path:
    path = tmp_path / "state.safetensors"
    write_state(path, SavedState.of(begun(model), identity))
    return path


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_state(path)
    text = str(caught.value)
    assert "\n" not in text
    assert str(path) in text
    return text


def test_tracking_goes_on_from_a_file_bit_for_bit(model, identity, tmp_path):
    tracker = begun(model)
    path = tmp_path / "state.safetensors"
    size = write_state(path, SavedState.of(tracker, identity))
    assert size == path.stat().st_size
    expected = [tracker.step(frame, stamp_s=index / 10) for index, frame in enumerate(FRAMES[6:])]
    other = Tracker(model, SETTINGS)
    assert read_state(path).restore(other, identity) == {}
    for index, (frame, wanted) in enumerate(zip(FRAMES[6:], expected, strict=True)):
        found = other.step(frame, stamp_s=index / 10)
        assert found.frame_index == wanted.frame_index
        for one, two in zip(found.objects, wanted.objects, strict=True):
            assert np.array_equal(one.logits, two.logits)
            assert (one.id, one.label, one.state, one.presence, one.age_s) == (
                two.id,
                two.label,
                two.state,
                two.presence,
                two.age_s,
            )


def test_labels_of_objects_that_are_gone_are_not_given_again(model, identity, file):
    other = Tracker(model, SETTINGS)
    read_state(file).restore(other, identity)
    assert [(t.id, t.label) for t in other.tracks] == [("a", 2), ("b", 3)]
    other.reset()
    other.step(FRAMES[0], [Prompt("new", box=BOXES["a"])])
    assert other.tracks["new"].label == 4


def test_objects_of_one_frame_have_its_keys_once(model, identity, tmp_path):
    tracker = begun(model)
    both, one = (tmp_path / name for name in ("both", "one"))
    write_state(both, SavedState.of(tracker, identity))
    write_state(one, SavedState.of(tracker, identity, ["a"]))
    keys = tracker.bank.stores[-1].tensors[0]
    frames = 1 + model.config.matching.recents
    assert both.stat().st_size - one.stat().st_size < keys[0, 0].nbytes * frames


def test_some_objects_can_be_taken_out_of_a_file(file):
    state = read_state(file)
    assert state.only(["b"]).ids == ["b"]
    with pytest.raises(UserError, match=r"no object 'c'.*holds a, b"):
        state.only(["c"])


@pytest.mark.parametrize("cut", [0, 4, 100, -1])
def test_a_truncated_file_is_refused(file, cut):
    content = file.read_bytes()
    file.write_bytes(content[:cut])
    assert "damaged" in refusal(file)


def test_any_changed_byte_is_noticed(file):
    content = bytearray(file.read_bytes())
    rng = np.random.default_rng(0)
    size = int.from_bytes(content[:8], "little")
    places = [*rng.integers(8 + size, len(content), 20).tolist(), *rng.integers(8, 8 + size, 40).tolist()]
    for place in places:
        changed = bytearray(content)
        changed[place] ^= 0x15
        file.write_bytes(changed)
        refusal(file)


def edited(path: Path, change, keep_checksum: bool = False) -> Path:
    """The file with another header, as another program might write it: its checksum agrees."""
    from sam2_ros.state.state_file import _checksum

    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    about, tensors = json.loads(content[8 : 8 + size])["__metadata__"], load(content)
    state = json.loads(about["state"])
    change(about, state, tensors)
    about["state"] = json.dumps(state)
    about["checksum"] = _checksum(about["state"], tensors)
    path.write_bytes(save(tensors, about))
    return path


def test_a_newer_version_is_refused_by_its_number(file):
    edited(file, lambda about, state, tensors: about.update(version="2"))
    assert "has version 2 of the format; this sam2_ros reads version 1" in refusal(file)


def test_other_safetensors_and_other_files_are_refused(tmp_path):
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(save({"a": torch.zeros(3)}, {"config": "{}"}))
    assert "of another kind" in refusal(weights)
    text = tmp_path / "notes.txt"
    text.write_text("a cup on a table, and much more of it")
    assert "not a state file" in refusal(text)
    assert "does not exist" in refusal(tmp_path / "nothing")
    assert "does not exist, or is not a file" in refusal(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert "is not a file" in refusal(tmp_path / "pipe")


def set_nan(about, state, tensors):
    name = next(name for name in tensors if "pointers" in name)
    tensors[name][0] = float("nan")


def drop_tensor(about, state, tensors):
    tensors.pop(next(name for name in tensors if "values" in name))


CHANGES = {
    "nan": set_nan,
    "a tensor is missing": drop_tensor,
    "same label": lambda about, state, tensors: state["objects"][0].update(label=3),
    "same id": lambda about, state, tensors: state["objects"][0].update(id="b"),
    "label 0": lambda about, state, tensors: state["objects"][0].update(label=0),
    "no id": lambda about, state, tensors: state["objects"][0].update(id=""),
    "label that will be given": lambda about, state, tensors: state.update(next_label=3),
    "unknown state": lambda about, state, tensors: state["objects"][0].update(state="FLYING"),
    "time nan": lambda about, state, tensors: state["objects"][0].update(last_visible_s=float("nan")),
    "frame ahead": lambda about, state, tensors: state["objects"][0]["memories"][0].update(frames=[5]),
    "objects is a text": lambda about, state, tensors: state.update(objects="none"),
    "no model": lambda about, state, tensors: state.pop("model"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_impossible_values_are_refused(file, change):
    assert "damaged" in refusal(edited(file, change))


def test_another_model_and_other_weights_are_refused_and_nothing_changes(model, identity, file):
    state, tracker = read_state(file), begun(model)
    before = tracker.object_ids
    larger = replace(identity, image_size=448)
    with pytest.raises(UserError, match=r"model nano 2.1 at 128 px, and this one is nano 2.1 at 448 px"):
        state.restore(tracker, larger)
    other = ModelIdentity.of(matching_model(presence_bias=2.0))
    assert other != identity
    with pytest.raises(UserError, match="with other weights"):
        state.restore(tracker, other)
    assert tracker.object_ids == before


def test_tensors_of_another_shape_are_refused(model, identity, file):
    def narrow(about, state, tensors):
        for name in tensors:
            if "pointers" in name:
                tensors[name] = tensors[name][:-1].contiguous()

    state = read_state(edited(file, narrow))
    tracker = Tracker(model, SETTINGS)
    with pytest.raises(UserError, match=r"object 'a' has memories of shapes"):
        state.restore(tracker, identity)
    assert tracker.object_ids == []


def test_weights_are_the_same_in_every_precision():
    from sam2_ros.weights.load import load_model

    one, two = (ModelIdentity.of(load_model("nano", "cpu", precision)) for precision in ("fp32", "bf16"))
    assert one == two


def test_a_folder_that_cannot_be_written_is_one_line_and_the_old_file_stays(model, identity, file):
    before = file.read_bytes()
    state = SavedState.of(begun(model), identity)
    for path in (Path("/proc/state.safetensors"), file.parent / "no" / "state"):
        with pytest.raises(UserError, match="cannot be written"):
            write_state(path, state)
    assert file.read_bytes() == before
    assert [each.name for each in file.parent.iterdir()] == [file.name]


def test_what_is_no_state_file_is_not_replaced(model, identity, file, tmp_path):
    state, notes, link = SavedState.of(begun(model), identity), tmp_path / "notes.txt", tmp_path / "link"
    notes.write_text("by hand")
    link.symlink_to(notes)
    weights = tmp_path / "weights.safetensors"
    save_file({"weight": torch.ones(3)}, weights, {"format": "pt"})
    before = weights.read_bytes()
    for path in (notes, link, weights, tmp_path):
        with pytest.raises(UserError, match="is no state file, which is not replaced"):
            write_state(path, state)
    assert (notes.read_text(), link.is_symlink(), weights.read_bytes()) == ("by hand", True, before)
    file.write_bytes(file.read_bytes()[:-100])  # one that was cut is still ours
    write_state(file, state)
    assert read_state(file).ids == ["a", "b"]


def test_a_full_disk_leaves_the_old_file(model, identity, small_disk):
    path, filler = small_disk / "state.safetensors", small_disk / "filler"
    filler.write_bytes(bytes(90_000))
    write_state(path, SavedState.of(Tracker(model, SETTINGS), identity))
    before = path.read_bytes()
    with pytest.raises(UserError, match=os.strerror(errno.ENOSPC)):
        write_state(path, SavedState.of(begun(model), identity))
    assert path.read_bytes() == before
    assert set(small_disk.iterdir()) == {path, filler}
