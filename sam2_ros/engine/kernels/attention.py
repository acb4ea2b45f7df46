# SPDX-License-Identifier: Apache-2.0
"""Chooses the attention kernel of every call; the only place that does. On a GPU by the timings of gpu_choice.py.

Knows queries, keys and values of shape [batch, heads, tokens, channels]. Does not know what they mean.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from .cpu import LANES, GridProjections, Kernels, cpu_kernels, has_cpu_kernels
from .gpu import PROJECTED, run_kernel
from .gpu_choice import chosen_kernel
from .layers import Linear, computed_dtype, eager_on_cpu, is_plain, linear
from .rope import Rope, channels_first, rotate_channels_first_, rotate_half_split_

LARGE_ATTENTION = 1 << 22  # queries x keys
SCORES = 1 << 24  # queries x keys of one head at a time: 64 MB of float32
NOT_THERE = -1e4  # bias of padding: far below any score, so that its exponential is exactly 0; fits float16
KEYS = 1024  # at a time: with 4,096 queries their weights take 8 MB in bfloat16
ROWS = 256  # queries at a time: with 28,700 keys their scores take 15 MB in bfloat16
ONES = 16  # columns of ones that sum the weights; a tile of a matrix unit has as many
SUM_LIMIT = 2.0**100  # sums of weights between its inverse and this are within what float32 and bfloat16 hold


class MemoryKeys(NamedTuple):
    """Keys ``W m + b`` of one head, not computed yet: a kernel may project memories itself, or work without keys."""

    memory_bmd: torch.Tensor  # [b, m, d]
    weight_cd: torch.Tensor  # [c, d]
    bias_c: torch.Tensor  # [c]
    grids: tuple[GridProjections, ...] = ()  # of this projection, for the CPU kernel with implicit keys

    def projected(self) -> torch.Tensor:
        """Compute the keys: ``[b, 1, m, c]``."""
        return linear(self.memory_bmd, self.weight_cd, self.bias_c)[:, None]

    def projected_channels_first(self, rope: Rope, dtype: torch.dtype) -> torch.Tensor:
        """Compute the keys and rotate them, ``[b, 1, m, c]`` in half-split layout; tokens are contiguous in memory."""
        memory_bmd, bias = self.memory_bmd.to(dtype), self.bias_c[:, None].to(dtype)
        spatial = memory_bmd.shape[1] - rope.unrotated_keys
        keys = memory_bmd.new_empty(len(memory_bmd), 1, len(self.weight_cd), memory_bmd.shape[1])
        for tokens_md, keys_cm in zip(memory_bmd, keys[:, 0], strict=True):
            torch.addmm(bias, self.weight_cd.to(dtype), tokens_md.t(), out=keys_cm)
            rotate_channels_first_(keys_cm[:, :spatial], rope.keys_2nc)
        return keys.transpose(2, 3)


def attend(
    q_bhnc: torch.Tensor,
    k_bhmc: torch.Tensor | MemoryKeys,
    v_bhmc: torch.Tensor,
    bias_b11m: torch.Tensor | None = None,
    rope: Rope | None = None,
    project_values: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> torch.Tensor:
    """Scaled dot-product attention, ``softmax(R(q) R(k)^T / sqrt(c) + bias) v``.

    Args:
        q_bhnc: ``[1 or b, h, n, c]``; batch 1 = the same queries for the whole batch.
        k_bhmc: ``[b, h, m, c]``, or keys that are not computed yet.
        v_bhmc: ``[b, h, m, cv]``.
        bias_b11m: ``[b, 1, 1, m]``, added to the scores: `NOT_THERE` for padding; None = 0.
        rope: rotation R of queries and keys, with one head only; may be done in place.
        project_values: projection of the values, applied before the attention or after it: the result is the same, as
            the rows of a softmax sum to 1.

    Returns:
        ``[b, h, n, cv]``, or with the channels to which values are projected.
    """
    if project_values is not None:
        # Projecting afterwards saves a fifth of a training step on a CPU. In inference `prepare` does the same.
        if q_bhnc.requires_grad and q_bhnc.device.type == "cpu" and v_bhmc.shape[-1] < q_bhnc.shape[-1]:
            return project_values(attend(q_bhnc, k_bhmc, v_bhmc.to(q_bhnc.dtype), bias_b11m, rope))
        v_bhmc = project_values(v_bhmc)
    if rope is not None:
        found = _attend_by_rotating_kernels(q_bhnc, k_bhmc, v_bhmc, rope) if bias_b11m is None else None
        if found is not None:
            return found
        q_bhnc, k_bhmc = _rotated(q_bhnc, k_bhmc, v_bhmc, rope)
    assert isinstance(k_bhmc, torch.Tensor), "MemoryKeys need a rope"
    if is_plain():
        return attend_by_products(q_bhnc, k_bhmc, v_bhmc, bias_b11m)
    q_bhnc = q_bhnc.expand(len(k_bhmc), -1, -1, -1)
    if bias_b11m is not None:
        return F.scaled_dot_product_attention(q_bhnc, k_bhmc, v_bhmc, bias_b11m.to(q_bhnc.dtype))
    if q_bhnc.device.type == "cpu":
        return _attend_on_cpu(q_bhnc, k_bhmc, v_bhmc)
    if q_bhnc.device.type == "cuda":
        kernel = chosen_kernel(q_bhnc, k_bhmc.shape[2], v_bhmc.shape[-1])
        if kernel is not None:
            return run_kernel(kernel, q_bhnc, k_bhmc, v_bhmc)
    return F.scaled_dot_product_attention(q_bhnc, k_bhmc, v_bhmc)


def _attend_by_rotating_kernels(
    q_bhnc: torch.Tensor, k_bhmc: torch.Tensor | MemoryKeys, v_bhmc: torch.Tensor, rope: Rope
) -> torch.Tensor | None:
    """By the CPU kernels, which also rotate; None if there are none or they do not support the call."""
    kernels = None if rope.half_split or not eager_on_cpu(q_bhnc, v_bhmc) else cpu_kernels()
    dtype = q_bhnc.dtype
    if kernels is None or dtype not in kernels.types:
        return None
    v_bhmc = v_bhmc.to(dtype)
    if isinstance(k_bhmc, MemoryKeys) and k_bhmc.grids:
        memory_bmd, cells = k_bhmc.memory_bmd.to(dtype), rope.keys_2nc.shape[1]
        side, frames = math.isqrt(cells), (memory_bmd.shape[1] - rope.unrotated_keys) // cells
        grid = next((grid for grid in k_bhmc.grids if len(grid.of_x) == side), None)
        sizes = (q_bhnc.shape[-1], memory_bmd.shape[-1], side, frames, rope.unrotated_keys)
        if grid is not None and kernels.grid_pays(dtype, *sizes):
            found = kernels.attend_to_grid(
                q_bhnc[:, 0], memory_bmd, v_bhmc[:, 0], grid, rope.queries_2nc, rope.unrotated_keys
            )
            if found is not None:
                return found[:, None]
    if isinstance(k_bhmc, MemoryKeys):
        k_bhmc = k_bhmc.projected()
    spatial = k_bhmc.shape[2] - rope.unrotated_keys
    whole_lanes = spatial % LANES == 0 or rope.unrotated_keys == 0
    if not whole_lanes or not kernels.takes_sizes(dtype, q_bhnc.shape[2], k_bhmc.shape[2]):
        return None
    q_bhnc = q_bhnc.expand(len(k_bhmc), -1, -1, -1)
    key_rope = channels_first(rope.keys_2nc, LANES)
    return kernels.attend(q_bhnc, k_bhmc, v_bhmc, rope.queries_2nc, key_rope, spatial)


def _rotated(
    q_bhnc: torch.Tensor, k_bhmc: torch.Tensor | MemoryKeys, v_bhmc: torch.Tensor, rope: Rope
) -> tuple[torch.Tensor, torch.Tensor]:
    if isinstance(k_bhmc, torch.Tensor):
        return rope.rotate(q_bhnc, k_bhmc)
    if rope.half_split and eager_on_cpu(q_bhnc, v_bhmc):  # in the layout that `attend_in_tiles` needs
        keys = k_bhmc.projected_channels_first(rope, q_bhnc.dtype)
        return rotate_half_split_(q_bhnc, rope.queries_2nc), keys
    return rope.rotate(q_bhnc, k_bhmc.projected())


def _attend_on_cpu(q_bhnc: torch.Tensor, k_bhmc: torch.Tensor, v_bhmc: torch.Tensor) -> torch.Tensor:
    if q_bhnc.requires_grad:
        # The fused CPU kernel's backward pass takes 39 % of a training step of nano; plain products are faster there.
        scores = (q_bhnc * q_bhnc.shape[-1] ** -0.5) @ k_bhmc.transpose(-2, -1)
        return scores.softmax(dim=-1).to(v_bhmc.dtype) @ v_bhmc
    narrow = v_bhmc.shape[-1] != q_bhnc.shape[-1]
    if torch.compiler.is_compiling() and (narrow or has_cpu_kernels(q_bhnc.dtype)):
        return attention_op(q_bhnc, k_bhmc, v_bhmc)
    if eager_on_cpu(q_bhnc, k_bhmc, v_bhmc):
        kernels = cpu_kernels()
        if kernels is not None and kernels.takes(q_bhnc, k_bhmc, v_bhmc):
            return kernels.attend(q_bhnc, k_bhmc, v_bhmc)
        if narrow:
            return attend_in_tiles(q_bhnc, k_bhmc.transpose(-2, -1).contiguous(), v_bhmc)
    return F.scaled_dot_product_attention(q_bhnc, k_bhmc, v_bhmc)


@torch.library.custom_op("sam2_ros::attention", mutates_args=())
def attention_op(q_bhnc: torch.Tensor, k_bhmc: torch.Tensor, v_bhmc: torch.Tensor) -> torch.Tensor:
    """Attention on a CPU as a single operator for a compiler, which would unroll its loops and cannot trace kernels."""
    return _attend_on_cpu(q_bhnc, k_bhmc, v_bhmc).contiguous()


@attention_op.register_fake
def _(q_bhnc: torch.Tensor, k_bhmc: torch.Tensor, v_bhmc: torch.Tensor) -> torch.Tensor:
    return q_bhnc.new_empty(*q_bhnc.shape[:-1], v_bhmc.shape[-1])


def attend_by_products(
    q_bhnc: torch.Tensor,
    k_bhmc: torch.Tensor,
    v_bhmc: torch.Tensor,
    bias_b11m: torch.Tensor | None = None,
) -> torch.Tensor:
    """As `attend`, by two matrix products and a softmax, which is float32 whatever the type of the queries."""
    parts = -(-int(q_bhnc.shape[2]) * int(k_bhmc.shape[2]) // SCORES)
    if parts > 1:
        rows = -(-int(q_bhnc.shape[2]) // parts)
        found = [attend_by_products(some, k_bhmc, v_bhmc, bias_b11m) for some in q_bhnc.split(rows, dim=2)]
        return torch.cat(found, dim=2)
    scores = ((q_bhnc * q_bhnc.shape[-1] ** -0.5) @ k_bhmc.transpose(-2, -1)).float()
    if bias_b11m is not None:
        scores = scores + bias_b11m.float()
    return scores.softmax(dim=-1).to(v_bhmc.dtype) @ v_bhmc


def narrow_values_pay(q_bhnc: torch.Tensor, keys: int, value_channels: int) -> bool:
    """True if attention to values of fewer channels than the keys is faster than projecting the values first.

    On a CPU: always in float32, and in bfloat16 with the C++ kernels. Without these, PyTorch's fused kernel is far
    faster than plain products, so only large attentions gain (measured: equal up to 1,024 queries and 7,200 keys). On a
    GPU: if a kernel for narrow values was the fastest when the model was loaded.
    """
    if q_bhnc.device.type == "cuda":
        return chosen_kernel(q_bhnc, keys, value_channels) not in (None, PROJECTED)
    if q_bhnc.device.type != "cpu":
        return False
    return (
        q_bhnc.dtype == torch.float32
        or has_cpu_kernels(q_bhnc.dtype)
        or q_bhnc.shape[2] * keys > LARGE_ATTENTION
    )


def window_kernels(x: torch.Tensor, queries: int, keys: int) -> Kernels | None:
    """The CPU kernels if they support windows of so many queries and keys, else None."""
    kernels = cpu_kernels() if eager_on_cpu(x) else None
    return kernels if kernels is not None and kernels.takes_sizes(computed_dtype(x), queries, keys) else None


def attend_in_tiles(q_bhnc: torch.Tensor, k_bhcm: torch.Tensor, v_bhmc: torch.Tensor) -> torch.Tensor:
    """As `attend`, for keys with channels first: all queries and some keys at a time, by plain matrix products.

    For values of fewer channels than the keys, which PyTorch's fused CPU kernel does not support. The largest score is
    not subtracted first: no tile depends on another, and only the exponentials are computed between two products. A
    column of ones beside the values sums the weights. If a sum leaves the range in which this is exact,
    `attend_by_rows` is used. All tiles share one buffer: new pages for each would cost more than the products.
    """
    heads, n, m = q_bhnc.shape[1], q_bhnc.shape[2], k_bhcm.shape[3]
    if q_bhnc.dtype == torch.float16:  # its range is too small
        return attend_by_rows(q_bhnc, k_bhcm, v_bhmc)
    to_base_2 = q_bhnc.shape[-1] ** -0.5 * math.log2(math.e)
    channels = v_bhmc.shape[-1]
    out = q_bhnc.new_empty(*q_bhnc.shape[:-1], channels)
    sums = q_bhnc.new_empty(n, channels + ONES, dtype=torch.float32)
    sums_of_some = q_bhnc.new_empty(n, channels + ONES)
    weights = q_bhnc.new_empty(n * min(KEYS, m))
    values = torch.cat([v_bhmc, v_bhmc.new_ones(*v_bhmc.shape[:-1], ONES)], dim=-1)
    # One matrix product at a time: batched products are several times slower in bfloat16.
    for batch, head in itertools.product(range(len(q_bhnc)), range(heads)):
        queries = q_bhnc[batch, head] * to_base_2
        tiles = zip(k_bhcm[batch, head].split(KEYS, dim=1), values[batch, head].split(KEYS), strict=True)
        sums.zero_()
        for some_keys, some_values in tiles:
            some = torch.mm(queries, some_keys, out=weights[: n * some_keys.shape[1]].view(n, -1))
            sums += torch.mm(some.exp2_(), some_values, out=sums_of_some)
        weighted, total = sums.split([channels, ONES], dim=-1)
        lowest, highest = total.aminmax()
        if not 1 / SUM_LIMIT < lowest <= highest < SUM_LIMIT:
            return attend_by_rows(q_bhnc, k_bhcm, v_bhmc)
        torch.div(weighted, total[:, :1], out=out[batch, head])
    return out


def attend_by_rows(q_bhnc: torch.Tensor, k_bhcm: torch.Tensor, v_bhmc: torch.Tensor) -> torch.Tensor:
    """As `attend_in_tiles`, for scores of any magnitude: some queries and all keys at a time."""
    scale = q_bhnc.shape[-1] ** -0.5
    out = q_bhnc.new_empty(*q_bhnc.shape[:-1], v_bhmc.shape[-1])
    scores = q_bhnc.new_empty(min(ROWS, q_bhnc.shape[2]), k_bhcm.shape[3])
    for batch, head in itertools.product(range(len(q_bhnc)), range(q_bhnc.shape[1])):
        queries, keys, values = q_bhnc[batch, head] * scale, k_bhcm[batch, head], v_bhmc[batch, head]
        for begin in range(0, len(queries), ROWS):
            some = queries[begin : begin + ROWS]
            weights = torch.mm(some, keys, out=scores[: len(some)])
            torch.softmax(weights, -1, out=weights)
            torch.mm(weights, values, out=out[batch, head, begin : begin + ROWS])
    return out


class Attention(nn.Module):
    """Multi-head attention with separate projections, as in the mask decoder of SAM (section A)."""

    def __init__(self, dim: int, num_heads: int, downsample: int = 1, kv_dim: int | None = None) -> None:
        super().__init__()
        inner = dim // downsample
        self.num_heads = num_heads
        self.q_proj = Linear(dim, inner)
        self.k_proj = Linear(kv_dim or dim, inner)
        self.v_proj = Linear(kv_dim or dim, inner)
        self.out_proj = Linear(inner, dim)

    def split_heads(self, x_bnc: torch.Tensor) -> torch.Tensor:
        b, n, c = x_bnc.shape
        return x_bnc.view(b, n, self.num_heads, c // self.num_heads).transpose(1, 2)

    def merge_heads(self, x_bhnc: torch.Tensor) -> torch.Tensor:
        return x_bhnc.transpose(1, 2).flatten(2)

    def forward(
        self,
        q_bnc: torch.Tensor,
        k_bmc: torch.Tensor,
        v_bmc: torch.Tensor,
        bias_b11m: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Attend from queries ``[b, n, c]`` to keys and values ``[b, m, c]``; returns ``[b, n, c]``.

        Inputs that are the same for the whole batch may have batch 1; they are projected once. `bias_b11m`: see
        `attend`.
        """
        q = self.split_heads(self.q_proj(q_bnc))
        k = self.split_heads(self.k_proj(k_bmc))
        v = self.split_heads(self.v_proj(v_bmc))
        b = max(len(q), len(k))
        k, v = (x.expand(b, -1, -1, -1) for x in (k, v))
        return self.out_proj(self.merge_heads(attend(q, k, v, bias_b11m)))
