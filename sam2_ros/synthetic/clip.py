# SPDX-License-Identifier: Apache-2.0
"""Rendered clips: their configuration, frames and masks.

Does not know how a clip is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from .drawing.textures import TextureBank
from .photographs.bank import PhotographBank

SHARES = (
    "assemblies", "turning", "approaching", "fast", "chasing", "rolling_shutter", "twins", "lighting", "clutter",
    "defocus", "cuts", "growing", "multicoloured",
)  # fmt: skip
PHOTOGRAPH_SHARES = ("composites", "photo_camera")


@dataclass(frozen=True)
class ClipConfig:
    """Settings of `render_clip`. Shares and probabilities are per clip unless a comment states otherwise."""

    height_px: int = 256
    width_px: int = 256
    frames: int = 6
    times: tuple[int, ...] = ()  # indices of the frames to draw, beginning with 0; empty = all
    objects: int = 3  # labelled objects
    distractors: int = 2  # at most this many unlabelled things, most of them look-alikes
    occluders: int = 2  # at most this many unlabelled things that pass in front
    textures: TextureBank = field(default_factory=TextureBank)
    size_range: tuple[float, float] = (0.05, 0.75)  # length of an object / shorter side of the image
    hide_probability: float = (
        0.35  # probability that one object is fully hidden, or leaves the image, for some frames
    )
    leaving: float = 0.35  # share of these objects that leave the image and come back
    motion_scale: float = 1.0
    camera_motion: float = 0.7  # share of clips with a moving camera
    degrade: float = 0.6  # share of clips with noise, blur, flicker or JPEG artefacts
    min_area_share: float = (
        0.001  # minimum visible area of each labelled object in frame 0 / area of the image
    )
    # Properties of real video, each as a share. With 0 the random draws, and so the clips, stay the same as without it.
    assemblies: float = 0.0  # of the things: made of several parts and materials
    turning: float = 0.0  # of the assemblies in one piece: the surface turns within the outline
    approaching: float = 0.0  # of the objects: grow or shrink up to fourfold over the clip
    fast: float = 0.0  # of the clips: objects move by 0.2 to 1 of their own size per frame
    chasing: float = 0.0  # of the moving cameras: zoom and roll strongly, and follow an object
    rolling_shutter: float = 0.0  # of the moving cameras
    twins: float = 0.0  # of the clips: a look-alike, labelled or not, crosses an object
    lighting: float = 0.0  # of the clips: changing light
    clutter: float = 0.0  # of the backdrops: many still things over each other
    defocus: float = 0.0  # of the backdrops: out of focus
    cuts: float = 0.0  # of the clips: from some frame on another scene, with the objects elsewhere or absent
    growing: float = 0.0  # of the objects: start small and grow 3 to 10 times over the clip, or the reverse
    multicoloured: float = 0.0  # of the things: parts of clearly different colours that move and turn
    # Clips of photographs with instance masks.
    photographs: PhotographBank | None = None
    composites: float = 0.0  # of the clips: cut-outs of photographs move in front of a photograph
    photo_camera: float = 0.0  # of the clips: a camera moves over a photograph with its own instances

    def __post_init__(self) -> None:
        if min(self.height_px, self.width_px) < 32:
            raise ValueError(f"clip of {self.width_px} x {self.height_px} px: expected at least 32 x 32")
        if self.frames < 1 or not 1 <= self.objects <= 64:
            raise ValueError(
                f"clip of {self.frames} frames and {self.objects} objects: "
                "expected at least 1 frame and 1 to 64 objects"
            )
        if self.times and not (
            self.times[0] == 0
            and all(a < b for a, b in pairwise(self.times))
            and self.times[-1] < self.frames
        ):
            raise ValueError(f"times {self.times}: expected 0, then later frames of {self.frames}, in order")
        if not 0 < self.size_range[0] <= self.size_range[1] <= 1:
            raise ValueError(f"size_range {self.size_range}: expected 0 < low <= high <= 1")
        for name in (*SHARES, *PHOTOGRAPH_SHARES, "leaving"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} {getattr(self, name)}: expected a share, 0 to 1")
        together = self.composites + self.photo_camera
        if together > 1:
            raise ValueError(f"composites + photo_camera {together}: expected shares of the clips, at most 1")
        if together and self.photographs is None:
            raise ValueError("composites or photo_camera without photographs: expected a PhotographBank")


@dataclass
class Clip:
    """Frames, and the visible pixels of each labelled object in them."""

    frames: np.ndarray  # [T, H, W, 3] uint8 RGB
    masks: np.ndarray  # [T, N, H, W] bool, disjoint: an occluded pixel belongs to the occluder

    @property
    def visible(self) -> np.ndarray:
        """[T, N] bool: True if at least one pixel of the object is visible."""
        return np.asarray(self.masks.any(axis=(2, 3)))


def to_and_fro(index: int, length: int) -> int:
    """Return the frame of a short clip for an endless stream without cuts: 0 1 2 .. length-1 length-2 .. 1 0 1 .."""
    position = index % max(1, 2 * (length - 1))
    return min(position, 2 * (length - 1) - position)
