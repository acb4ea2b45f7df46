# SPDX-License-Identifier: Apache-2.0
"""Attention by the C++ kernels in cpp/, on x86 CPUs with AVX-512 and without matrix units (AMX).

Knows which calls the kernels support, and makes them. Does not know the alternatives.
"""

from __future__ import annotations

import ctypes
import logging
import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch

from .rope import rotate

LIBRARY = "_cpu_kernels"  # built by setup.py beside this file
INTERFACE = 2  # of the library, see `sam2_kernels_interface` in attention.cpp
NEEDED = {"avx512f", "avx512bw", "avx512dq", "avx512vl"}  # CPU flags, by Linux's names
FOR_BFLOAT16 = "avx512_bf16"
MATRIX_UNITS = "amx_bf16"  # PyTorch's attention uses them, and is faster then
LANES = 16  # keys that are rotated together
FEWEST_QUERIES = {torch.float32: 32, torch.bfloat16: 4}  # with fewer, PyTorch's kernel is as fast
FEWEST_KEYS = 8
FEWEST_FRAMES, MOST_FRAMES = 4, 12  # on a grid; the registers hold the sums of at most 12
GROUP = 8  # channels of memories must be a multiple of it

_log = logging.getLogger(__name__)


class GridProjections(NamedTuple):
    """A key projection with its bias, rotated by the angles of each column and each row of a grid.

    The first half of the keys' channels rotates with x, the second half with y. The bias is the last row.
    """

    of_x: torch.Tensor  # [side, dim + 1, channels / 2], for each column
    of_y: torch.Tensor  # [side, dim + 1, channels / 2], for each row
    anywhere: torch.Tensor  # [dim + 1, channels], not rotated: for tokens without a place on the grid


def grid_projections(
    weight_cd: torch.Tensor, bias_c: torch.Tensor, rope_2nc: torch.Tensor
) -> GridProjections:
    """Rotate the projection of keys ``W m + b`` for every column and row of a grid.

    Args:
        weight_cd: ``[c, d]``.
        bias_c: ``[c]``.
        rope_2nc: ``[2, side * side, c / 2]``, table of `axial_rope`.
    """
    side, half = math.isqrt(rope_2nc.shape[1]), len(weight_cd) // 2
    anywhere = torch.cat([weight_cd.t(), bias_c[None]])
    everywhere = anywhere.float()[:, None, None].expand(-1, 1, side, -1)
    along = rope_2nc[:, :side], rope_2nc[:, ::side]  # the first row of the grid, its first column
    of_x, of_y = (rotate(everywhere, rope)[:, 0].transpose(0, 1) for rope in along)
    dtype = weight_cd.dtype
    return GridProjections(
        of_x[..., :half].to(dtype).contiguous(),
        of_y[..., half:].to(dtype).contiguous(),
        anywhere.contiguous(),
    )


class Kernels:
    """The compiled C++ functions, by type of number, called on PyTorch's OpenMP threads."""

    def __init__(self) -> None:
        """Load the library. Raises OSError or AttributeError if it, or OpenMP in PyTorch, is missing."""
        found = sorted(Path(__file__).parent.glob(f"{LIBRARY}*.so"))
        if not found:
            raise OSError(
                "it was not built when sam2_ros was installed; install g++ 10 or newer, then sam2_ros again"
            )
        library = ctypes.CDLL(str(found[0]))
        built = library.sam2_kernels_interface() if hasattr(library, "sam2_kernels_interface") else 1
        if built != INTERFACE:
            raise OSError(
                f"{found[0].name} has interface {built}, expected {INTERFACE}; install sam2_ros again"
            )
        torch_library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
        self._parallel = ctypes.cast(torch_library.GOMP_parallel, ctypes.c_void_p)
        self._attend = {torch.float32: library.sam2_attention_float32}
        self._attend_to_grid = {torch.float32: library.sam2_grid_attention_float32}
        if FOR_BFLOAT16 in cpu_flags():
            self._attend[torch.bfloat16] = library.sam2_attention_bfloat16
            self._attend_to_grid[torch.bfloat16] = library.sam2_grid_attention_bfloat16

    @property
    def types(self) -> set[torch.dtype]:
        """Types of numbers for which there are kernels on this CPU."""
        return set(self._attend)

    def takes(self, q_bhnc: torch.Tensor, k_bhmc: torch.Tensor, v_bhmc: torch.Tensor) -> bool:
        """True if `attend` supports this call, without rotation, and is faster than PyTorch; shapes as there."""
        return (
            q_bhnc.dtype == k_bhmc.dtype == v_bhmc.dtype
            and self.takes_sizes(q_bhnc.dtype, q_bhnc.shape[2], k_bhmc.shape[2])
            and q_bhnc.shape[3] % 2 == 0
            and q_bhnc.stride(3) == v_bhmc.stride(3) == 1
            and 1 in k_bhmc.stride()[2:]
        )

    def takes_sizes(self, dtype: torch.dtype, queries: int, keys: int) -> bool:
        """True if there are enough queries and keys of this type for `attend`, rotated or not."""
        return dtype in self.types and queries >= FEWEST_QUERIES[dtype] and keys >= FEWEST_KEYS

    def attend(
        self,
        q_bhnc: torch.Tensor,
        k_bhmc: torch.Tensor,
        v_bhmc: torch.Tensor,
        rope_2nc: torch.Tensor | None = None,
        key_rope_2cn: torch.Tensor | None = None,
        rotated_keys: int = 0,
    ) -> torch.Tensor:
        """``softmax(q k^T / sqrt(c)) v`` for a call that `takes` accepts.

        Args:
            q_bhnc: ``[b, h, n, c]``, channels contiguous, other strides arbitrary.
            k_bhmc: ``[b, h, m, c]``, either channels or tokens contiguous.
            v_bhmc: ``[b, h, m, cv]``, channels contiguous.
            rope_2nc: ``[2, n, c / 2]`` float32 cosines and sines, to rotate adjacent channels of the queries.
            key_rope_2cn: ``[2, c / 2, cells]``, likewise for the keys, repeated over them; cells a multiple of `LANES`.
                The channels of keys must be contiguous then.
            rotated_keys: number of keys to rotate, from the first on; a multiple of `LANES`, or all.

        Returns:
            ``[b, h, n, cv]``; in memory the heads of a token are adjacent.
        """
        b, h, n, c = q_bhnc.shape
        out = v_bhmc.new_empty(b, n, h, v_bhmc.shape[3]).transpose(1, 2)
        cells = 0 if key_rope_2cn is None else key_rope_2cn.shape[2]
        self._call(
            (q_bhnc, k_bhmc, v_bhmc, out),
            [stride for tensor in (q_bhnc, k_bhmc, v_bhmc, out) for stride in tensor.stride()],
            (b, h, n, k_bhmc.shape[2], c, v_bhmc.shape[3], cells, rotated_keys, 1),
            scale=c**-0.5,
            ropes=(rope_2nc, key_rope_2cn),
        )
        return out

    def attend_in_windows(
        self,
        q_rhc: torch.Tensor,
        k_rhc: torch.Tensor,
        v_rhc: torch.Tensor,
        query_rows_wn: torch.Tensor,
        key_rows_wm: torch.Tensor,
        filling_3hc: torch.Tensor,
    ) -> torch.Tensor:
        """Attention within the windows of a map, without copying tokens into windows.

        Args:
            q_rhc: ``[r, h, c]`` queries, one row per token of the map; channels contiguous, other strides arbitrary.
            k_rhc: ``[r', h, c]`` keys; r' > r when queries are pooled.
            v_rhc: ``[r', h, c]`` values.
            query_rows_wn: ``[w, n]`` int32: rows of `q_rhc` that are queries of each window; below 0 = padding.
            key_rows_wm: ``[w, m]`` int32: rows that are its keys and values; below 0 = padding.
            filling_3hc: ``[3, h, c]`` query, key and value of padding.

        Returns:
            ``[r, h, c]``, written for every row that is a query of a window.
        """
        (w, n), m = query_rows_wn.shape, key_rows_wm.shape[1]
        h, c = q_rhc.shape[1:]
        out = q_rhc.new_empty(q_rhc.shape)
        tensors = (q_rhc, k_rhc, v_rhc, out)
        # All windows begin at row 0.
        strides = [s for x in tensors for s in (0, x.stride(1), x.stride(0), x.stride(2))]
        windows = [query_rows_wn, key_rows_wm, *filling_3hc]
        sizes = (w, h, n, m, c, c, 0, 0, 1)
        self._call(tensors, strides, sizes, c**-0.5, windows=[x.data_ptr() for x in windows])
        return out

    def weighted_sums(
        self,
        q_nc: torch.Tensor,
        k_mc: torch.Tensor,
        v_mv: torch.Tensor,
        query_rows_wn: torch.Tensor | None = None,
        key_rows_wm: torch.Tensor | None = None,
        filling_3c: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """``exp(q k^T) v``, not divided by the sums of weights, with all keys or within windows.

        Args:
            q_nc: ``[n, c]``, c even.
            k_mc: ``[m, c]``.
            v_mv: ``[m, v]``.
            query_rows_wn: as in `attend_in_windows`; None = no windows.
            key_rows_wm: likewise.
            filling_3c: query, key and value of padding, at least c and v channels.

        Returns:
            ``[n, v]``.
        """
        tensors = [x.contiguous() for x in (q_nc, k_mc, v_mv)] + [v_mv.new_empty(len(q_nc), v_mv.shape[1])]
        strides = [stride for x in tensors for stride in (0, 0, x.stride(0), 1)]
        batch, queries, keys, windows = 1, len(q_nc), len(k_mc), []
        if query_rows_wn is not None and key_rows_wm is not None and filling_3c is not None:
            (batch, queries), keys = query_rows_wn.shape, key_rows_wm.shape[1]
            windows = [query_rows_wn, key_rows_wm, *filling_3c]
        sizes = (batch, 1, queries, keys, q_nc.shape[1], v_mv.shape[1], 0, 0, 0)
        self._call(tensors, strides, sizes, 1.0, windows=[x.data_ptr() for x in windows])
        return tensors[3]

    def _call(
        self,
        tensors: Sequence[torch.Tensor],
        strides: Sequence[int],
        sizes: Sequence[int],
        scale: float,
        ropes: Sequence[torch.Tensor | None] = (None, None),
        windows: Sequence[int] = (),
    ) -> None:
        """Call `sam2_attention_*` of attention.cpp, which describes the arguments."""
        self._attend[tensors[0].dtype](
            *(ctypes.c_void_p(tensor.data_ptr()) for tensor in tensors),
            (ctypes.c_long * 16)(*strides),
            (ctypes.c_long * 9)(*sizes),
            ctypes.c_float(scale * math.log2(math.e)),
            *(None if rope is None else ctypes.c_void_p(rope.data_ptr()) for rope in ropes),
            (ctypes.c_void_p * 5)(*windows) if windows else None,
            torch.get_num_threads(),
            self._parallel,
        )

    def grid_pays(
        self, dtype: torch.dtype, channels: int, dim: int, side: int, frames: int, loose: int
    ) -> bool:
        """True if `attend_to_grid` supports these sizes and is faster than `attend`.

        It projects queries once for each place of the grid, for the memories of all frames there. Measured: with 3
        frames both take as long, with 7 `attend` takes 1.4 to 2 times as long.
        """
        if dtype not in self.types or side % 2 or loose % 2 or channels % 4 or dim % GROUP or dim >= channels:
            return False
        return FEWEST_FRAMES <= frames <= MOST_FRAMES

    def attend_to_grid(
        self,
        q_bnc: torch.Tensor,
        memory_bmd: torch.Tensor,
        values_bmd: torch.Tensor,
        projections: GridProjections,
        rope_2nc: torch.Tensor,
        loose_tokens: int,
    ) -> torch.Tensor | None:
        """Attention with implicit keys: keys are rotated projections of memories on a grid, and are not computed.

        Args:
            q_bnc: ``[1 or b, n, c]``, not yet rotated.
            memory_bmd: ``[b, m, d]`` memories from which keys are projected: frame after frame, each row by row of the
                grid, then `loose_tokens`.
            values_bmd: ``[b, m, d]``.
            projections: of `grid_projections`, in the type of the queries.
            rope_2nc: ``[2, n, c / 2]`` cosines and sines, to rotate the queries.
            loose_tokens: tokens at the end without a place on the grid, whose keys are not rotated.

        Returns:
            ``[b, n, d]``; None if a sum of exponentials leaves the range of float32: use `attend` then.
        """
        b, tokens, dim = memory_bmd.shape
        n, c = q_bnc.shape[1:]
        side = len(projections.of_x)
        out = values_bmd.new_empty(b, n, dim)
        tensors = [x.contiguous() for x in (q_bnc, memory_bmd, values_bmd, *projections)] + [out]
        pointers = (ctypes.c_void_p * len(tensors))(*(tensor.data_ptr() for tensor in tensors))
        frames = (tokens - loose_tokens) // side**2
        sizes = (ctypes.c_long * 8)(b, n, c, dim, side, frames, loose_tokens, n * c if len(q_bnc) > 1 else 0)
        good = self._attend_to_grid[q_bnc.dtype](
            pointers,
            ctypes.c_void_p(rope_2nc.data_ptr()),
            sizes,
            ctypes.c_float(c**-0.5 * math.log2(math.e)),
            torch.get_num_threads(),
            self._parallel,
        )
        return out if good else None


@lru_cache(1)
def cpu_kernels() -> Kernels | None:
    """The kernels if this CPU gains from them, else None. If they cannot be loaded, a warning is logged once."""
    if MATRIX_UNITS in cpu_flags() or not cpu_flags().issuperset(NEEDED):
        return None
    try:
        return Kernels()
    except (OSError, AttributeError) as error:
        _log.warning(
            "PyTorch's attention is used; the kernels of sam2_ros, twice as fast on this CPU, cannot be loaded: %s",
            error,
        )
        return None


def has_cpu_kernels(dtype: torch.dtype) -> bool:
    """True if there are kernels for numbers of this type."""
    kernels = cpu_kernels()
    return kernels is not None and dtype in kernels.types


# What torch.compiler.assume_constant_result does, which also imports the whole compiler: half of the time to start.
has_cpu_kernels._dynamo_marked_constant = True  # type: ignore[attr-defined]


@lru_cache(1)
def cpu_flags() -> frozenset[str]:
    """The CPU's flags as Linux lists them; empty where they are not known (not Linux, or not x86)."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line for line in lines if line.startswith("flags")), "").split())
