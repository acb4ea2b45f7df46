# SPDX-License-Identifier: Apache-2.0
"""Stored sequences in nano's batches: repeatable, aligned with their masks, mixed in the share that was asked for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from own_clips import write_clip

from sam2_ros.errors import UserError
from sam2_ros.train.data.batch import make_batch
from sam2_ros.train.nano.clips import IN_WORKERS, clip_batches
from sam2_ros.train.nano.device_clips import on_device, stack_on_device, upload
from sam2_ros.train.nano.loop import train_nano
from sam2_ros.train.nano.recipe import NanoConfig, Phase
from sam2_ros.train.nano.stored_clips import MIN_AREA_SHARE, StoredClips, is_stored, with_stored

CPU = torch.device("cpu")
GREENEST = 100
"""Nothing but the stored objects is this much greener than red and blue: the frames are otherwise grey."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Sequences of 12 grey frames with three pure green squares that move, and one with a single square."""
    folder = tmp_path_factory.mktemp("stored")
    for number, squares in enumerate((3, 3, 1)):
        frames = np.full((12, 120, 160, 3), 60 + 40 * number, np.uint8)
        labels = np.zeros((12, 120, 160), np.uint8)
        for t in range(12):
            for square in range(squares):
                y, x = 20 + 28 * square, 50 + 3 * t * (-1) ** square
                frames[t, y : y + 20, x : x + 24] = (0, 255, 0)
                labels[t, y : y + 20, x : x + 24] = square + 1
        write_clip(folder / f"squares_{number}", frames, labels)
    return folder


def stored(folder) -> StoredClips:
    return StoredClips((str(folder),))


def test_a_stored_clip_has_the_asked_shape_and_its_masks_cover_the_objects(folder):
    for k in range(12):
        clip = stored(folder)(k, 96, 5, 3)
        assert clip.frames_thwc.shape == (5, 96, 96, 3)
        assert clip.masks_tnhw.shape == (5, 3, 96, 96)
        assert (clip.masks_tnhw[0].mean(axis=(1, 2)) >= MIN_AREA_SHARE).all()
        colours = clip.frames_thwc.astype(int)
        spread = colours.max(axis=-1) - colours.min(axis=-1)
        if spread.max() < GREENEST:
            continue  # a clip without colour
        union = clip.masks_tnhw.any(axis=1)
        green = spread > GREENEST
        assert (union & green).sum() / (union | green).sum() > 0.85  # JPEG and resizing blur the edges


def test_equal_numbers_give_equal_clips_and_others_differ(folder):
    clips = [stored(folder)(k, 64, 4, 2) for k in (7, 7, 8)]
    assert np.array_equal(clips[0].frames_thwc, clips[1].frames_thwc)
    assert np.array_equal(clips[0].masks_tnhw, clips[1].masks_tnhw)
    assert not np.array_equal(clips[0].frames_thwc, clips[2].frames_thwc)


def test_clips_vary_in_window_direction_and_step(folder):
    places = set()
    for k in range(10):
        masks = stored(folder)(k, 64, 3, 3).masks_tnhw
        x = [float(np.nonzero(masks[t, 0])[1].mean()) for t in range(3)]
        places.add((round(x[0]), round(x[1] - x[0], 1)))
    assert len(places) >= 8


@pytest.mark.parametrize("share", [0.0, 0.25, 0.3, 1.0])
def test_the_share_of_stored_clips_is_spread_evenly(share):
    chosen = [is_stored(1_000_000 + k, share) for k in range(200)]
    assert abs(sum(chosen) - 200 * share) <= 1
    for begin in range(0, 200, 20):
        assert abs(sum(chosen[begin : begin + 20]) - 20 * share) <= 1


def batches(folder, maker=IN_WORKERS, share=0.5):
    return list(clip_batches(4, 2, 64, 2, iter([3, 3]), 1, maker=with_stored(maker, stored(folder), share)))


@pytest.mark.long
def test_batches_hold_stored_and_rendered_clips_and_repeat(folder):
    pytest.importorskip("skimage", reason="training clips use the pictures that come with scikit-image")
    first, again = batches(folder), batches(folder)
    assert len(first) == 2
    for batch, same in zip(first, again, strict=True):
        assert torch.equal(batch.images_bt3hw, same.images_bt3hw)
        assert torch.equal(batch.masks_tmhw, same.masks_tmhw)
    rendered, from_store = IN_WORKERS.work(4, 64, 3, 2), stored(folder)(5, 64, 3, 2)
    assert torch.equal(first[0].images_bt3hw, make_batch([rendered, from_store]).images_bt3hw)
    assert torch.equal(first[0].masks_tmhw, make_batch([rendered, from_store]).masks_tmhw)


def test_a_maker_that_draws_on_a_device_gets_stored_clips_there(folder):
    maker = with_stored(on_device(CPU), stored(folder), 1.0, lambda clip: upload(clip, CPU))
    made = [maker.draw(maker.work(k, 64, 3, 2)) for k in (1, 2)]
    batch, expected = stack_on_device(made), make_batch([stored(folder)(k, 64, 3, 2) for k in (1, 2)])
    assert torch.equal(batch.images_bt3hw, expected.images_bt3hw)
    assert torch.equal(batch.masks_tmhw, expected.masks_tmhw)


@pytest.mark.long
def test_a_run_learns_from_stored_clips_alone(folder, tmp_path):
    pytest.importorskip("skimage", reason="training clips use the pictures that come with scikit-image")
    config = NanoConfig(
        (Phase(1, 64, frames=2, clips=2, learning_rate=1e-3),),
        objects=2,
        validation_clips=1,
        validation_frames=2,
        log_every=1,
        sequences=(str(folder),),
        sequences_share=1.0,
    )
    train_nano(config, tmp_path / "out")
    assert (tmp_path / "out" / "last.safetensors").is_file()


def test_unusable_sequences_and_shares_are_one_clear_line(folder, tmp_path):
    base = NanoConfig(sequences=(str(tmp_path / "nowhere"),))
    cases = {
        "nowhere' does not exist; expected a folder with frames/": base,
        "none of the 3 sequences in .* shows 4 objects": replace(base, sequences=(str(folder),), objects=4),
        "sequences_share: 1.5 given, 0..1 expected": replace(base, sequences_share=1.5),
    }
    for line, config in cases.items():
        with pytest.raises(UserError, match=line) as caught:
            train_nano(config, tmp_path / "out")
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()
