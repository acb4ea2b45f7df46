"""Which exact rewrites of the model's arithmetic are in use: the same answers up to rounding, in less time.

Frozen switches; does not know how they are done. All off is the model as the official code computes it, for tests and
for measuring what each is worth.
"""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Rewrites:
    """Exact rewrites, each on by default.

    Attributes:
        late_values: cross-attention to memory averages the memories themselves and projects the average: rows of a
            softmax sum to 1, so that ``softmax(S) (M W + b) = (softmax(S) M) W + b``. A memory has 64 channels, its
            projection 256. Done where `attention.narrow_values_pay`.
        shared_first_layer: what the first layer of memory attention does before it looks at memory is the same for all
            objects of a frame, and done once.
        pairs_apart: channels that turn together lie half a vector apart instead of side by side, in queries and keys
            alike, so that their products stay; rotating contiguous halves takes a fraction of the time.
        rotating_kernel: the kernels of `cpu_attention`, where there are any, turn queries and keys while they bring
            them into their own order; `pairs_apart` is then not needed.
        axial_keys: half of a key's channels turn with the column it lies in, half with the row, so that a query's score
            of it is ``(A[x] + B[y]) . m`` with as many channels as the memory ``m`` has: no keys are made. By the
            kernel of cpu_kernels/grid_attention.cpp, for memories of at least 4 frames; values are late then.
        folded_skips: the features of strides 4 and 8 pass two convolutions of one pixel in a row, done as one.
    """

    late_values: bool = True
    shared_first_layer: bool = True
    pairs_apart: bool = True
    rotating_kernel: bool = True
    axial_keys: bool = True
    folded_skips: bool = True


AS_OFFICIAL = Rewrites(**{field.name: False for field in fields(Rewrites)})
