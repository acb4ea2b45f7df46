# SPDX-License-Identifier: Apache-2.0
"""The rendered test set: clips are reproducible, and each group has the difficulty that it is named after.

Knows nothing of models or scores.
"""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from sam2_ros.datasets.layouts import open_dataset
from sam2_ros.datasets.rendered import GROUPS, Group, is_rendered, rendered_sequences
from sam2_ros.media.frame_source import SourceError
from sam2_ros.synthetic.clip import ClipConfig
from sam2_ros.synthetic.drawing.textures import TextureBank
from sam2_ros.synthetic.render import render_clip

SMALL = ClipConfig(
    height_px=60,
    width_px=80,
    frames=6,
    objects=2,
    textures=TextureBank("demo", photographs=False),
    occluders=0,
)
TWO = {
    "plain": Group(replace(SMALL, hide_probability=0.0), (3,)),
    "cut": Group(replace(SMALL, cuts=1.0), (5,)),
}

with_photographs = pytest.mark.skipif(
    importlib.util.find_spec("skimage") is None, reason="the photographs come with scikit-image"
)


def test_a_sequence_is_reproducible_from_its_seed() -> None:
    plain, cut = rendered_sequences(groups=TWO)
    assert [(s.name, s.group, len(s), s.overlapping) for s in (plain, cut)] == [
        ("plain/1", "plain", 6, False),
        ("cut/1", "cut", 6, False),
    ]
    assert plain.first_frames == {"1": 0, "2": 0}
    clip = render_clip(5, TWO["cut"].config)
    for index in (0, 5, 2):
        image = cut.image(index)
        truth = cut.annotated(index, image)
        assert truth is not None
        np.testing.assert_array_equal(image, clip.frames[index])
        for number in (1, 2):
            np.testing.assert_array_equal(truth.mask(str(number)), clip.masks[index, number - 1])
        assert set(truth.masks) == {str(n + 1) for n in range(2) if clip.visible[index, n]}


def test_split_and_names_choose() -> None:
    assert [s.name for s in rendered_sequences("cut", groups=TWO)] == ["cut/1"]
    assert [s.name for s in rendered_sequences(names=["cut/1", "plain/1"], groups=TWO)] == [
        "cut/1",
        "plain/1",
    ]
    with pytest.raises(SourceError, match=r"split 'easy' .* expected one of plain, cut"):
        rendered_sequences("easy", groups=TWO)
    with pytest.raises(SourceError, match=r"sequence 'cut/9' .* expected one of plain/1, cut/1"):
        rendered_sequences(names=["cut/9"], groups=TWO)


def test_the_word_rendered_opens_the_set_unless_a_folder_has_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sequences = open_dataset(Path("rendered"))
    assert len(sequences) == sum(len(group.seeds) for group in GROUPS.values())
    assert not is_rendered(tmp_path / "rendered")
    (tmp_path / "rendered").mkdir()
    with pytest.raises(SourceError, match="holds no sequence"):
        open_dataset(Path("rendered"))


def test_its_textures_are_not_those_of_the_training_clips() -> None:
    assert {group.config.textures.split for group in GROUPS.values()} == {"demo"}
    assert {group.config.objects for group in GROUPS.values()} == {2}


@with_photographs
@pytest.mark.parametrize("name", GROUPS)
def test_every_clip_of_a_group_has_its_difficulty(name: str) -> None:
    config = replace(GROUPS[name].config, times=tuple(range(0, 40, 3)), degrade=0.0)
    for seed in GROUPS[name].seeds:
        clip = render_clip(seed, config)
        seen = clip.visible
        assert seen[0].all()
        if name in ("plain", "look-alikes"):
            assert seen.all()
        if name in ("occlusion", "re-entry"):
            (one,) = np.flatnonzero(~seen.all(axis=0))
            hidden = np.flatnonzero(~seen[:, one])
            assert 2 <= len(hidden) == hidden[-1] - hidden[0] + 1
            assert seen[hidden[-1] + 1 :, one].sum() >= 2
        if name == "fast":
            assert max(_steps(clip.masks[:, n]) for n in range(2)) > 0.5
        if name == "cut":
            change = np.abs(np.diff(clip.frames[..., 1].astype(int), axis=0)).mean(axis=(1, 2))
            assert change.max() > 2.5 * np.median(change)


def _steps(masks: np.ndarray) -> float:
    """Return the largest step of an object between successive drawn frames, as a multiple of its length."""
    middles = [(np.argwhere(mask).mean(0), np.sqrt(mask.sum())) for mask in masks if mask.any()]
    return max(float(np.hypot(*(b - a)) / size) for (a, size), (b, _) in pairwise(middles))
