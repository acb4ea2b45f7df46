# SPDX-License-Identifier: Apache-2.0
"""Compares rotary and sine encodings with their definitions.

The definitions are written here with complex numbers and explicit loops, without the engine.
"""

from __future__ import annotations

import math

import pytest
import torch

from sam2_ros.engine.kernels.attention import attend
from sam2_ros.engine.kernels.rope import axial_rope, rotate, sine_grid, sine_time

CPU = torch.device("cpu")


def complex_rotation(x_bhnc: torch.Tensor, side: int) -> torch.Tensor:
    """RoFormer: adjacent channel pairs as complex numbers; x rotates the first half, y the second."""
    n, c = x_bhnc.shape[-2:]
    rotated = torch.empty_like(x_bhnc, dtype=torch.complex128)[..., : c // 2]
    numbers = torch.view_as_complex(x_bhnc.double().reshape(*x_bhnc.shape[:-1], c // 2, 2))
    for token in range(n):
        cell = token % (side * side)
        y, x = divmod(cell, side)
        for pair in range(c // 2):
            place, index = (x, pair) if pair < c // 4 else (y, pair - c // 4)
            angle = torch.tensor(place * 10000.0 ** (-4 * index / c), dtype=torch.float64)
            rotated[..., token, pair] = numbers[..., token, pair] * torch.polar(
                torch.tensor(1.0).double(), angle
            )
    return torch.view_as_real(rotated).flatten(-2)


@pytest.mark.parametrize(("side", "channels", "frames"), [(4, 16, 1), (3, 8, 2), (5, 32, 3)])
def test_real_rotation_equals_the_complex_one(side: int, channels: int, frames: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 1, frames * side * side, channels)
    real = rotate(x, axial_rope(side, channels, CPU))
    torch.testing.assert_close(real.double(), complex_rotation(x, side), atol=1e-5, rtol=1e-5)


def test_angles_stay_exact_on_the_official_grid() -> None:
    cos, sin = axial_rope(64, 256, CPU)
    assert cos.shape == (64 * 64, 128)
    token = 63 * 64 + 17  # x = 17, y = 63
    for pair in (0, 1, 63):
        assert cos[token, pair] == pytest.approx(math.cos(17 * 10000.0 ** (-pair / 64)), abs=2e-5)
        assert sin[token, 64 + pair] == pytest.approx(math.sin(63 * 10000.0 ** (-pair / 64)), abs=2e-5)


def test_scores_depend_on_the_difference_of_positions_only() -> None:
    torch.manual_seed(0)
    side, c = 6, 32
    q = torch.randn(c).expand(1, 1, side * side, c)
    k = torch.randn(c).expand(1, 1, side * side, c)
    rope = axial_rope(side, c, CPU)
    score = (rotate(q, rope) @ rotate(k, rope).transpose(2, 3))[0, 0].view(side, side, side, side)
    by_offset: dict[tuple[int, int], float] = {}
    for y0 in range(side):
        for x0 in range(side):
            for y1 in range(side):
                for x1 in range(side):
                    value = by_offset.setdefault((y1 - y0, x1 - x0), float(score[y0, x0, y1, x1]))
                    assert float(score[y0, x0, y1, x1]) == pytest.approx(value, abs=1e-3)
    # and the two axes are distinguished
    assert abs(by_offset[(0, 3)] - by_offset[(3, 0)]) > 0.1


def test_the_table_repeats_for_every_memory_frame() -> None:
    torch.manual_seed(0)
    rope = axial_rope(4, 16, CPU)
    frames = torch.randn(2, 1, 3, 16, 16)
    together = rotate(frames.reshape(2, 1, 48, 16), rope)
    for index in range(3):
        torch.testing.assert_close(
            together[:, :, 16 * index : 16 * index + 16], rotate(frames[:, :, index], rope)
        )


def test_rotation_is_done_in_float32_whatever_comes_in() -> None:
    x = torch.randn(1, 1, 64, 32, generator=torch.Generator().manual_seed(0))
    half = rotate(x.bfloat16(), axial_rope(8, 32, CPU))
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(
        half, rotate(x.bfloat16().float(), axial_rope(8, 32, CPU)).bfloat16(), atol=0, rtol=0
    )


def test_sine_grid_is_y_then_x_with_sines_and_cosines_interleaved() -> None:
    side, channels = 5, 16
    encoding = sine_grid(side, channels, CPU)
    assert encoding.shape == (channels, side, side)
    half = channels // 2
    for row, column, channel in [(0, 0, 0), (1, 3, 1), (4, 2, 6), (2, 4, 8), (3, 1, 11), (4, 4, 15)]:
        place = row if channel < half else column
        index = channel % half
        angle = (place + 1) / (side + 1e-6) * 2 * math.pi / 10000.0 ** (2 * (index // 2) / half)
        expected = math.sin(angle) if index % 2 == 0 else math.cos(angle)
        assert float(encoding[channel, row, column]) == pytest.approx(expected, abs=1e-5)


def test_sine_time_is_sines_then_cosines_of_a_signed_distance() -> None:
    distance = torch.tensor([0.0, 1 / 15, 1.0, -0.4])
    encoding = sine_time(distance, 12)
    assert encoding.shape == (4, 12)
    for row, value in enumerate(distance.tolist()):
        for index in range(6):
            angle = value / 10000.0 ** (2 * (index // 2) / 6)
            assert float(encoding[row, index]) == pytest.approx(math.sin(angle), abs=1e-6)
            assert float(encoding[row, 6 + index]) == pytest.approx(math.cos(angle), abs=1e-6)


def test_attention_is_softmax_of_scaled_products() -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(2, 3, 5, 8), torch.randn(2, 3, 7, 8), torch.randn(2, 3, 7, 6)
    by_hand = (q.double() @ k.double().transpose(2, 3) / 8**0.5).softmax(-1) @ v.double()
    torch.testing.assert_close(attend(q, k, v).double(), by_hand, atol=1e-5, rtol=1e-5)
