"""Which exact rewrites of the model's arithmetic are in use: the same answers up to rounding, in less time.

Frozen switches; does not know how they are done. All off is the model as the official code computes it, for tests and
for measuring what each is worth.
"""

from __future__ import annotations

from dataclasses import dataclass


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
        folded_skips: the features of strides 4 and 8 pass two convolutions of one pixel in a row, done as one.
    """

    late_values: bool = True
    shared_first_layer: bool = True
    pairs_apart: bool = True
    folded_skips: bool = True


AS_OFFICIAL = Rewrites(late_values=False, shared_first_layer=False, pairs_apart=False, folded_skips=False)
