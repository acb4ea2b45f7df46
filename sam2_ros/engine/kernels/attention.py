"""The one place that chooses an attention kernel; among those of a GPU, as gpu_choice.py timed them.

Knows query, key and value of shape [batch, heads, tokens, channels]; not what they stand for.
"""

from __future__ import annotations

import itertools
import math

import torch
import torch.nn.functional as F
from torch import nn

from .cpu import cpu_kernels, has_cpu_kernels
from .gpu import PROJECTED, run
from .gpu_choice import chosen_kernel
from .layers import Linear, eager_on_cpu

LARGE = 1 << 22  # queries x keys
NOT_THERE = -1e4  # far below any score, so that its exponential is exactly 0; float16 can hold it
KEYS = 1024  # at a time: with 4,096 queries their weights take 8 MB in bfloat16
ROWS = 256  # queries at a time: with 28,700 keys their scores take 15 MB in bfloat16
ONES = 16  # columns that sum the weights; as many as a tile of a matrix unit has
SAFE = 2.0**100  # sums of weights between its inverse and this are within what float32 and bfloat16 hold


def attention(
    q_bhnc: torch.Tensor,
    k_bhmc: torch.Tensor,
    v_bhmc: torch.Tensor,
    bias_b11m: torch.Tensor | None = None,
) -> torch.Tensor:
    """Scaled dot-product attention, ``softmax(q k^T / sqrt(c) + bias) v``.

    Args:
        q_bhnc: ``[b, h, n, c]``.
        k_bhmc: ``[b, h, m, c]``.
        v_bhmc: ``[b, h, m, cv]``.
        bias_b11m: ``[b, 1, 1, m]``, `NOT_THERE` for keys that only fill a fixed shape.

    Returns:
        ``[b, h, n, cv]``.
    """
    if torch.onnx.is_in_onnx_export():
        return attention_for_export(q_bhnc, k_bhmc, v_bhmc, bias_b11m)
    if bias_b11m is not None:
        return F.scaled_dot_product_attention(q_bhnc, k_bhmc, v_bhmc, bias_b11m.to(q_bhnc.dtype))
    if q_bhnc.device.type == "cpu":
        return _attention_on_cpu(q_bhnc, k_bhmc, v_bhmc)
    if q_bhnc.device.type == "cuda":
        kernel = chosen_kernel(q_bhnc, k_bhmc.shape[2], v_bhmc.shape[-1])
        if kernel is not None:
            return run(kernel, q_bhnc, k_bhmc, v_bhmc)
    return F.scaled_dot_product_attention(q_bhnc, k_bhmc, v_bhmc)


def _attention_on_cpu(q_bhnc: torch.Tensor, k_bhmc: torch.Tensor, v_bhmc: torch.Tensor) -> torch.Tensor:
    if q_bhnc.requires_grad:
        # The fused CPU kernel's backward pass takes 39 % of a training step of nano; plain products are faster there.
        scores = (q_bhnc * q_bhnc.shape[-1] ** -0.5) @ k_bhmc.transpose(-2, -1)
        return scores.softmax(dim=-1).to(v_bhmc.dtype) @ v_bhmc
    narrow = v_bhmc.shape[-1] != q_bhnc.shape[-1]
    if torch.compiler.is_compiling() and (narrow or has_cpu_kernels(q_bhnc.dtype)):
        return attention_in_one_step(q_bhnc, k_bhmc, v_bhmc)
    if eager_on_cpu(q_bhnc, k_bhmc, v_bhmc):
        kernels = cpu_kernels()
        if kernels is not None and kernels.takes(q_bhnc, k_bhmc, v_bhmc):
            return kernels.attend(q_bhnc, k_bhmc, v_bhmc)
        if narrow:
            return attention_in_tiles(q_bhnc, k_bhmc.transpose(-2, -1).contiguous(), v_bhmc)
    return F.scaled_dot_product_attention(q_bhnc, k_bhmc, v_bhmc)


@torch.library.custom_op("sam2_ros::attention", mutates_args=())
def attention_in_one_step(q_bhnc: torch.Tensor, k_bhmc: torch.Tensor, v_bhmc: torch.Tensor) -> torch.Tensor:
    """`attention` on a CPU as one step to a compiler, which would unroll its loops and cannot see into a kernel."""
    return _attention_on_cpu(q_bhnc, k_bhmc, v_bhmc).contiguous()


@attention_in_one_step.register_fake
def _(q_bhnc: torch.Tensor, k_bhmc: torch.Tensor, v_bhmc: torch.Tensor) -> torch.Tensor:
    return q_bhnc.new_empty(*q_bhnc.shape[:-1], v_bhmc.shape[-1])


def attention_for_export(
    q_bhnc: torch.Tensor, k_bhmc: torch.Tensor, v_bhmc: torch.Tensor, bias_b11m: torch.Tensor | None
) -> torch.Tensor:
    """As `attention`, in two products and a softmax, whose state is float32 whatever the type of the queries is."""
    scores = ((q_bhnc * q_bhnc.shape[-1] ** -0.5) @ k_bhmc.transpose(-2, -1)).float()
    if bias_b11m is not None:
        scores = scores + bias_b11m.float()
    return scores.softmax(dim=-1).to(v_bhmc.dtype) @ v_bhmc


def narrow_values_pay(q_bhnc: torch.Tensor, keys: int, value_channels: int) -> bool:
    """Whether values of fewer channels than the keys are worth a kernel that takes them.

    On a CPU in float32 always, and in bfloat16 where there is a kernel of ours; PyTorch's fused one is far better than
    plain products, and without ours only large ones pay (measured: equal up to 1,024 queries and 7,200 keys). On a GPU
    where a kernel that takes them was the fastest when the model was loaded.
    """
    if q_bhnc.device.type == "cuda":
        return chosen_kernel(q_bhnc, keys, value_channels) not in (None, PROJECTED)
    if q_bhnc.device.type != "cpu":
        return False
    return q_bhnc.dtype == torch.float32 or has_cpu_kernels(q_bhnc.dtype) or q_bhnc.shape[2] * keys > LARGE


def attention_in_tiles(q_bhnc: torch.Tensor, k_bhcm: torch.Tensor, v_bhmc: torch.Tensor) -> torch.Tensor:
    """As `attention`, for keys with channels first: all queries and some keys at a time, by plain matrix products.

    For values of fewer channels than the keys, which PyTorch's fused CPU kernel does not take. The largest score is not
    subtracted first, so no tile waits for another, and exponentials of scores are all there is to do between two
    products; ones beside the values sum them up. Where a sum leaves the range in which that is exact,
    `attention_by_rows` answers. Weights lie in one place: new pages for every tile would cost more than the products.
    """
    heads, n, m = q_bhnc.shape[1], q_bhnc.shape[2], k_bhcm.shape[3]
    if q_bhnc.dtype == torch.float16:  # whose range is too small
        return attention_by_rows(q_bhnc, k_bhcm, v_bhmc)
    to_base_2 = q_bhnc.shape[-1] ** -0.5 * math.log2(math.e)
    channels = v_bhmc.shape[-1]
    out = q_bhnc.new_empty(*q_bhnc.shape[:-1], channels)
    sums = q_bhnc.new_empty(n, channels + ONES, dtype=torch.float32)
    sums_of_some = q_bhnc.new_empty(n, channels + ONES)
    weights = q_bhnc.new_empty(n * min(KEYS, m))
    values = torch.cat([v_bhmc, v_bhmc.new_ones(*v_bhmc.shape[:-1], ONES)], dim=-1)
    # One product of two matrices at a time: batched ones are several times slower in bfloat16.
    for batch, head in itertools.product(range(len(q_bhnc)), range(heads)):
        queries = q_bhnc[batch, head] * to_base_2
        tiles = zip(k_bhcm[batch, head].split(KEYS, dim=1), values[batch, head].split(KEYS), strict=True)
        sums.zero_()
        for some_keys, some_values in tiles:
            some = torch.mm(queries, some_keys, out=weights[: n * some_keys.shape[1]].view(n, -1))
            sums += torch.mm(some.exp2_(), some_values, out=sums_of_some)
        weighted, total = sums.split([channels, ONES], dim=-1)
        lowest, highest = total.aminmax()
        if not 1 / SAFE < lowest <= highest < SAFE:
            return attention_by_rows(q_bhnc, k_bhcm, v_bhmc)
        torch.div(weighted, total[:, :1], out=out[batch, head])
    return out


def attention_by_rows(q_bhnc: torch.Tensor, k_bhcm: torch.Tensor, v_bhmc: torch.Tensor) -> torch.Tensor:
    """As `attention_in_tiles`, for scores of any size: some queries and all keys at a time."""
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
        """``[b, n, c]`` queries over ``[b, m, c]`` keys and values -> ``[b, n, c]``; `bias_b11m` as in `attention`.

        What is the same for the whole batch is given with a first axis of 1, and projected once.
        """
        q = self.split_heads(self.q_proj(q_bnc))
        k = self.split_heads(self.k_proj(k_bmc))
        v = self.split_heads(self.v_proj(v_bmc))
        b = max(len(q), len(k))
        q, k, v = (x.expand(b, -1, -1, -1) for x in (q, k, v))
        return self.out_proj(self.merge_heads(attention(q, k, v, bias_b11m)))
