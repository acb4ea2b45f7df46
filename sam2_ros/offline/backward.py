# SPDX-License-Identifier: Apache-2.0
"""Tracks objects backward over a stored clip, from the frame of their first prompt to the first frame.

Runs a tracker over the frames in reverse order, as the official predictor's reverse propagation does. Does not know the
frames after the prompts, nor where results go.
"""

from __future__ import annotations

import pickle
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sam2_ros.engine import Prompt, TrackedObject, Tracker
from sam2_ros.media.frame_source import Frame
from sam2_ros.media.overlay import write_png
from sam2_ros.media.ros_image import compressed_to_rgb

from .stream import first_prompts


@dataclass(frozen=True)
class EarlierObjects:
    """The objects found before their first prompts, one file per frame."""

    folder: Path

    def at(self, frame_index: int) -> list[TrackedObject]:
        """Return the objects on this frame that are first prompted on a later one."""
        path = self.folder / f"{frame_index}.objects"
        if not path.exists():
            return []
        objects: list[TrackedObject] = pickle.loads(zlib.decompress(path.read_bytes()))
        return objects


def track_backward(
    tracker: Tracker,
    frames: Iterable[Frame],
    prompts: Mapping[int, Sequence[Prompt]],
    folder: Path,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> EarlierObjects:
    """Track every object from its first prompt back to the first frame.

    Args:
        tracker: a tracker without objects.
        frames: in order; those up to the last first prompt are stored in `folder` as temporary PNG files.
        prompts: by frame index. Only an object's prompts on its first prompted frame are used.
        folder: an empty folder; the objects that were found stay there.
        on_progress: called with the number of frames tracked and their total.
    """
    first = first_prompts(prompts)
    labels = {id: label for label, id in enumerate(first, start=1)}  # the labels of the forward pass
    kept = _keep_frames(frames, max(first.values(), default=0), folder)
    for done, (index, stamp_ns, path) in enumerate(reversed(kept), start=1):
        image = compressed_to_rgb(path.read_bytes())
        path.unlink()
        given = [prompt for prompt in prompts.get(index, ()) if first[prompt.id] == index]
        result = tracker.step(image, given, stamp_s=(kept[-1][1] - stamp_ns) * 1e-9)
        earlier = [replace(o, label=labels[o.id]) for o in result.objects if first[o.id] > index]
        if earlier:
            (folder / f"{index}.objects").write_bytes(zlib.compress(pickle.dumps(earlier), level=1))
        on_progress(done, len(kept))
    return EarlierObjects(folder)


def _keep_frames(frames: Iterable[Frame], last: int, folder: Path) -> list[tuple[int, int, Path]]:
    """Store every frame up to `last`; returns their index, stamp and file. Empty if `last` is the first frame."""
    kept: list[tuple[int, int, Path]] = []
    if last == 0:
        return kept
    for frame in frames:
        if frame.index > last:
            break
        path = folder / f"{frame.index}.png"
        write_png(path, frame.image, compression=1)
        kept.append((frame.index, frame.stamp_ns, path))
    return kept
