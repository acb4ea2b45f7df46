# SPDX-License-Identifier: Apache-2.0
"""Attention for values of fewer channels than the keys, as two Triton kernels.

Softmax is computed in float32. Imported only where it is called, as it needs Triton. Does not know when it is faster.
"""

# No `from __future__ import annotations`: the interpreter of older Triton versions needs tl.constexpr unquoted.
import math

import torch
import triton
import triton.language as tl

from .triton_tiles import Tiles, splits_for

ROWS_JOINED = 32  # rows of the result that one program of the second kernel computes


def triton_attention(
    q_bhnc: torch.Tensor,
    k_bhmc: torch.Tensor,
    v_bhmc: torch.Tensor,
    tiles: Tiles,
    splits: int | None = None,
) -> torch.Tensor:
    """``softmax(q k^T / sqrt(c)) v`` without storing the scores.

    Args:
        q_bhnc: ``[b, h, n, c]``, c a power of two, at least 16; float16, bfloat16 or float32.
        k_bhmc: ``[b, h, m, c]``, m at least 1.
        v_bhmc: ``[b, h, m, cv]``, cv a power of two, at least 16.
        tiles: sizes of the blocks of a program.
        splits: number of parts into which the keys are divided; the second kernel joins their results. None = as many
            as fill the device.

    Returns:
        ``[b, h, n, cv]``.
    """
    b, h, n, c = q_bhnc.shape
    m, cv = v_bhmc.shape[2:]
    blocks = triton.cdiv(n, tiles.queries) * b * h
    if splits is None:
        splits = splits_for(blocks, triton.cdiv(m, tiles.keys), _processors(q_bhnc.device))
    keys_per_split = triton.cdiv(triton.cdiv(m, splits), tiles.keys) * tiles.keys
    splits = triton.cdiv(m, keys_per_split)  # no part is empty
    shared_queries = b > 1 and q_bhnc.stride(0) == 0  # in the first layer all objects have the same queries
    q = q_bhnc[:1].contiguous() if shared_queries else q_bhnc.contiguous()
    k, v = k_bhmc.contiguous(), v_bhmc.contiguous()
    sums = torch.empty(splits, b * h * n, cv, dtype=torch.float32, device=q.device)
    peaks, totals = torch.empty(2, splits, b * h * n, dtype=torch.float32, device=q.device)
    out = torch.empty(b, h, n, cv, dtype=v.dtype, device=q.device)
    with torch.cuda.device_of(q):  # Triton launches on the current device
        _attend[(triton.cdiv(n, tiles.queries), b * h, splits)](
            q,
            k,
            v,
            sums,
            peaks,
            totals,
            n,
            m,
            h if shared_queries else b * h,
            keys_per_split,
            c**-0.5 * math.log2(math.e),
            C=c,
            CV=cv,
            QUERIES=tiles.queries,
            KEYS=tiles.keys,
            num_warps=tiles.warps,
            num_stages=tiles.stages,
        )
        _join[(triton.cdiv(b * h * n, ROWS_JOINED),)](
            sums, peaks, totals, out, b * h * n, splits, CV=cv, ROWS=ROWS_JOINED
        )
    return out


def _processors(device: torch.device) -> int:
    if device.type == "cpu":  # Triton's interpreter
        return 1
    return torch.cuda.get_device_properties(device).multi_processor_count


# Sizes are not compiled in: a memory that grows must not cause a compilation while a stream runs.
@triton.jit(do_not_specialize=["n", "m", "q_heads", "keys_per_split"])
def _attend(
    q_hnc,
    k_hmc,
    v_hmc,
    sums_shnc,
    peaks_shn,
    totals_shn,
    n,
    m,
    q_heads,
    keys_per_split,
    scale,
    C: tl.constexpr,
    CV: tl.constexpr,
    QUERIES: tl.constexpr,
    KEYS: tl.constexpr,
):
    """One block of queries of one head over one part of its keys: sums of weighted values, sums of weights, peak score.

    Weights are powers of 2 relative to the largest score so far (FlashAttention-2, arXiv 2307.08691, section 3.1);
    `scale` includes the factor log2(e).
    """
    head = tl.program_id(1).to(tl.int64)
    split = tl.program_id(2)
    row = tl.program_id(0) * QUERIES + tl.arange(0, QUERIES)
    channel = tl.arange(0, C)
    q_hnc += (head % q_heads) * n * C
    k_hmc += head * m * C
    v_hmc += head * m * CV
    q = tl.load(q_hnc + row[:, None] * C + channel[None, :], mask=row[:, None] < n, other=0.0)
    peak = tl.full([QUERIES], float("-inf"), tl.float32)
    total = tl.zeros([QUERIES], tl.float32)
    sums = tl.zeros([QUERIES, CV], tl.float32)
    begin = split * keys_per_split
    end = tl.minimum(begin + keys_per_split, m)
    whole = begin + (end - begin) // KEYS * KEYS
    for first in range(begin, whole, KEYS):
        peak, total, sums = _over_keys(
            q, k_hmc, v_hmc, first, end, peak, total, sums, scale, C, CV, KEYS, False
        )
    if whole < end:
        peak, total, sums = _over_keys(
            q, k_hmc, v_hmc, whole, end, peak, total, sums, scale, C, CV, KEYS, True
        )
    at = (split.to(tl.int64) * tl.num_programs(1) + head) * n + row
    tl.store(peaks_shn + at, peak, mask=row < n)
    tl.store(totals_shn + at, total, mask=row < n)
    value = tl.arange(0, CV)
    tl.store(sums_shnc + at[:, None] * CV + value[None, :], sums, mask=row[:, None] < n)


@triton.jit
def _over_keys(
    q,
    k_mc,
    v_mc,
    first,
    end,
    peak,
    total,
    sums,
    scale,
    C: tl.constexpr,
    CV: tl.constexpr,
    KEYS: tl.constexpr,
    IS_TAIL: tl.constexpr,
):
    """The state after one tile of keys, from `first` on; IS_TAIL: keys from `end` on are masked."""
    key = first + tl.arange(0, KEYS)
    at_k = k_mc + key[None, :] * C + tl.arange(0, C)[:, None]
    at_v = v_mc + key[:, None] * CV + tl.arange(0, CV)[None, :]
    if IS_TAIL:
        k = tl.load(at_k, mask=key[None, :] < end, other=0.0)
        v = tl.load(at_v, mask=key[:, None] < end, other=0.0)
    else:
        k = tl.load(at_k)
        v = tl.load(at_v)
    # "ieee" concerns float32 only: no rounding to TF32's 10 bits in the matrix units.
    scores = tl.dot(q, k, input_precision="ieee") * scale
    if IS_TAIL:
        scores = tl.where(key[None, :] < end, scores, float("-inf"))
    larger = tl.maximum(peak, tl.max(scores, 1))
    shrink = tl.exp2(peak - larger)
    weights = tl.exp2(scores - larger[:, None])
    total = total * shrink + tl.sum(weights, 1)
    sums = sums * shrink[:, None] + tl.dot(weights.to(v.dtype), v, input_precision="ieee")
    return larger, total, sums


@triton.jit(do_not_specialize=["rows", "splits"])
def _join(
    sums_src,
    peaks_sr,
    totals_sr,
    out_rc,
    rows,
    splits,
    CV: tl.constexpr,
    ROWS: tl.constexpr,
):
    """Join the results of all parts of the keys, relative to the largest score of all of them."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    there = row < rows
    peak = tl.load(peaks_sr + row, mask=there, other=0.0)
    for split in range(1, splits):
        peak = tl.maximum(peak, tl.load(peaks_sr + split * rows + row, mask=there, other=0.0))
    value = tl.arange(0, CV)
    total = tl.zeros([ROWS], tl.float32)
    sums = tl.zeros([ROWS, CV], tl.float32)
    at = row.to(tl.int64)
    for _ in range(splits):
        weight = tl.exp2(tl.load(peaks_sr + at, mask=there, other=0.0) - peak)
        total += weight * tl.load(totals_sr + at, mask=there, other=1.0)
        part = tl.load(sums_src + at[:, None] * CV + value[None, :], mask=there[:, None], other=0.0)
        sums += weight[:, None] * part
        at += rows
    out = (sums / total[:, None]).to(out_rc.dtype.element_ty)
    tl.store(out_rc + row.to(tl.int64)[:, None] * CV + value[None, :], out, mask=there[:, None])
