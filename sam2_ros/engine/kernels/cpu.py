# SPDX-License-Identifier: Apache-2.0
"""Attention by the C++ kernels of cpp/, on x86 CPUs with AVX-512 and without matrix units (AMX).

Says which calls they take, and makes them. Does not know what else could answer.
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

LIBRARY = "_cpu_kernels"  # setup.py builds it beside this file
NEEDED = {"avx512f", "avx512bw", "avx512dq", "avx512vl"}  # as Linux calls them
FOR_BFLOAT16 = "avx512_bf16"
MATRIX_UNITS = "amx_bf16"  # PyTorch's own attention uses them, and is faster then
LANES = 16  # keys that rotate together
FEWEST_QUERIES = {torch.float32: 32, torch.bfloat16: 4}  # below that PyTorch's kernel is as fast
FEWEST_KEYS = 8
FEWEST_FRAMES, MOST_FRAMES = 4, 12  # on a grid; of more the registers could not hold the sums
GROUP = 8  # memories' channels come in multiples of it

_log = logging.getLogger(__name__)


class GridProjections(NamedTuple):
    """A projection of memories to keys and its bias, rotated by the angles of each column and each row of a grid.

    Of the keys' channels the first half rotates with x, the other half with y. The bias is the last row.
    """

    of_x: torch.Tensor  # [side, dim + 1, channels / 2]
    of_y: torch.Tensor  # [side, dim + 1, channels / 2]
    anywhere: torch.Tensor  # [dim + 1, channels], of tokens that have no place


def grid_projections(
    weight_cd: torch.Tensor, bias_c: torch.Tensor, rope_2nc: torch.Tensor
) -> GridProjections:
    """Of keys ``W m + b`` on the grid of `axial_rope`'s table: ``[c, d]``, ``[c]``, ``[2, side * side, c / 2]``."""
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
    """The compiled functions by type of number, and the function of OpenMP that calls them on PyTorch's threads."""

    def __init__(self) -> None:
        """Raises OSError or AttributeError where the library, or OpenMP in PyTorch, is missing."""
        found = sorted(Path(__file__).parent.glob(f"{LIBRARY}*.so"))
        if not found:
            raise OSError(
                "it was not built when sam2_ros was installed; install g++ 10 or newer, then sam2_ros again"
            )
        library = ctypes.CDLL(str(found[0]))
        torch_library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
        self._parallel = ctypes.cast(torch_library.GOMP_parallel, ctypes.c_void_p)
        self._attend = {torch.float32: library.sam2_attention_float32}
        self._attend_to_grid = {torch.float32: library.sam2_grid_attention_float32}
        if FOR_BFLOAT16 in cpu_flags():
            self._attend[torch.bfloat16] = library.sam2_attention_bfloat16
            self._attend_to_grid[torch.bfloat16] = library.sam2_grid_attention_bfloat16

    @property
    def types(self) -> set[torch.dtype]:
        return set(self._attend)

    def takes(self, q_bhnc: torch.Tensor, k_bhmc: torch.Tensor, v_bhmc: torch.Tensor) -> bool:
        """Whether `attend` can, and should, answer this call without rotation; shapes as there."""
        return (
            q_bhnc.dtype == k_bhmc.dtype == v_bhmc.dtype
            and self.takes_sizes(q_bhnc.dtype, q_bhnc.shape[2], k_bhmc.shape[2])
            and q_bhnc.shape[3] % 2 == 0
            and q_bhnc.stride(3) == v_bhmc.stride(3) == 1
            and 1 in k_bhmc.stride()[2:]
        )

    def takes_sizes(self, dtype: torch.dtype, queries: int, keys: int) -> bool:
        """Whether enough queries and keys of this type are there, with heads of any width, rotated or not."""
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
        """``softmax(q k^T / sqrt(c)) v`` of a call that it takes: ``[b, h, n, cv]``, the heads of a token together.

        Any strides, with the channels of queries and values together, and either channels or tokens of keys.

        Args:
            rope_2nc: ``[2, n, c / 2]`` float32 cosines and sines that rotate adjacent channels of the queries.
            key_rope_2cn: ``[2, c / 2, cells]`` likewise for the keys, which repeat it; cells in multiples of `LANES`.
                The channels of keys lie together then.
            rotated_keys: how many keys rotate, from the first one on; a multiple of `LANES`, or all.
        """
        b, h, n, c = q_bhnc.shape
        out = v_bhmc.new_empty(b, n, h, v_bhmc.shape[3]).transpose(1, 2)
        cells = 0 if key_rope_2cn is None else key_rope_2cn.shape[2]
        self._call(
            (q_bhnc, k_bhmc, v_bhmc, out),
            [stride for tensor in (q_bhnc, k_bhmc, v_bhmc, out) for stride in tensor.stride()],
            (b, h, n, k_bhmc.shape[2], c, v_bhmc.shape[3], cells, rotated_keys),
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
        """Attention of the tokens of maps within windows, read and answered where they lie.

        Args:
            q_rhc: ``[r, h, c]``: a token a row, any strides, channels together.
            k_rhc, v_rhc: ``[r', h, c]``; those of a coarser `q_rhc` are more.
            query_rows_wn: ``[w, n]`` int32: the rows that are a window's queries; below 0: one that is not asked.
            key_rows_wm: ``[w, m]`` int32: its keys, below 0 one of `filling_3hc`.
            filling_3hc: ``[3, h, c]`` query, key and value of tokens that are in no row.

        Returns:
            ``[r, h, c]``, every row that is a query of a window.
        """
        (w, n), m = query_rows_wn.shape, key_rows_wm.shape[1]
        h, c = q_rhc.shape[1:]
        out = q_rhc.new_empty(q_rhc.shape)
        tensors = (q_rhc, k_rhc, v_rhc, out)
        # All windows begin at row 0.
        strides = [s for x in tensors for s in (0, x.stride(1), x.stride(0), x.stride(2))]
        windows = [query_rows_wn, key_rows_wm, *filling_3hc]
        self._call(tensors, strides, (w, h, n, m, c, c, 0, 0), windows=[x.data_ptr() for x in windows])
        return out

    def _call(
        self,
        tensors: Sequence[torch.Tensor],
        strides: Sequence[int],
        sizes: Sequence[int],
        ropes: Sequence[torch.Tensor | None] = (None, None),
        windows: Sequence[int] = (),
    ) -> None:
        """`sam2_attention_*` of attention.cpp, whose arguments these are."""
        self._attend[tensors[0].dtype](
            *(ctypes.c_void_p(tensor.data_ptr()) for tensor in tensors),
            (ctypes.c_long * 16)(*strides),
            (ctypes.c_long * 8)(*sizes),
            ctypes.c_float(sizes[4] ** -0.5 * math.log2(math.e)),
            *(None if rope is None else ctypes.c_void_p(rope.data_ptr()) for rope in ropes),
            (ctypes.c_void_p * 5)(*windows) if windows else None,
            torch.get_num_threads(),
            self._parallel,
        )

    def grid_pays(
        self, dtype: torch.dtype, channels: int, dim: int, side: int, frames: int, loose: int
    ) -> bool:
        """Whether `attend_to_grid` takes a call of these sizes and is faster than `attend`.

        What queries ask of a place is worked out once for the memories of all frames there. Measured: with 3 of them
        both take as long, with 7 `attend` takes 1.4 to 2 times as long.
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
        """Attention to keys that are never made: projections of memories on a grid, rotated by their place.

        Args:
            q_bnc: ``[1 or b, n, c]``, to be rotated by `rope_2nc`, ``[2, n, c / 2]``.
            memory_bmd: ``[b, m, d]`` what keys are projected from, frame after frame of the grid's rows, then
                `loose_tokens` that do not rotate.
            values_bmd: ``[b, m, d]``.
            projections: of `grid_projections`, in the type of the queries.

        Returns:
            ``[b, n, d]``, or None where scores are too far from 0 for powers of them: ask `attend` then.
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
    """The kernels, where this CPU gains from them; that they cannot be loaded there is said once, as a warning."""
    if MATRIX_UNITS in cpu_flags() or not cpu_flags().issuperset(NEEDED):
        return None
    try:
        return Kernels()
    except (OSError, AttributeError) as error:
        _log.warning(
            "PyTorch's attention is used; that of sam2_ros, which is twice as fast on this CPU, is not there: %s",
            error,
        )
        return None


def has_cpu_kernels(dtype: torch.dtype) -> bool:
    """Whether there are kernels for numbers of this type."""
    kernels = cpu_kernels()
    return kernels is not None and dtype in kernels.types


# What torch.compiler.assume_constant_result does, which also imports the whole compiler: half of the time to start.
has_cpu_kernels._dynamo_marked_constant = True  # type: ignore[attr-defined]


@lru_cache(1)
def cpu_flags() -> frozenset[str]:
    """What the CPU has; nothing where that is not known (other systems than Linux, other CPUs than x86)."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line for line in lines if line.startswith("flags")), "").split())
