# SPDX-License-Identifier: Apache-2.0
"""Exports a movie of all frames with effects: draws them, and writes an mp4 with the sound of the source.

Does not know how an effect is drawn or a movie is encoded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from sam2_ros.errors import UserError
from sam2_ros.text import counted, readable
from sam2_ros.ui.effects.effects import ObjectLayer, apply_effects
from sam2_ros.ui.effects.movie import TimedImage, import_av, write_movie
from sam2_ros.ui.effects.replacement import Replacement, emoji_picture
from sam2_ros.ui.effects.settings import HIDING_EFFECTS, EffectSettings, rgb_of

from .exported import NS_PER_S, Export, ExportedFrame, ExportRequest, unique_names
from .folder import new_export_folder


def export_movie(
    request: ExportRequest,
    frames: Iterable[ExportedFrame],
    settings: EffectSettings,
    picture: Replacement | None = None,
) -> Export:
    """Write an mp4 of the frames with effects, each at its own time; the sound of a video source is kept.

    An effect that hides objects hides them where they have a mask. A note lists each object that has none on frames
    between others, as it may be seen there.

    Args:
        request: what is exported.
        frames: all frames of the source, with images.
        settings: the effects.
        picture: for the object effect replace; None = the settings' emoji.

    Raises:
        UserError: PyAV is missing, a frame has no image, or the movie cannot be written.
        Cancelled: the export was cancelled.
    """
    import_av()  # before a folder is made
    source = request.source
    notes = []
    if settings.object.effect == "replace":
        picture = picture or emoji_picture(settings.object.emoji)
        notes += [picture.note] if picture.note else []
    with new_export_folder(request.exports, source.name) as folder:
        file = folder / f"{folder.name}.mp4"
        gaps = _Gaps(settings)
        images = _drawn(request, gaps.watched(frames), settings, picture)
        sound = source.path if source.path.is_file() and not source.is_bag else None
        info = write_movie(file, images, source.fps, sound)
        return Export(folder, file, (*notes, *info.notes, *gaps.notes(unique_names(request.objects))))


def _drawn(
    request: ExportRequest,
    frames: Iterable[ExportedFrame],
    settings: EffectSettings,
    picture: Replacement | None,
) -> Iterator[TimedImage]:
    colours = {one.number: rgb_of(one.colour) for one in request.objects}
    first_ns = None
    for frame in request.watched(frames):
        if frame.image_rgb is None:
            raise UserError(f"frame {frame.index} has no image, [H, W, 3] uint8 expected for a movie")
        # From the first frame: a float cannot hold a bag's nanoseconds since 1970 to the microsecond.
        first_ns = frame.stamp_ns if first_ns is None else first_ns
        layers = [ObjectLayer(one.number, one.mask, colours[one.number]) for one in frame.masks]
        yield TimedImage(
            apply_effects(frame.image_rgb, layers, settings, picture), (frame.stamp_ns - first_ns) / NS_PER_S
        )


@dataclass
class _Gaps:
    """Counts the frames between others on which an object that is to be hidden has no mask."""

    settings: EffectSettings
    _last: dict[int, int] = field(default_factory=dict)  # number of the object -> position of its last mask
    _missing: dict[int, int] = field(default_factory=dict)
    _first: dict[int, int] = field(
        default_factory=dict
    )  # number of the object -> index of the first such frame

    def watched(self, frames: Iterable[ExportedFrame]) -> Iterator[ExportedFrame]:
        indices: list[int] = []
        for position, frame in enumerate(frames):
            indices.append(frame.index)
            for one in frame.masks:
                if self.settings.shows(one.number) and one.mask.any():
                    self._seen(one.number, position, indices)
            yield frame

    def notes(self, names: dict[int, str]) -> list[str]:
        if self.settings.object.effect not in HIDING_EFFECTS:
            return []
        return [
            f"'{readable(names[number])}' has no mask on {counted(missing, 'frame')} between those on which it is "
            f"hidden, the first is frame {self._first[number]}: it may be seen there, check them"
            for number, missing in sorted(self._missing.items())
        ]

    def _seen(self, number: int, position: int, indices: list[int]) -> None:
        last = self._last.get(number, position - 1)
        if position - last > 1:
            self._missing[number] = self._missing.get(number, 0) + position - last - 1
            self._first.setdefault(number, indices[last + 1])
        self._last[number] = position
