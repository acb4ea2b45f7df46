# SPDX-License-Identifier: Apache-2.0
"""Candidate kernels of GPUs, and calls of them that work without a GPU."""

from __future__ import annotations

import pytest
import torch

from sam2_ros.engine import config_for
from sam2_ros.engine.kernels.gpu import (
    CUDNN,
    EFFICIENT,
    FLASH,
    KERNELS,
    PROJECTED,
    TRITON,
    Gpu,
    Kernel,
    Shape,
    candidates,
    run_kernel,
)
from sam2_ros.engine.kernels.triton_tiles import TILES_IN_REGISTERS
from sam2_ros.engine.model.attention_shapes import large_attentions
from sam2_ros.engine.model.image_encoder import attention_flops

H200, A100, ORIN, RTX_4090 = (
    Gpu(capability, 91002, has_triton=True) for capability in ((9, 0), (8, 0), (8, 7), (8, 9))
)
ENCODER, SELF, MEMORY, NARROW = large_attentions(config_for("tiny"))


def names(shape: Shape, gpu: Gpu, dtype: torch.dtype = torch.bfloat16, only: str = "") -> list[str]:
    return list(dict.fromkeys(kernel.name for kernel in candidates(shape, dtype, gpu, only)))


def test_the_large_attentions_of_a_model():
    assert large_attentions(config_for("tiny")) == [
        (4, 4096, 4096, 96, 96),
        (1, 4096, 4096, 256, 256),
        (1, 4096, 7 * 4096 + 64, 256, 256),
        (1, 4096, 7 * 4096 + 64, 256, 64),
    ]
    named = [shape.name for shape in (ENCODER, SELF, MEMORY, NARROW)]
    assert named == ["96", "256", "256 to memory", "256 over 64"]
    assert attention_flops(*MEMORY[1:4]) == pytest.approx(120.5e9, rel=0.01)
    assert [shape.channels for shape in large_attentions(config_for("large"))] == [72, 256, 256, 256]
    assert [shape.channels for shape in large_attentions(config_for("nano1"))] == [48, 128, 128, 128]
    assert [shape.name for shape in large_attentions(config_for("nano1").at_image_size(320))] == [
        "128 to memory",
        "128 over 64",
    ]


@pytest.mark.parametrize(
    ("shape", "gpu", "expected"),
    [
        (ENCODER, H200, [CUDNN, FLASH, EFFICIENT]),
        (ENCODER, A100, [FLASH, CUDNN, EFFICIENT]),
        (ENCODER, RTX_4090, [FLASH, CUDNN, EFFICIENT]),
        (ENCODER, Gpu((12, 0), 91002, True), [FLASH, CUDNN, EFFICIENT]),
        (ENCODER, Gpu((9, 0), 0, True), [FLASH, EFFICIENT]),
        (SELF, H200, [CUDNN, FLASH, EFFICIENT]),
        (SELF, Gpu((9, 0), 90501, True), [FLASH, EFFICIENT]),  # 256 channels since cuDNN 9.10, on Hopper
        (SELF, A100, [FLASH, EFFICIENT]),
        (MEMORY, H200, [FLASH, EFFICIENT]),  # cuDNN would make a new plan on every frame
        (NARROW, H200, [PROJECTED.name, EFFICIENT, TRITON]),
        (NARROW, ORIN, [PROJECTED.name, EFFICIENT, TRITON]),
        (NARROW, Gpu((8, 7), 91002, False), [PROJECTED.name, EFFICIENT]),
        (NARROW._replace(value_channels=48), H200, [PROJECTED.name, EFFICIENT]),
        (SELF._replace(channels=260, value_channels=260), H200, []),
    ],
)
def test_candidates_in_half_precision(shape, gpu, expected):
    assert names(shape, gpu) == expected
    assert names(shape, gpu, torch.float16) == expected


def test_candidates_elsewhere():
    turing = Gpu((7, 5), 91002, has_triton=True)
    assert names(SELF, H200, torch.float32) == [EFFICIENT]
    assert names(NARROW, H200, torch.float32) == [PROJECTED.name, EFFICIENT]
    assert names(SELF, turing, torch.float16) == [EFFICIENT]
    assert names(SELF, turing, torch.bfloat16) == []
    assert names(NARROW, turing, torch.float16) == [PROJECTED.name, EFFICIENT]


@pytest.mark.parametrize(
    ("only", "self_attention", "narrow"),
    [
        (FLASH, [FLASH], [PROJECTED.name]),
        (EFFICIENT, [EFFICIENT], [EFFICIENT]),
        (CUDNN, [CUDNN], [PROJECTED.name]),
        (TRITON, [CUDNN, FLASH, EFFICIENT], [TRITON]),
    ],
)
def test_one_kernel_wherever_it_can_be(only, self_attention, narrow):
    assert names(SELF, H200, only=only) == self_attention
    assert names(NARROW, H200, only=only) == narrow


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("batch", [1, 2])
def test_each_kernel_takes_what_it_is_given(name, batch):
    """On the meta device: PyTorch's operators have these names and arguments in this version."""
    wide, narrow = (torch.empty(batch, 1, 300, c, device="meta", dtype=torch.bfloat16) for c in (256, 64))
    q = torch.empty(1, 1, 128, 256, device="meta", dtype=torch.bfloat16).expand(batch, -1, -1, -1)
    values = narrow if name in (EFFICIENT, TRITON) else wide
    if name == TRITON:
        tiles = TILES_IN_REGISTERS[0]
        found = torch.ops.sam2_ros.triton_attention(q, wide, values, *tiles)
    else:
        found = run_kernel(Kernel(name), q, wide, values)
    assert found.shape == (batch, 1, 128, values.shape[-1])
    assert found.dtype == torch.bfloat16
