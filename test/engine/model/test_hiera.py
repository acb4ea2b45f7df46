# SPDX-License-Identifier: Apache-2.0
"""Windows, pooling and position table of the Hiera trunk.

Does not compare with another implementation (test/parity does).
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from sam2_ros.engine.config import LARGE, TINY
from sam2_ros.engine.model import hiera
from sam2_ros.engine.model.hiera import Hiera, join_windows, pool2x2, split_windows, strip_rows, window_rows


def trunk(config=TINY) -> Hiera:
    with torch.device("meta"):
        return Hiera(config.encoder)


def test_a_stage_starts_in_the_windows_of_the_stage_before() -> None:
    assert [block.window for block in trunk().blocks] == [8, 8, 4, 4, 14, 0, 14, 0, 14, 0, 14, 7]
    assert [i for i, block in enumerate(trunk().blocks) if block.pool_queries] == [1, 3, 10]


def test_large_pools_and_attends_globally_where_the_paper_says() -> None:
    blocks = trunk(LARGE).blocks
    assert [i for i, block in enumerate(blocks) if block.pool_queries] == [2, 8, 44]
    assert [i for i, block in enumerate(blocks) if block.window == 0] == [23, 33, 43]
    assert [block.attn.num_heads for block in (blocks[0], blocks[2], blocks[8], blocks[44])] == [2, 4, 8, 16]


@given(height=st.integers(1, 20), width=st.integers(1, 20), window=st.integers(1, 9))
@settings(max_examples=50, deadline=None)
def test_windows_are_split_and_joined_without_loss(height: int, width: int, window: int) -> None:
    x = torch.arange(2 * height * width * 3, dtype=torch.float32).view(2, height, width, 3)
    windows, padded_hw = split_windows(x, window)
    assert windows.shape[1:] == (window, window, 3)
    assert padded_hw[0] % window == padded_hw[1] % window == 0
    assert windows.sum() == x.sum()  # the padding is zero
    torch.testing.assert_close(join_windows(windows, window, padded_hw, (height, width)), x)


def test_windows_are_ordered_by_rows() -> None:
    x = torch.arange(16.0).view(1, 4, 4, 1)
    windows, _ = split_windows(x, 2)
    assert windows[:, :, :, 0].tolist() == [
        [[0, 1], [4, 5]],
        [[2, 3], [6, 7]],
        [[8, 9], [12, 13]],
        [[10, 11], [14, 15]],
    ]


@given(height=st.integers(1, 20), width=st.integers(1, 20), window=st.integers(1, 9))
@settings(max_examples=50, deadline=None)
def test_window_rows_are_those_of_split_windows(height: int, width: int, window: int) -> None:
    numbered_from_1 = torch.arange(1, 2 * height * width + 1, dtype=torch.int32).view(2, height, width, 1)
    windows, _ = split_windows(numbered_from_1, window)  # fills up with 0
    rows = window_rows(2, height, width, window)
    assert rows.dtype == torch.int32
    assert rows.is_contiguous()
    assert torch.equal(rows, windows.view(-1, window * window) - 1)


def test_attention_does_not_cross_windows() -> None:
    torch.manual_seed(0)
    block = Hiera(TINY.encoder).eval().blocks[0]
    x = torch.randn(1, 16, 16, 96)
    changed = x.clone()
    changed[:, :8, :8] += 1
    difference = (block(changed) - block(x)).abs().amax(dim=-1)[0]
    assert difference[:8, :8].min() > 0
    assert difference[8:].max() == 0
    assert difference[:, 8:].max() == 0


def test_pooling_takes_the_largest_of_four() -> None:
    x = torch.tensor([[1.0, 5, 2, 0], [3, 4, -1, -7]]).view(1, 2, 4, 1)
    assert pool2x2(x)[..., 0].tolist() == [[[5.0, 2.0]]]


def test_pooling_drops_an_odd_last_row_and_column() -> None:
    x = torch.randn(2, 5, 7, 3, generator=torch.Generator().manual_seed(0))
    expected = F.max_pool2d(x.permute(0, 3, 1, 2), 2, 2).permute(0, 2, 3, 1)
    assert torch.equal(pool2x2(x), expected)


# Blocks: plain; pooled; with windows of 14, padded at the right and the bottom.
@pytest.mark.parametrize("index", [0, 1, 4])
@torch.inference_mode()
def test_strips_give_what_the_whole_map_gives(index: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    block = Hiera(TINY.encoder).eval().blocks[index]
    x = torch.randn(2, 40, 48, block.norm1.weight.shape[0])
    whole = block(x)
    monkeypatch.setattr(hiera, "STRIP_TOKENS", 800)
    assert 0 < strip_rows(x, block.window) < 40
    assert strip_rows(x, block.window) % block.window == 0
    torch.testing.assert_close(block(x), whole, atol=1e-5, rtol=1e-5)


def test_a_map_with_global_attention_is_not_cut_into_strips() -> None:
    x = torch.empty(1, 512, 512, 1)
    assert strip_rows(x, window=0) == 512
    assert strip_rows(x, window=8) == 16
    assert strip_rows(x.requires_grad_(), window=8) == 512


@pytest.mark.parametrize("hw", [(32, 32), (64, 64), (24, 40)])
def test_position_is_the_resized_background_plus_tiled_windows(hw: tuple[int, int]) -> None:
    model = Hiera(TINY.encoder)
    with torch.no_grad():
        model.pos_embed.normal_()
        model.pos_embed_window.normal_()
    position = model.position(hw)
    assert position.shape == (1, *hw, 96)
    background = F.interpolate(model.pos_embed, hw, mode="bicubic").permute(0, 2, 3, 1)
    windows = (position - background)[0]
    for y in (0, 7, 8, hw[0] - 1):
        for x in (0, 5, hw[1] - 1):
            torch.testing.assert_close(
                windows[y, x], model.pos_embed_window[0, :, y % 8, x % 8], atol=1e-5, rtol=0
            )


@torch.inference_mode()
def test_outputs_are_strides_4_to_32_also_when_windows_need_padding() -> None:
    maps = Hiera(TINY.encoder).eval()(torch.zeros(1, 3, 96, 96))
    assert [tuple(m.shape) for m in maps] == [
        (1, 96, 24, 24),
        (1, 192, 12, 12),
        (1, 384, 6, 6),
        (1, 768, 3, 3),
    ]
