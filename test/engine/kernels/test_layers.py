# SPDX-License-Identifier: Apache-2.0
"""Fused linear layers give the results of PyTorch's linear layers, with and without autocast and gradients."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from sam2_ros.engine.kernels.layers import ACTIVATIONS, FUSED_LINEAR, ON_X86, Linear, linear


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("shape", [(5, 24), (2, 7, 24), (2, 3, 5, 24)])
def test_the_fused_linear_layer_equals_the_layer_and_its_activation(
    shape: tuple[int, ...], activation: str
) -> None:
    draw = torch.Generator().manual_seed(0)
    x, weight = torch.randn(shape, generator=draw), torch.randn(16, 24, generator=draw)
    bias = torch.randn(16, generator=draw)
    expected = ACTIVATIONS[activation](F.linear(x, weight, bias))
    torch.testing.assert_close(linear(x, weight, bias, activation), expected)
    rounded = linear(x.bfloat16(), weight.bfloat16(), bias.bfloat16(), activation)
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.float(), expected, atol=0.3, rtol=0.03)
    strided = x.transpose(0, -2).contiguous().transpose(0, -2)
    torch.testing.assert_close(linear(strided, weight, bias, activation), expected)


def test_gradients_flow_and_autocast_decides_the_type() -> None:
    layer = Linear(8, 4)
    x = torch.randn(3, 8)
    layer(x, "gelu").sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.abs().sum() > 0
    layer.requires_grad_(False)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    layer.to(torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16


@pytest.mark.skipif(FUSED_LINEAR is None or not ON_X86, reason="needs an x86 CPU and a PyTorch with oneDNN")
def test_a_linear_layer_is_one_operator() -> None:
    layer = Linear(8, 4).requires_grad_(False)
    with torch.profiler.profile() as profile, torch.inference_mode():
        layer(torch.randn(3, 8), "gelu")
    names = {event.key for event in profile.key_averages()}
    assert any("_linear_pointwise" in name for name in names)
    assert not {"aten::addmm", "aten::gelu", "aten::copy_"} & names
