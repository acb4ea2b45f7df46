"""Clips as they are drawn: from both layouts, the masks where the pictures are, the same clip every time."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from own_clips import beads, write_beads, write_clip, write_palette

from sam2_ros.train.finetune.augment import draw_variation, vary_frame, vary_mask
from sam2_ros.train.finetune.config import AugmentConfig, FinetuneConfig, TrainConfigError
from sam2_ros.train.finetune.draw import LEAST_PX, ClipDrawer, batches, make_batch
from sam2_ros.train.finetune.footage import find_footage, read_frame, read_labels

SIZE = 96


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_beads(tmp_path_factory.mktemp("data"), 2, 5, SIZE, things=2)


def config(folder, **settings):
    return FinetuneConfig(data=(str(folder),), out="unused", **{"frames": 4, **settings})


def test_both_layouts_read_the_same(tmp_path):
    frames, labels = beads(3, 3, SIZE, things=2)
    write_clip(tmp_path / "own" / "a", frames, labels)
    write_clip(tmp_path / "davis", frames, labels, davis="a")
    write_clip(tmp_path / "res", frames, labels, davis="480p/a")
    for name in ("own", "davis", "res"):
        (one,) = find_footage([tmp_path / name])
        assert (one.name, one.annotated) == ("a", (0, 1, 2))
        for index in one.annotated:
            np.testing.assert_array_equal(read_labels(one.labels[index]), labels[index])
            assert np.abs(read_frame(one.frames[index]).astype(int) - frames[index]).mean() < 8  # JPEG
    assert find_footage([tmp_path / "own" / "a"])[0].name == "a"  # a single sequence
    with pytest.raises(TrainConfigError, match="in another folder, too"):
        find_footage([tmp_path / "own", tmp_path / "davis"])


def test_255_is_an_object_alone_and_nobodys_beside_others(tmp_path):
    labels = np.zeros((20, 20), np.uint8)
    labels[:5] = 255
    write_palette(tmp_path / "alone.png", labels)
    assert set(np.unique(read_labels(tmp_path / "alone.png"))) == {0, 255}
    labels[10:] = 2
    write_palette(tmp_path / "beside.png", labels)
    assert set(np.unique(read_labels(tmp_path / "beside.png"))) == {0, 2}


def test_frames_without_a_label_image_are_not_drawn(tmp_path):
    write_clip(tmp_path / "a", *beads(3, 6, SIZE))
    for number in (1, 2, 4):
        (tmp_path / "a" / "masks" / f"{number:05d}.png").unlink()
    footage = find_footage([tmp_path])
    assert footage[0].annotated == (0, 3, 5)
    drawer = ClipDrawer(footage, config(tmp_path, frames=5), SIZE, SIZE)
    for k in range(4):
        drawn = [key.frame for key in drawer(k).keys]
        assert set(drawn) <= {0, 3, 5}
        assert all(a != b for a, b in pairwise(drawn))  # turned round at the ends, never standing


def test_pictures_and_masks_move_alike():
    """A frame painted as its own mask stays its own mask, whatever its aspect."""
    mask = np.zeros((60, 100), bool)
    mask[12:40, 20:66] = True
    frame = np.repeat(mask[..., None], 3, axis=2).astype(np.uint8) * 200
    plain = AugmentConfig(clip_jitter=(0, 0, 0), frame_jitter=(0, 0, 0))
    for seed in range(12):
        variation = draw_variation(np.random.default_rng(seed), plain, 1)
        assert variation.moves
        varied, moved = vary_frame(frame, SIZE, variation, 0), vary_mask(mask, SIZE, variation)
        painted = varied[..., 0] > 100
        assert (painted & moved).sum() / (painted | moved).sum() > 0.97


def test_a_turn_keeps_angles_and_areas_in_the_picture_as_it_was():
    """A turned disc in a wide picture is still a disc of its size there: no shear from squaring."""
    rows, columns = np.mgrid[0:60, 0:120]
    disc = (rows - 29.5) ** 2 + (columns - 59.5) ** 2 < 20**2
    turning = AugmentConfig(flip=0, rotation_deg=60, shear_deg=0)
    variation = draw_variation(np.random.default_rng(1), turning, 1)
    moved = vary_mask(disc, SIZE, variation)
    still_there = vary_mask(disc, SIZE, draw_variation(np.random.default_rng(1), AugmentConfig(0, 0, 0), 1))
    assert (moved & still_there).sum() / (moved | still_there).sum() > 0.96


def test_colours_change_by_clip_and_by_frame_within_their_limits():
    frame = np.full((20, 20, 3), (80, 120, 160), np.uint8)
    by_clip = AugmentConfig(0, 0, 0, clip_jitter=(0.1, 0.03, 0.03), frame_jitter=(0, 0, 0), grey=0)
    variation = draw_variation(np.random.default_rng(0), by_clip, 2)
    first, second = (vary_frame(frame, 20, variation, t) for t in range(2))
    np.testing.assert_array_equal(first, second)
    assert 0 < np.abs(first.astype(float) - frame).max() < 0.1 * 160 + 8
    by_frame = AugmentConfig(0, 0, 0, clip_jitter=(0, 0, 0), frame_jitter=(0.1, 0.05, 0.05), grey=0)
    variation = draw_variation(np.random.default_rng(0), by_frame, 2)
    assert not np.array_equal(vary_frame(frame, 20, variation, 0), vary_frame(frame, 20, variation, 1))
    grey = vary_frame(
        frame, 20, draw_variation(np.random.default_rng(0), AugmentConfig(0, 0, 0, grey=1), 1), 0
    )
    assert np.ptp(grey, axis=2).max() <= 1


def test_clip_k_is_always_the_same_and_the_next_is_another(folder):
    footage = find_footage([folder])
    drawer = ClipDrawer(footage, config(folder), SIZE, SIZE)
    first, again, other = drawer(7), drawer(7), drawer(8)
    np.testing.assert_array_equal(first.frames_thwc, again.frames_thwc)
    np.testing.assert_array_equal(first.masks_tnhw, again.masks_tnhw)
    assert not np.array_equal(first.frames_thwc, other.frames_thwc)


def test_every_object_of_a_clip_shows_on_its_first_frame(folder):
    drawer = ClipDrawer(find_footage([folder]), config(folder, objects=1, reverse=1.0), SIZE, SIZE)
    for k in range(6):
        clip = drawer(k)
        assert clip.masks_tnhw.shape == (4, 1, SIZE, SIZE)
        assert clip.masks_tnhw[0].sum(axis=(1, 2)).min() >= LEAST_PX
        assert clip.keys[0].frame > clip.keys[1].frame  # backward


def test_threads_deliver_clips_in_order_and_batches_keep_whose_object_is_whose(folder):
    drawer = ClipDrawer(find_footage([folder]), config(folder), SIZE, SIZE)
    made = list(batches(drawer, iter([range(2), range(2, 4), range(4, 6), range(6, 8)]), workers=3))
    assert len(made) == 4
    expected = make_batch([drawer(2), drawer(3)])
    torch.testing.assert_close(made[1].images_bt3hw, expected.images_bt3hw)
    assert made[1].clip_m.tolist() == [0, 0, 1, 1]
    assert made[1].masks_tmhw.shape == (4, 4, SIZE, SIZE)
    assert bool(made[1].visible_tm[0].all())
