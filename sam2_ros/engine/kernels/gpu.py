# SPDX-License-Identifier: Apache-2.0
"""Attention kernels of a GPU: which exist, which shapes each takes, and how each is called.

Does not know which is the fastest on this machine (gpu_choice.py), nor what queries and keys stand for.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from .triton_tiles import Tiles, fitting_tiles

FLASH, CUDNN, EFFICIENT, OURS = "flash", "cudnn", "efficient", "triton"
KERNELS = (FLASH, CUDNN, EFFICIENT, OURS)
"""Three of PyTorch's, by the names they have there, and triton_attention.py."""

FEW = 1 << 18
"""Queries x keys up to which PyTorch's own choice stands: windows of the image encoder, tokens of the mask decoder."""


class Kernel(NamedTuple):
    """One of `KERNELS`, with the tiles of our own."""

    name: str
    tiles: Tiles | None = None

    def __str__(self) -> str:
        return self.name if self.tiles is None else f"{self.name} {'x'.join(map(str, self.tiles))}"


PROJECTED = Kernel("projected")
"""In place of a kernel for narrow values: they are projected before the attention, to as many channels as the keys."""


class Shape(NamedTuple):
    """Sizes of an attention."""

    heads: int
    queries: int
    keys: int
    channels: int
    value_channels: int

    @property
    def is_narrow(self) -> bool:
        """The values can be projected to the keys' channels before the attention, or after it."""
        return self.value_channels < self.channels

    @property
    def keys_grow(self) -> bool:
        """Attention to memory: while that fills up, each frame has another number of keys."""
        return self.keys != self.queries

    @property
    def name(self) -> str:
        if self.is_narrow:
            return f"{self.channels} over {self.value_channels}"
        return f"{self.channels} to memory" if self.keys_grow else str(self.channels)


class Gpu(NamedTuple):
    """What the candidates depend on."""

    capability: tuple[int, int]
    cudnn: int  # version as PyTorch gives it, 91002 for 9.10.2; 0 without
    has_triton: bool


def candidates(shape: Shape, dtype: torch.dtype, gpu: Gpu, only: str = "") -> list[Kernel]:
    """Kernels that take this shape, first the one that is used unless another is faster.

    cuDNN is 1.7 to 2.3 times as fast as FlashAttention-2 on Hopper (9.x), 0.82 to 0.93 times on Ampere (8.x), about
    equal on Ada (8.9). For all new sizes it makes a plan, which takes longer than a frame may: it is not for keys that
    grow. In float32 our own kernel needs more registers than there are.

    Args:
        only: the one of `KERNELS` that is to be used where it can be. Where it cannot, narrow values are projected, so
            that it can.
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
            Kernel(OURS, tiles)
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

    PyTorch's are called by their own names: `torch.nn.attention.sdpa_kernel` switches the others off for the whole
    process, and other threads of a node have attention to compute, too.
    """
    if kernel.name == FLASH:
        return torch.ops.aten._scaled_dot_product_flash_attention(q_bhnc, k_bhmc, v_bhmc)[0]
    if kernel.name == EFFICIENT:
        return torch.ops.aten._scaled_dot_product_efficient_attention(q_bhnc, k_bhmc, v_bhmc, None, False)[0]
    if kernel.name == CUDNN:
        # It takes some layouts and not others, depending on its version; the plain one always.
        q, k, v = q_bhnc.contiguous(), k_bhmc.contiguous(), v_bhmc.contiguous()
        return torch.ops.aten._scaled_dot_product_cudnn_attention(q, k, v, None, False)[0]
    assert kernel.tiles is not None, kernel
    narrow = triton_attention_in_one_step if torch.compiler.is_compiling() else _triton_attention
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
    from .triton_attention import triton_attention  # needs Triton, which a CPU does without

    return triton_attention(q_bhnc, k_bhmc, v_bhmc, Tiles(queries, keys, warps, stages))


triton_attention_in_one_step = torch.library.custom_op(
    "sam2_ros::narrow_attention", _triton_attention, mutates_args=()
)
"""`triton_attention` as one step to a compiler."""


@triton_attention_in_one_step.register_fake
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
