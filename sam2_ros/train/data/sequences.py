# SPDX-License-Identifier: Apache-2.0
"""Opens the annotated sequences of a run, and finds early what would end it later.

Does not know clips, models or how data sets lie on disk.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from sam2_ros.datasets.layouts import open_dataset
from sam2_ros.datasets.sequence import VosSequence
from sam2_ros.errors import UserError


def open_sequences(paths: Iterable[str | Path]) -> list[VosSequence]:
    """All sequences of some data sets, by name. Frames without a mask are tracked through and not trained on.

    Raises:
        SourceError: no data set, or a sequence without masks, or with masks of another size than its frames: of each,
            the first mask is read, as most mistakes are of a whole sequence.
        UserError: a name twice.
    """
    found: dict[str, VosSequence] = {}
    for path in paths:
        for sequence in open_dataset(Path(path).expanduser()):
            if sequence.name in found:
                raise UserError(
                    f"data '{path}': a sequence '{sequence.name}' is in another folder, too; rename one"
                )
            first = sequence.truth.indices[0]
            sequence.annotated(first, sequence.image(first))
            found[sequence.name] = sequence
    return [found[name] for name in sorted(found)]
