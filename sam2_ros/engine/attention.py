"""The one place that chooses an attention kernel; among those of a GPU, as kernel_choice.py timed them.

Knows query, key and value of shape [batch, heads, tokens, channels]; not what they stand for.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from .attention_kernels import PROJECTED, run
from .kernel_choice import chosen_kernel

LARGE = 1 << 22  # queries x keys
NOT_THERE = -1e4  # far below any score, so that its exponential is exactly 0; float16 can hold it
ROWS = 128  # queries at a time: with 28,700 keys their scores take 7 MB in bfloat16


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
    if q_bhnc.device.type == "cpu" and q_bhnc.requires_grad:
        # The fused CPU kernel's backward pass takes 39 % of a training step of nano; plain products are faster there.
        scores = (q_bhnc * q_bhnc.shape[-1] ** -0.5) @ k_bhmc.transpose(-2, -1)
        return scores.softmax(dim=-1).to(v_bhmc.dtype) @ v_bhmc
    if q_bhnc.device.type == "cpu" and (v_bhmc.shape[-1] != q_bhnc.shape[-1]):
        by_rows = whole_attention_by_rows if torch.compiler.is_compiling() else attention_by_rows
        return by_rows(q_bhnc, k_bhmc, v_bhmc)
    if q_bhnc.device.type == "cuda":
        kernel = chosen_kernel(q_bhnc, k_bhmc, v_bhmc.shape[-1])
        if kernel is not None:
            return run(kernel, q_bhnc, k_bhmc, v_bhmc)
    return F.scaled_dot_product_attention(q_bhnc, k_bhmc, v_bhmc)


def attention_for_export(
    q_bhnc: torch.Tensor, k_bhmc: torch.Tensor, v_bhmc: torch.Tensor, bias_b11m: torch.Tensor | None
) -> torch.Tensor:
    """As `attention`, in two products and a softmax, whose state is float32 whatever the type of the queries is."""
    scores = ((q_bhnc * q_bhnc.shape[-1] ** -0.5) @ k_bhmc.transpose(-2, -1)).float()
    if bias_b11m is not None:
        scores = scores + bias_b11m.float()
    return scores.softmax(dim=-1).to(v_bhmc.dtype) @ v_bhmc


def narrow_values_pay(q_bhnc: torch.Tensor, k_bhmc: torch.Tensor, value_channels: int) -> bool:
    """Whether values of fewer channels than the keys are worth a kernel that takes them.

    On a CPU in float32 always; in bfloat16, whose fused kernel is far better, for large products only (measured: equal
    at 1,024 queries and 7,200 keys, 0.6 times as fast at 576 and 4,100). On a GPU where a kernel that takes them was
    the fastest when the model was loaded.
    """
    if q_bhnc.device.type == "cuda":
        return chosen_kernel(q_bhnc, k_bhmc, value_channels) not in (None, PROJECTED)
    if q_bhnc.device.type != "cpu":
        return False
    return q_bhnc.dtype == torch.float32 or q_bhnc.shape[2] * k_bhmc.shape[2] > LARGE


def attention_by_rows(q_bhnc: torch.Tensor, k_bhmc: torch.Tensor, v_bhmc: torch.Tensor) -> torch.Tensor:
    """As `attention`, some queries at a time by plain matrix products, whose scores stay in the cache.

    For values of fewer channels than the keys, which PyTorch's fused CPU kernel does not take.
    """
    scale = q_bhnc.shape[-1] ** -0.5
    out = q_bhnc.new_empty(*q_bhnc.shape[:-1], v_bhmc.shape[-1])
    # One product of two matrices at a time: batched ones are several times slower in bfloat16.
    for batch in range(q_bhnc.shape[0]):
        for head in range(q_bhnc.shape[1]):
            queries, values = q_bhnc[batch, head] * scale, v_bhmc[batch, head]
            keys = k_bhmc[batch, head].t().contiguous()
            for begin in range(0, len(queries), ROWS):
                scores = queries[begin : begin + ROWS] @ keys
                out[batch, head, begin : begin + ROWS] = scores.softmax(dim=-1) @ values
    return out


@torch.library.custom_op("sam2_ros::attention_by_rows", mutates_args=())
def whole_attention_by_rows(q_bhnc: torch.Tensor, k_bhmc: torch.Tensor, v_bhmc: torch.Tensor) -> torch.Tensor:
    """`attention_by_rows` as one step to a compiler, which would unroll its loops into thousands."""
    return attention_by_rows(q_bhnc, k_bhmc, v_bhmc)


@whole_attention_by_rows.register_fake
def _(q_bhnc: torch.Tensor, k_bhmc: torch.Tensor, v_bhmc: torch.Tensor) -> torch.Tensor:
    return q_bhnc.new_empty(*q_bhnc.shape[:-1], v_bhmc.shape[-1])


class Attention(nn.Module):
    """Multi-head attention with separate projections, as in the mask decoder of SAM (section A)."""

    def __init__(self, dim: int, num_heads: int, downsample: int = 1, kv_dim: int | None = None) -> None:
        super().__init__()
        inner = dim // downsample
        self.num_heads = num_heads
        self.q_proj = nn.Linear(dim, inner)
        self.k_proj = nn.Linear(kv_dim or dim, inner)
        self.v_proj = nn.Linear(kv_dim or dim, inner)
        self.out_proj = nn.Linear(inner, dim)

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
