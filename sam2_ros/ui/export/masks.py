# SPDX-License-Identifier: Apache-2.0
"""Exports masks as palette images with the names of the objects, in the layout of `sam2-ros track` and `eval`.

Does not know where masks come from.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from sam2_ros.atomic_write import write_json
from sam2_ros.media.frame_source import Frame
from sam2_ros.media.results import ResultWriter, RunInfo
from sam2_ros.result_folder.folder import ResultFolder

from .exported import Export, ExportedFrame, ExportRequest, frame_result, labels_of, unique_names
from .folder import new_export_folder, zip_folder

_WRITTEN = ("masks/", "objects.json", "summary.json")


def export_masks(request: ExportRequest, frames: Iterable[ExportedFrame]) -> Export:
    """Write masks/NNNNN.png (of a folder: masks/NAME.png), labels.json, objects.json, summary.json, meta.json; zipped.

    A pixel's value is the object's label: 0 = background, 1, 2, ... in the order of the objects' numbers; where masks
    overlap, the smallest object has the pixel. `labels.json` gives the name, class, number and colour of a value. With
    the frames beside it as `frames/`, the folder is a sequence that `sam2-ros eval` reads.

    Raises UserError, Cancelled.
    """
    source = request.source
    with new_export_folder(request.exports, source.name) as folder:
        info = RunInfo(str(source.path), source.fps)
        with ResultWriter(ResultFolder(folder, "ui", _WRITTEN).open(), info, ("masks", "json")) as writer:
            blank = np.broadcast_to(np.zeros(3, np.uint8), (source.height_px, source.width_px, 3))
            for frame in request.watched(frames):
                result = frame_result(request, frame)
                writer.add(Frame(frame.index, frame.stamp_ns, blank, frame.frame_id, frame.name), result)
        write_json(folder / "labels.json", _labels(request))
        write_json(folder / "meta.json", {"fps": source.fps})
        return Export(folder, zip_folder(folder, f"{folder.name}-masks", request.is_cancelled))


def _labels(request: ExportRequest) -> dict[str, dict[str, Any]]:
    """Value in the images, as JSON's text -> what is known of the object."""
    names, labels = unique_names(request.objects), labels_of(request.objects)
    by_number = sorted(request.objects, key=lambda one: one.number)
    return {
        str(labels[one.number]): {
            "name": names[one.number],
            "class": one.class_id,
            "object": one.number,
            "colour": one.colour,
        }
        for one in by_number
    }
