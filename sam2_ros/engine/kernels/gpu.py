# SPDX-License-Identifier: Apache-2.0
"""Attention kernels of a GPU: which exist, which shapes each supports, and how each is called.

Does not know which is the fastest on this machine (see gpu_choice.py), or what queries and keys mean.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from .triton_tiles import Tiles, fitting_tiles

FLASH, CUDNN, EFFICIENT, TRITON = "flash", "cudnn", "efficient", "triton"
KERNELS = (FLASH, CUDNN, EFFICIENT, TRITON)
"""Three kernels of PyTorch, by PyTorch's names, and the one of triton_attention.py."""

SMALL_ATTENTION = 1 << 18
"""Queries x keys up to which PyTorch chooses the kernel: windows of the image encoder, tokens of the mask decoder."""


class Kernel(NamedTuple):
    """One of `KERNELS`; the Triton kernel with its tile sizes."""

    name: str
    tiles: Tiles | None = None

    def __str__(self) -> str:
        return self.name if self.tiles is None else f"{self.name} {'x'.join(map(str, self.tiles))}"


PROJECTED = Kernel("projected")
"""Alternative to a kernel for narrow values: project them to the keys' channels before the attention."""


class Shape(NamedTuple):
    """Sizes of an attention."""

    heads: int
    queries: int
    keys: int
    channels: int  # of queries and keys, per head
    value_channels: int  # per head

    @property
    def is_narrow(self) -> bool:
        """True if values have fewer channels than keys: they can be projected before the attention or after it."""
        return self.value_channels < self.channels

    @property
    def keys_grow(self) -> bool:
        """True for attention to memory, which has more keys on each frame until the memory bank is full."""
        return self.keys != self.queries

    @property
    def name(self) -> str:
        """Short name for the log, by channels."""
        if self.is_narrow:
            return f"{self.channels} over {self.value_channels}"
        return f"{self.channels} to memory" if self.keys_grow else str(self.channels)


class Gpu(NamedTuple):
    """Properties of a GPU on which the candidate kernels depend."""

    capability: tuple[int, int]  # CUDA compute capability
    cudnn: int  # version as PyTorch gives it, 91002 for 9.10.2; 0 without
    has_triton: bool


def candidates(shape: Shape, dtype: torch.dtype, gpu: Gpu, only: str = "") -> list[Kernel]:
    """Kernels that support a shape, in order of preference: the first is used unless another is clearly faster.

    cuDNN is 1.7 to 2.3 times as fast as FlashAttention-2 on Hopper (9.x), 0.82 to 0.93 times on Ampere (8.x), about
    equal on Ada (8.9). It makes a plan for each new size, which takes longer than a frame: not for keys that grow. In
    float32 the Triton kernel needs more registers than a GPU has.

    Args:
        shape: sizes of the attention.
        dtype: of queries, keys and values.
        gpu: properties of the GPU.
        only: use this one of `KERNELS` wherever it supports the shape; empty = no restriction. Narrow values that it
            does not support are projected first, so that it can be used.
    """
    ampere, hopper = gpu.capability >= (8, 0), gpu.capability[0] == 9
    in_eights = shape.channels % 8 == 0 and shape.value_channels % 8 == 0
    half = dtype in (torch.float16, torch.bfloat16) and ampere and in_eights
    cudnn_channels = 256 if gpu.capability == (9, 0) and gpu.cudnn >= 91000 else 128
    found = []
    if half and not shape.is_narrow and shape.channels <= 256:
        found.append(Kernel(FLASH))
    if half and not shape.keys_grow and shape.channels <= cudnn_channels and gpu.cudnn >= 90000:
        found.insert(0 if hopper else len(found), Kernel(CUDNN))
    if in_eights and (ampere or dtype != torch.bfloat16):
        found.append(Kernel(EFFICIENT))
    if half and shape.is_narrow and gpu.has_triton and _is_power(shape.channels, shape.value_channels):
        found += [
            Kernel(TRITON, tiles)
            for tiles in fitting_tiles(shape.channels, shape.value_channels, dtype, gpu.capability)
        ]
    pinned = [kernel for kernel in found if kernel.name == only]
    if shape.is_narrow:
        return pinned or ([PROJECTED] if only else [PROJECTED, *found])
    return pinned or found


def _is_power(*sizes: int) -> bool:
    return all(size >= 16 and size & (size - 1) == 0 for size in sizes)


def run_kernel(
    kernel: Kernel, q_bhnc: torch.Tensor, k_bhmc: torch.Tensor, v_bhmc: torch.Tensor
) -> torch.Tensor:
    """``softmax(q k^T / sqrt(c)) v`` by one kernel, without gradients: ``[b, h, n, cv]``.

    PyTorch's kernels are called by their own operators: `torch.nn.attention.sdpa_kernel` would switch the others off
    for the whole process, and other threads compute attention, too.
    """
    if kernel.name == FLASH:
        return torch.ops.aten._scaled_dot_product_flash_attention(q_bhnc, k_bhmc, v_bhmc)[0]
    if kernel.name == EFFICIENT:
        return torch.ops.aten._scaled_dot_product_efficient_attention(q_bhnc, k_bhmc, v_bhmc, None, False)[0]
    if kernel.name == CUDNN:
        # Which layouts it supports depends on its version; contiguous tensors always work.
        q, k, v = q_bhnc.contiguous(), k_bhmc.contiguous(), v_bhmc.contiguous()
        return torch.ops.aten._scaled_dot_product_cudnn_attention(q, k, v, None, False)[0]
    assert kernel.tiles is not None, kernel
    narrow = triton_attention_op if torch.compiler.is_compiling() else _triton_attention
    return narrow(q_bhnc, k_bhmc, v_bhmc, *kernel.tiles)


def _triton_attention(
    q_bhnc: torch.Tensor,
    k_bhmc: torch.Tensor,
    v_bhmc: torch.Tensor,
    queries: int,
    keys: int,
    warps: int,
    stages: int,
) -> torch.Tensor:
    from .triton_attention import triton_attention  # here, as Triton is not installed without a GPU

    return triton_attention(q_bhnc, k_bhmc, v_bhmc, Tiles(queries, keys, warps, stages))


triton_attention_op = torch.library.custom_op(
    "sam2_ros::triton_attention", _triton_attention, mutates_args=()
)
"""`triton_attention` as a single operator for a compiler."""


@triton_attention_op.register_fake
def _(
    q_bhnc: torch.Tensor,
    k_bhmc: torch.Tensor,
    v_bhmc: torch.Tensor,
    queries: int,
    keys: int,
    warps: int,
    stages: int,
) -> torch.Tensor:
    return q_bhnc.new_empty(*q_bhnc.shape[:-1], v_bhmc.shape[-1])
