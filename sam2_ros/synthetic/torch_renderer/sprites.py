# SPDX-License-Identifier: Apache-2.0
"""Sprites on a device, each uploaded once, and their resampling by affine maps.

Knows nothing of layers or depth.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

from sam2_ros.synthetic.scene import Box, Part, ScrollingTexture

Bend = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # sprite x, y [t, h, w] px -> x
_PLACES_PER_PX = 32


class Sprites:
    """The images of one clip on its device. They are found by `id`, so the arrays must live longer than this object."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._uploaded: dict[int, torch.Tensor] = {}

    def image(self, array: np.ndarray) -> torch.Tensor:
        """Upload [h, w, c] uint8 as [1, c, h, w] float32, 0..255."""
        if id(array) not in self._uploaded:
            pixels = torch.from_numpy(np.ascontiguousarray(array)).to(self.device)
            self._uploaded[id(array)] = pixels.permute(2, 0, 1)[None].float().contiguous()
        return self._uploaded[id(array)]

    def pictures(self, part: Part, times: list[int]) -> torch.Tensor:
        """Return the sprite of a part at each time, [t, 4, S, S] float32, with its turning surface."""
        sprite, surface = self.image(part.sprite), part.surface
        if surface is None:
            return sprite.expand(len(times), -1, -1, -1)
        assert isinstance(surface, ScrollingTexture), "others are refused before"
        columns = torch.from_numpy(np.stack([surface.columns(t) for t in times])).to(self.device)
        skin = self.image(surface.strip)[0][:, :, columns].permute(2, 0, 1, 3)  # [t, 3, S, S]
        skin = (skin * (self.image(surface.shade) / 128)).clamp_(max=255)
        return torch.cat([skin, sprite[:, 3:].expand(len(times), -1, -1, -1)], dim=1)


def sample(
    images_tchw: torch.Tensor,
    matrices: np.ndarray,
    box: Box,
    padding: str = "border",
    bend: Bend | None = None,
) -> torch.Tensor:
    """Resample images to the pixels of `box` in every frame, [t, c, box height, box width].

    Args:
        images_tchw: images or sprites.
        matrices: [t, 3, 3], image pixel -> frame pixel, centres at integers.
        box: x0, y0, x1, y1 in frame pixels, half-open.
        padding: values outside the image: "border" (repeated) or "reflection" (at the centres of the border pixels).
        bend: shifts the source position along x.
    """
    x0, y0, x1, y1 = box
    device, (height, width) = images_tchw.device, images_tchw.shape[2:]
    inverse = np.linalg.inv(matrices)[:, :2].astype(np.float32)
    a = torch.from_numpy(inverse).to(device)[..., None, None]  # [t, 2, 3, 1, 1]
    x = torch.arange(x0, x1, device=device, dtype=torch.float32)
    y = torch.arange(y0, y1, device=device, dtype=torch.float32)[:, None]
    from_x, from_y = (a[:, row, 0] * x + a[:, row, 1] * y + a[:, row, 2] for row in (0, 1))
    if bend is not None:
        from_x = bend(from_x, from_y)
    # The reference rounds source positions to 1/32 px; with finer ones some pixels of outlines would differ.
    from_x, from_y = (from_x * _PLACES_PER_PX).round_(), (from_y * _PLACES_PER_PX).round_()
    to_unit_x, to_unit_y = (2 / (_PLACES_PER_PX * (side - 1)) for side in (width, height))
    grid = torch.stack([from_x * to_unit_x - 1, from_y * to_unit_y - 1], dim=-1)
    return F.grid_sample(images_tchw, grid, mode="bilinear", padding_mode=padding, align_corners=True)
