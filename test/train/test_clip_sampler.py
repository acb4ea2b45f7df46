# SPDX-License-Identifier: Apache-2.0
"""Sampled clips: from every layout, masks transformed like images, and repeatable."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
import torch
from own_clips import beads, write_beads, write_clip
from vos_layouts import write_frames, write_masks

from sam2_ros.errors import UserError
from sam2_ros.media.annotations import coco_rle
from sam2_ros.train.data.augment import augment_frame, augment_mask, draw_augmentation
from sam2_ros.train.data.batch import MIN_VISIBLE_PX, make_batch
from sam2_ros.train.data.clip_sampler import ClipSampler, batches
from sam2_ros.train.data.sequences import open_sequences
from sam2_ros.train.train_config import AugmentConfig, FinetuneConfig

SIZE = 96


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_beads(tmp_path_factory.mktemp("data"), 2, 5, SIZE, things=2)


def config(folder, **settings):
    return FinetuneConfig(data=(str(folder),), out="unused", **{"frames": 4, **settings})


def labels_at(sequence, index, like):
    """The masks of an annotated frame as the label image that was written."""
    read = np.zeros_like(like)
    for name, mask in sequence.truth.at(index).masks.items():
        read[mask] = int(name)
    return read


def test_both_layouts_of_own_clips_read_the_same(tmp_path):
    frames, labels = beads(3, 3, SIZE, things=2)
    write_clip(tmp_path / "own" / "a", frames, labels)
    write_clip(tmp_path / "davis", frames, labels, davis="a")
    write_clip(tmp_path / "res", frames, labels, davis="480p/a")
    for name in ("own", "davis", "res"):
        (one,) = open_sequences([tmp_path / name])
        assert (one.name, one.truth.indices) == ("a", (0, 1, 2))
        for index in one.truth.indices:
            np.testing.assert_array_equal(labels_at(one, index, labels[index]), labels[index])
            assert np.abs(one.image(index).astype(int) - frames[index]).mean() < 8  # JPEG
    assert open_sequences([tmp_path / "own" / "a"])[0].name == "a"  # a single sequence
    with pytest.raises(UserError, match="is also in another folder"):
        open_sequences([tmp_path / "own", tmp_path / "davis"])


def test_a_folder_is_named_however_it_is_reached(tmp_path, monkeypatch):
    write_clip(tmp_path / "a", *beads(3, 2, SIZE))
    monkeypatch.chdir(tmp_path / "a")
    assert [sequence.name for sequence in open_sequences(["."])] == ["a"]


@pytest.mark.parametrize("layout", ["run lengths", "a folder of masks per object"])
def test_objects_with_masks_of_their_own_are_drawn_where_they_overlap(layout, tmp_path):
    """The two forms of SA-V, annotated on every fourth frame."""
    left, right = (np.zeros((SIZE, SIZE), bool) for _ in range(2))
    left[20:60, 10:60] = right[30:70, 40:90] = True
    pictures = [np.full((SIZE, SIZE, 3), 20 * number, np.uint8) for number in range(9)]
    if layout == "run lengths":
        write_frames(tmp_path / "sav_1", pictures)
        record = {"video_id": "sav_1", "masklet_id": [3, 12]}
        record["masklet"] = [[coco_rle(left), coco_rle(right)] for _ in range(3)]
        (tmp_path / "sav_1_manual.json").write_text(json.dumps(record))
    else:
        write_frames(tmp_path / "JPEGImages_24fps" / "sav_1", pictures)
        for name, mask in (("003", left), ("012", right)):
            write_masks(
                tmp_path / "Annotations_6fps" / "sav_1" / name, {i: mask * np.uint16(255) for i in (0, 4, 8)}
            )
    still = AugmentConfig(0, 0, 0, clip_jitter=(0, 0, 0), frame_jitter=(0, 0, 0), grey=0)
    sampler = ClipSampler(
        open_sequences([tmp_path]), config(tmp_path, frames=3, reverse=0.0, augment=still), SIZE, SIZE
    )
    clip = sampler(0)
    assert [key.frame for key in clip.keys] == [0, 4, 8]
    np.testing.assert_array_equal(clip.masks_tnhw, np.stack([[left, right]] * 3))
    np.testing.assert_allclose(clip.frames_thwc[:, 0, 0, 0], [0, 80, 160], atol=3)


def test_255_is_an_object_if_alone_and_void_beside_others(tmp_path):
    labels = np.zeros((3, SIZE, SIZE), np.uint8)
    labels[:, :20] = 255
    pictures = np.zeros((3, SIZE, SIZE, 3), np.uint8)
    write_clip(tmp_path / "alone", pictures, labels)
    labels[:, 40:] = 2
    write_clip(tmp_path / "beside", pictures, labels)
    alone, beside = (sequence.truth.at(0).masks for sequence in open_sequences([tmp_path]))
    assert {name: mask.sum() for name, mask in alone.items()} == {"1": 20 * SIZE}
    assert {name: mask.sum() for name, mask in beside.items()} == {"2": (SIZE - 40) * SIZE}


def test_frames_without_a_mask_are_not_drawn(tmp_path):
    write_clip(tmp_path / "a", *beads(3, 6, SIZE))
    for number in (1, 2, 4):
        (tmp_path / "a" / "masks" / f"{number:05d}.png").unlink()
    sequences = open_sequences([tmp_path])
    assert sequences[0].truth.indices == (0, 3, 5)
    sampler = ClipSampler(sequences, config(tmp_path, frames=5), SIZE, SIZE)
    for k in range(4):
        drawn = [key.frame for key in sampler(k).keys]
        assert set(drawn) <= {0, 3, 5}
        assert all(
            a != b for a, b in pairwise(drawn)
        )  # the direction reverses at the ends; no frame is repeated


def test_images_and_masks_are_transformed_alike():
    """A frame that shows its own mask still does so after augmentation, whatever its aspect ratio."""
    mask = np.zeros((60, 100), bool)
    mask[12:40, 20:66] = True
    frame = np.repeat(mask[..., None], 3, axis=2).astype(np.uint8) * 200
    plain = AugmentConfig(clip_jitter=(0, 0, 0), frame_jitter=(0, 0, 0))
    for seed in range(12):
        variation = draw_augmentation(np.random.default_rng(seed), plain, 1)
        assert variation.moves
        varied, moved = augment_frame(frame, SIZE, variation, 0), augment_mask(mask, SIZE, variation)
        painted = varied[..., 0] > 100
        assert (painted & moved).sum() / (painted | moved).sum() > 0.97


def test_a_rotation_keeps_angles_and_areas_in_the_original_aspect():
    """A rotated disc in a wide image stays a disc of its size: making the image square adds no shear."""
    rows, columns = np.mgrid[0:60, 0:120]
    disc = (rows - 29.5) ** 2 + (columns - 59.5) ** 2 < 20**2
    turning = AugmentConfig(flip=0, rotation_deg=60, shear_deg=0)
    variation = draw_augmentation(np.random.default_rng(1), turning, 1)
    moved = augment_mask(disc, SIZE, variation)
    still_there = augment_mask(
        disc, SIZE, draw_augmentation(np.random.default_rng(1), AugmentConfig(0, 0, 0), 1)
    )
    assert (moved & still_there).sum() / (moved | still_there).sum() > 0.96


def test_colours_change_by_clip_and_by_frame_within_their_limits():
    frame = np.full((20, 20, 3), (80, 120, 160), np.uint8)
    by_clip = AugmentConfig(0, 0, 0, clip_jitter=(0.1, 0.03, 0.03), frame_jitter=(0, 0, 0), grey=0)
    variation = draw_augmentation(np.random.default_rng(0), by_clip, 2)
    first, second = (augment_frame(frame, 20, variation, t) for t in range(2))
    np.testing.assert_array_equal(first, second)
    assert 0 < np.abs(first.astype(float) - frame).max() < 0.1 * 160 + 8
    by_frame = AugmentConfig(0, 0, 0, clip_jitter=(0, 0, 0), frame_jitter=(0.1, 0.05, 0.05), grey=0)
    variation = draw_augmentation(np.random.default_rng(0), by_frame, 2)
    assert not np.array_equal(augment_frame(frame, 20, variation, 0), augment_frame(frame, 20, variation, 1))
    grey = augment_frame(
        frame, 20, draw_augmentation(np.random.default_rng(0), AugmentConfig(0, 0, 0, grey=1), 1), 0
    )
    assert np.ptp(grey, axis=2).max() <= 1


def test_clip_k_is_always_the_same_and_the_next_is_another(folder):
    sequences = open_sequences([folder])
    sampler = ClipSampler(sequences, config(folder), SIZE, SIZE)
    first, again, other = sampler(7), sampler(7), sampler(8)
    np.testing.assert_array_equal(first.frames_thwc, again.frames_thwc)
    np.testing.assert_array_equal(first.masks_tnhw, again.masks_tnhw)
    assert not np.array_equal(first.frames_thwc, other.frames_thwc)


def test_every_object_of_a_clip_shows_on_its_first_frame(folder):
    sampler = ClipSampler(open_sequences([folder]), config(folder, objects=1, reverse=1.0), SIZE, SIZE)
    for k in range(6):
        clip = sampler(k)
        assert clip.masks_tnhw.shape == (4, 1, SIZE, SIZE)
        assert clip.masks_tnhw[0].sum(axis=(1, 2)).min() >= MIN_VISIBLE_PX
        assert clip.keys[0].frame > clip.keys[1].frame  # backward


def test_threads_deliver_clips_in_order_and_batches_know_the_clip_of_each_object(folder):
    sampler = ClipSampler(open_sequences([folder]), config(folder), SIZE, SIZE)
    made = list(batches(sampler, iter([range(2), range(2, 4), range(4, 6), range(6, 8)]), workers=3))
    assert len(made) == 4
    expected = make_batch([sampler(2), sampler(3)])
    torch.testing.assert_close(made[1].images_bt3hw, expected.images_bt3hw)
    assert made[1].clip_m.tolist() == [0, 0, 1, 1]
    assert made[1].masks_tmhw.shape == (4, 4, SIZE, SIZE)
    assert bool(made[1].visible_tm[0].all())
