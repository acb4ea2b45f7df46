# SPDX-License-Identifier: Apache-2.0
"""The rendered test set: clips in groups, one for each difficulty, rendered on demand and never stored.

Knows the renderer's settings of each group. Its textures are not used in training.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from sam2_ros.errors import UserError
from sam2_ros.media.frame_source import SourceError
from sam2_ros.synthetic.clip import Clip, ClipConfig
from sam2_ros.synthetic.drawing.textures import TextureBank
from sam2_ros.synthetic.render import render_clip

from .sequence import FrameTruth, VosSequence

NAME = "rendered"
FPS = 10.0
_PLAIN = ClipConfig(
    height_px=288,
    width_px=384,
    frames=40,
    objects=2,
    distractors=2,
    occluders=0,
    textures=TextureBank("demo"),
    size_range=(0.2, 0.5),
    hide_probability=0.0,
    motion_scale=0.5,
    min_area_share=0.005,
    assemblies=0.6,
    turning=0.3,
    lighting=0.3,
    clutter=0.3,
    defocus=0.2,
)


@dataclass(frozen=True)
class Group:
    """Clips with one difficulty, one for each seed. The seeds are chosen so that every clip shows it."""

    config: ClipConfig
    seeds: tuple[int, ...]


GROUPS: dict[str, Group] = {
    "plain": Group(_PLAIN, (1, 3, 4, 5)),
    "occlusion": Group(replace(_PLAIN, hide_probability=1.0, leaving=0.0), (2, 6, 16, 19)),
    "re-entry": Group(replace(_PLAIN, hide_probability=1.0, leaving=1.0), (61, 65, 66, 70)),
    "look-alikes": Group(replace(_PLAIN, twins=1.0), (40, 41, 43, 44)),
    "fast": Group(replace(_PLAIN, fast=1.0, chasing=0.5), (7, 10, 11, 13)),
    "cut": Group(replace(_PLAIN, cuts=1.0), (50, 51, 52, 53)),
}


def rendered_sequences(
    split: str = "", names: Sequence[str] = (), groups: dict[str, Group] = GROUPS
) -> list[VosSequence]:
    """Return the sequences, named `group/number`; `split` selects one group. Raises SourceError."""
    if split and split not in groups:
        raise SourceError(
            f"split '{split}' of the rendered set does not exist: expected one of {', '.join(groups)}"
        )
    sequences = [
        _sequence(name, number, seed, group.config)
        for name, group in groups.items()
        if split in ("", name)
        for number, seed in enumerate(group.seeds, start=1)
    ]
    if not names:
        return sequences
    known = {sequence.name: sequence for sequence in sequences}
    if missing := [name for name in names if name not in known]:
        raise SourceError(
            f"sequence '{missing[0]}' is not in the rendered set: expected one of {', '.join(known)}"
        )
    return [known[name] for name in names]


def is_rendered(path: Path) -> bool:
    """True for the word `rendered`, unless the current folder has a folder of that name."""
    return path == Path(NAME) and not path.exists()


@dataclass(frozen=True)
class RenderedFrames:
    """The frames of one clip, rendered on first use."""

    seed: int
    config: ClipConfig

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"{index:05d}" for index in range(self.config.frames))

    def at(self, index: int) -> np.ndarray:
        return _clip(self.seed, self.config).frames[index]

    def identity(self) -> Iterator[str]:
        yield f"{self.seed} {self.config} OpenCV {cv2.__version__}"


@dataclass(frozen=True)
class RenderedTruth:
    """The masks of one clip: every frame is annotated, objects are numbered from 1."""

    seed: int
    config: ClipConfig

    @property
    def indices(self) -> tuple[int, ...]:
        return tuple(range(self.config.frames))

    def at(self, index: int) -> FrameTruth:
        masks = _clip(self.seed, self.config).masks[index]
        shown = {str(number): mask for number, mask in enumerate(masks, start=1) if mask.any()}
        return FrameTruth(shown, (self.config.height_px, self.config.width_px))

    def identity(self) -> Iterator[str]:
        return iter(())  # the frames' identity covers the masks: one call renders both


def _sequence(group: str, number: int, seed: int, config: ClipConfig) -> VosSequence:
    frames, truth = RenderedFrames(seed, config), RenderedTruth(seed, config)
    return VosSequence(f"{group}/{number}", frames, truth, FPS, group=group)


@functools.lru_cache(maxsize=2)
def _clip(seed: int, config: ClipConfig) -> Clip:
    try:
        return render_clip(seed, config)
    except UserError as error:
        raise SourceError(str(error)) from error
