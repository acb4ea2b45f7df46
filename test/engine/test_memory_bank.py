# SPDX-License-Identifier: Apache-2.0
"""Compares the memories that the bank selects for a frame with the official rule, written with plain lists.

Knows frame numbers: memories here are tensors filled with the number of their frame.
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sam2_ros.engine.config import NANO1
from sam2_ros.engine.memory_bank import MemoryBank

CONFIG = NANO1.at_image_size(32)  # 2 x 2 cells: the size does not matter to the bank
CELLS = CONFIG.grid**2


def bank(objects: int = 2, conditioning: int = 4, recents: int = 6) -> MemoryBank:
    return MemoryBank(CONFIG, objects, conditioning, recents, torch.device("cpu"), torch.float32)


def spatial(frame: int, objects: int = 1) -> torch.Tensor:
    return torch.full((objects, CELLS, CONFIG.mem_dim), float(frame))


def pointer(frame: int, objects: int = 1) -> torch.Tensor:
    return torch.full((objects, CONFIG.d_model), float(frame))


def frames_of(view) -> tuple[list[int], list[int], list[int], list[int]]:
    """(frames of spatial memories, their rows of the time table, frames of pointers, their distances)"""
    return (
        view.spatial_bftc[0, :, 0, 0].int().tolist(),
        view.slots_bf[0].tolist(),
        view.pointers_bpd[0, :, 0].int().tolist(),
        view.distances_bp[0].int().tolist(),
    )


def test_after_forty_frames_the_last_six_and_fifteen_pointers_are_left() -> None:
    memory = bank()
    memory.write_conditioning(0, 0, spatial(0)[0], pointer(0)[0])
    for frame in range(1, 40):
        memory.write_recents([0], frame, spatial(frame), pointer(frame))
    frames, table, pointers, distances = frames_of(memory.view([0], 40))
    assert frames == [0, 34, 35, 36, 37, 38, 39]
    # Row 6, the last one, is for conditioning frames; row 0 for the previous frame.
    assert table == [6, 5, 4, 3, 2, 1, 0]
    assert sorted(pointers) == [0, *range(25, 40)]
    assert {frame: 40 - frame for frame in pointers} == dict(zip(pointers, distances, strict=True))


@given(
    prompted=st.sets(st.integers(0, 30), min_size=1, max_size=4),
    now=st.integers(1, 40),
    gap=st.integers(0, 3),
)
@settings(max_examples=60, deadline=None)
def test_selection_equals_the_official_rule(prompted: set[int], now: int, gap: int) -> None:
    first = min(prompted)
    now = max(now, first + 1)
    memory = bank()
    conditioning, tracked = [], []
    for frame in range(first, now):
        if frame in prompted:
            memory.write_conditioning(0, frame, spatial(frame)[0], pointer(frame)[0])
            conditioning.append(frame)
        elif gap == 0 or frame % (gap + 3):  # some frames may never have reached the tracker
            memory.write_recents([0], frame, spatial(frame), pointer(frame))
            tracked.append(frame)
    frames, table, pointers, _ = frames_of(memory.view([0], now))
    recent = [frame for frame in range(now - 6, now) if frame in tracked]
    assert frames == conditioning + recent
    assert table == [6] * len(conditioning) + [now - frame - 1 for frame in recent]
    assert sorted(pointers) == sorted(conditioning + [f for f in tracked if 1 <= now - f <= 15])


def test_the_first_conditioning_frame_is_never_pushed_out() -> None:
    memory = bank(conditioning=3)
    for frame in (0, 5, 10, 15, 20):
        memory.write_conditioning(0, frame, spatial(frame)[0], pointer(frame)[0])
    frames, *_ = frames_of(memory.view([0], 21))
    assert sorted(frames) == [0, 15, 20]


def test_objects_do_not_share_slots() -> None:
    memory = bank(objects=3)
    for row in (0, 2):
        memory.write_conditioning(row, 0, spatial(100 + row)[0], pointer(100 + row)[0])
    memory.write_recents([0, 2], 1, torch.cat([spatial(1), spatial(3)]), torch.cat([pointer(1), pointer(3)]))
    assert frames_of(memory.view([0], 2))[0] == [100, 1]
    assert frames_of(memory.view([2], 2))[0] == [102, 3]
    memory.clear(0)
    assert not memory.has_memory(0)
    assert frames_of(memory.view([2], 2))[0] == [102, 3]


def test_a_row_that_is_used_again_starts_empty() -> None:
    memory = bank()
    memory.write_conditioning(0, 0, spatial(0)[0], pointer(0)[0])
    for frame in range(1, 9):
        memory.write_recents([0], frame, spatial(frame), pointer(frame))
    memory.clear(0)
    memory.write_conditioning(0, 9, spatial(9)[0], pointer(9)[0])
    frames, table, pointers, distances = frames_of(memory.view([0], 10))
    assert (frames, table, pointers, distances) == ([9], [6], [9], [1])


def test_a_cut_leaves_only_what_was_prompted() -> None:
    memory = bank()
    memory.write_conditioning(0, 0, spatial(0)[0], pointer(0)[0])
    for frame in range(1, 9):
        memory.write_recents([0], frame, spatial(frame), pointer(frame))
    memory.clear_recents()
    frames, table, pointers, distances = frames_of(memory.view([0], 9))
    assert (frames, table, pointers, distances) == ([0], [6], [0], [9])


def test_rows_are_grouped_by_how_much_they_remember() -> None:
    memory = bank(objects=4)
    for row, start in ((0, 0), (1, 0), (2, 3)):
        memory.write_conditioning(row, start, spatial(start)[0], pointer(start)[0])
    for frame in range(1, 5):
        rows = [0, 1] + ([2] if frame > 3 else [])
        memory.write_recents(rows, frame, spatial(frame, len(rows)), pointer(frame, len(rows)))
    assert sorted(map(sorted, memory.groups([0, 1, 2], 5))) == [[0, 1], [2]]
    # once all rows are full they share one batch, whatever the age of each object
    for frame in range(5, 40):
        memory.write_recents([0, 1, 2], frame, spatial(frame, 3), pointer(frame, 3))
    assert memory.groups([0, 1, 2], 40) == [[0, 1, 2]]


def test_a_padded_view_holds_what_each_row_alone_holds_and_says_what_counts() -> None:
    plain = bank(objects=3)
    padded = MemoryBank(CONFIG, 3, 4, 6, torch.device("cpu"), torch.float32, padded=True)
    for memory in (plain, padded):
        memory.write_conditioning(2, 0, spatial(0)[0], pointer(0)[0])
        for frame in range(1, 9):
            memory.write_recents([2], frame, spatial(frame), pointer(frame))
        memory.write_conditioning(0, 7, spatial(7)[0], pointer(7)[0])
    assert len(plain.groups([0, 2], 9)) == 2
    assert padded.groups([0, 2], 9) == [[0, 2]]
    assert padded.groups([], 9) == []
    view = padded.view([0, 2], 9)
    assert view.spatial_bftc.shape[:2] == (2, 4 + 6)
    assert view.pointers_bpd.shape[:2] == (2, 4 + 15)
    assert view.spatial_valid_bf is not None
    assert view.pointer_valid_bp is not None
    assert int(view.slots_bf.max()) < CONFIG.num_maskmem
    for index, row in enumerate((0, 2)):
        alone = plain.view([row], 9)
        for found, valid, expected in (
            (view.spatial_bftc, view.spatial_valid_bf, alone.spatial_bftc),
            (view.slots_bf, view.spatial_valid_bf, alone.slots_bf),
            (view.pointers_bpd, view.pointer_valid_bp, alone.pointers_bpd),
            (view.distances_bp, view.pointer_valid_bp, alone.distances_bp),
        ):
            assert torch.equal(found[index][valid[index]], expected[0])


def test_memory_does_not_grow() -> None:
    memory = bank()
    before = memory.bytes
    memory.write_conditioning(0, 0, spatial(0)[0], pointer(0)[0])
    for frame in range(1, 200):
        memory.write_recents([0], frame, spatial(frame), pointer(frame))
    assert memory.bytes == before


def test_spatial_memories_are_rounded_to_bfloat16_as_in_the_official_predictor() -> None:
    memory = MemoryBank(CONFIG, 1, 1, 6, torch.device("cpu"))
    value = 1 + 2**-10
    memory.write_conditioning(0, 0, spatial(0)[0] + value, pointer(0)[0] + value)
    view = memory.view([0], 1)
    assert view.spatial_bftc.unique().tolist() == [1.0]
    assert view.pointers_bpd.unique().tolist() == [pytest.approx(value, abs=1e-7)]
