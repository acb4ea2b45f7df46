# SPDX-License-Identifier: Apache-2.0
"""Training clips of a folder of photographs: what workers draw, and what a missing or broken folder says."""

from __future__ import annotations

import json
from itertools import repeat
from pathlib import Path

import numpy as np
import pytest
from own_photographs import BAR, CATEGORIES, own_records, write_coco

from sam2_ros.errors import UserError
from sam2_ros.train.data.batch import TrainingClip
from sam2_ros.train.nano.clips import (
    COMPOSITES,
    NATURAL,
    STILL_COMPOSITES,
    STILL_PHOTOGRAPHS,
    VARIED,
    check_photographs,
    clip_batches,
    clip_config,
    in_workers,
    natural_variation,
    photograph_bank,
    rendered_batch,
)
from sam2_ros.train.nano.loop import train_nano
from sam2_ros.train.nano.recipe import NanoConfig, Phase

with_textures = pytest.mark.usefixtures("_textures")


@pytest.fixture
def _textures() -> None:
    pytest.importorskip("skimage", reason="training clips use the pictures that come with scikit-image")


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(write_coco(tmp_path / "photographs"))


def test_polygons_and_run_lengths_become_instances_with_their_classes_and_crowds_do_not(folder: str) -> None:
    bank = photograph_bank(folder)
    check_photographs(folder)
    assert len(bank) == 2
    for own, record in zip(bank.instances, own_records(2), strict=True):
        assert tuple(one.category for one in own) == CATEGORIES
        _, masks = bank.pixels(own[0].photograph)
        assert np.array_equal(masks[BAR] > 0, record.masks()[BAR])
        for mask, true in zip(masks, record.masks(), strict=True):
            assert ((mask > 0) & true).sum() / ((mask > 0) | true).sum() > 0.85


def test_clips_have_the_shares_of_natural_with_photographs_and_are_as_before_without(folder: str) -> None:
    config = clip_config(3, 96, 4, 2, folder)
    assert (config.composites, config.growing) == (COMPOSITES, NATURAL.growing)
    assert config.size_range[1] == 0.9
    before = clip_config(3, 96, 4, 2)
    assert (before.photographs, before.composites, before.growing) == (None, 0.0, 0.0)
    assert before.size_range == VARIED.size_range
    assert config.times[0] == 0
    assert len(config.times) == 4
    still = clip_config(3, 96, 1, 2, folder)
    assert (still.frames, still.photo_camera, still.composites) == (1, STILL_PHOTOGRAPHS, STILL_COMPOSITES)


def test_the_kind_of_a_clip_does_not_depend_on_its_length(folder: str) -> None:
    lengths: dict[bool, list[int]] = {True: [], False: []}
    for seed in range(200):
        first = np.random.default_rng(seed).random()  # the renderer's, which decides the kind
        lengths[bool(first < COMPOSITES)].append(clip_config(seed, 96, 8, 2, folder).frames)
    for some in lengths.values():
        assert 0.05 < np.mean(np.array(some) == 8) < 0.3


@with_textures
@pytest.mark.long
def test_workers_draw_the_photographs_of_the_seeds_in_order(folder: str) -> None:
    first, second = clip_batches(40, 2, 96, 2, repeat(3, 2), workers=1, maker=in_workers(folder))
    for batch, seed in ((first, 40), (second, 42)):
        here = rendered_batch(seed, 2, 96, 2, 3, folder)
        assert np.array_equal(batch.pictures.numpy(), here.pictures.numpy())
        assert np.array_equal(batch.masks_tmhw.numpy(), here.masks_tmhw.numpy())
        assert batch.masks_tmhw[0].flatten(1).any(dim=1).all()


def test_a_natural_variation_stays_upright_and_moves_pixels_and_masks_alike() -> None:
    masks = np.zeros((1, 1, 8, 8), bool)
    masks[:, :, 1:3, 2:7] = True
    frames = np.where(masks[:, 0, :, :, None], np.array([220, 90, 60]), 20).astype(np.uint8)
    for seed in range(12):
        varied, moved, _ = natural_variation(TrainingClip(frames, masks), np.random.default_rng(seed))
        assert np.array_equal(moved[0, 0].any(axis=1), masks[0, 0].any(axis=1))
        assert np.array_equal(varied[0, ..., 0] > 100, moved[0, 0])
        red, green, blue = varied[0][moved[0, 0]].astype(int).mean(axis=0)
        assert red > green > blue


def test_a_missing_folder_ends_the_run_in_one_line_before_anything_is_written(tmp_path: Path) -> None:
    config = NanoConfig(
        (Phase(1, 96, frames=1, clips=1, learning_rate=1e-3),), photographs=str(tmp_path / "none")
    )
    with pytest.raises(UserError, match=r"photographs '.*none': no instances.json there") as error:
        train_nano(config, tmp_path / "run")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "instances.json").write_text("{"), "instances.json' cannot be read"),
        (lambda folder: (folder / "images" / "own1.png").unlink(), "image 'own1.png' of .* is not there"),
        (
            lambda folder: (folder / "images" / "own1.png").write_bytes(b"no"),
            "own1.png' is not a readable image",
        ),
        (lambda folder: _change(folder, "height", 100), "own0.png' is 320 x 240 px, the 320 x 100 px"),
    ],
)
def test_a_broken_folder_is_named_in_one_line(folder: str, damage, message: str) -> None:
    damage(Path(folder))
    with pytest.raises(UserError, match=message) as error:
        check_photographs(folder)
    assert "\n" not in str(error.value)


def _change(folder: Path, key: str, value: int) -> None:
    record = json.loads((folder / "instances.json").read_text())
    record["images"][0][key] = value
    (folder / "instances.json").write_text(json.dumps(record))
