# SPDX-License-Identifier: Apache-2.0
"""Opens the annotated sequences of a run, and checks them before training starts.

Does not know clips, models or the files of datasets.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from sam2_ros.datasets.layouts import open_dataset
from sam2_ros.datasets.sequence import VosSequence
from sam2_ros.errors import UserError


def open_sequences(paths: Iterable[str | Path]) -> list[VosSequence]:
    """All sequences of some datasets, sorted by name. Frames without a mask are tracked, but not trained on.

    Reads the first mask of each sequence, because most mistakes affect a whole sequence.

    Raises:
        SourceError: no dataset; a sequence without masks; a mask of another size than its frame.
        UserError: two sequences have the same name.
    """
    found: dict[str, VosSequence] = {}
    for path in paths:
        for sequence in open_dataset(Path(path).expanduser()):
            if sequence.name in found:
                raise UserError(
                    f"data '{path}': a sequence '{sequence.name}' is also in another folder; rename one of them"
                )
            first = sequence.truth.indices[0]
            sequence.annotated(first, sequence.image(first))
            found[sequence.name] = sequence
    return [found[name] for name in sorted(found)]
