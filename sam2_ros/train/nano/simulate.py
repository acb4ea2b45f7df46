"""What a training clip adds to its pictures: prompts as a user or a detector gives them, long absences, and slips.

Prompts are drawn from true masks (SAM 2 paper, section D.2.2). Coordinates are pixels of the model's input; does not
know what the model makes of them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from sam2_ros.engine.model.prompt_encoder import BOX_MAX, BOX_MIN, POSITIVE

KINDS = ("box", "click", "mask")
KIND_SHARES = (0.45, 0.2, 0.35)
BOX_JITTER = 0.1
BOX_JITTER_LIMIT_PX = 20.0
ABSENCE_PROBABILITY = 0.9
LONGEST_ABSENCE = 120  # frames; pointers go back 15, recent memories 6, the prompted frame all the way
LOST_SHARE = 0.3
SLIP_SHARE = 0.5


class Absence(NamedTuple):
    """One frame remembered many times, as if nothing had changed for so long.

    A clip of a few frames then ends with a memory that has seen nothing of an object for seconds; what is found
    again from there is found by its looks on the prompted frame.
    """

    frame: int
    times: int
    lost_m: torch.Tensor  # [b * n] bool: remembered as absent, even where they show

    def to(self, device: torch.device) -> Absence:
        return self._replace(lost_m=self.lost_m.to(device))


class Slip(NamedTuple):
    """Objects whose memory goes wrong at some frame, and stays so.

    A tracker's mistake enters its memory, and a few frames later memory says nothing else. From a memory like that
    the object as it was prompted has to be found, so that a slip is left again.
    """

    first_frame: int
    joined_m: torch.Tensor  # [m] bool: remembered together with `other_m`
    other_m: torch.Tensor  # [m] index of another object of the clip
    cut_m: torch.Tensor  # [m] bool: remembered without what lies on one side of its middle
    side_m2: torch.Tensor  # [m, 2] that side, a unit vector

    def to(self, device: torch.device) -> Slip:
        return Slip(self.first_frame, *(tensor.to(device) for tensor in self[1:]))

    def remembered(self, frame: int, logits_m1hw: torch.Tensor) -> torch.Tensor:
        """The mask that enters memory in place of the predicted one, ``[m, 1, h, w]`` logits."""
        if frame < self.first_frame:
            return logits_m1hw
        height, width = logits_m1hw.shape[-2:]
        rows, columns = (torch.arange(n, device=logits_m1hw.device) + 0.5 for n in (height, width))
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        inside = (logits_m1hw > 0).float()
        area = inside.sum(dim=(2, 3)).clamp(min=1)
        along = self.side_m2[:, 0, None, None] * x + self.side_m2[:, 1, None, None] * y
        middle = (inside[:, 0] * along).sum(dim=(1, 2)) / area[:, 0]
        gone = self.cut_m[:, None, None] & (along > middle[:, None, None])
        both = torch.maximum(logits_m1hw, logits_m1hw[self.other_m])
        joined = torch.where(self.joined_m.view(-1, 1, 1, 1), both, logits_m1hw)
        return torch.where(gone[:, None], joined.clamp(max=-10.0), joined)


def draw_slip(rng: np.random.Generator, frames: int, clips: int, objects: int) -> Slip | None:
    """For clips of three frames or more with two objects or more: half of the slips join, half of them cut."""
    if frames < 3 or objects < 2:
        return None
    count = clips * objects
    share = rng.random(count)
    angle = rng.uniform(0, 2 * np.pi, count)
    clip, place = np.divmod(np.arange(count), objects)
    other = clip * objects + (place + rng.integers(1, objects, count)) % objects
    return Slip(
        int(rng.integers(1, frames - 1)),
        torch.from_numpy(share < SLIP_SHARE / 2),
        torch.from_numpy(other),
        torch.from_numpy((share >= SLIP_SHARE / 2) & (share < SLIP_SHARE)),
        torch.from_numpy(np.stack([np.cos(angle), np.sin(angle)], axis=1)).float(),
    )


def draw_kind(rng: np.random.Generator) -> str:
    return str(rng.choice(KINDS, p=KIND_SHARES))


def simulate_boxes(rng: np.random.Generator, masks_bhw: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Tight boxes, each corner off by up to 10 % of the side: points ``[b, 2, 2]`` and their labels."""
    corners = np.zeros((len(masks_bhw), 2, 2), np.float32)
    height, width = masks_bhw.shape[1:]
    for box, mask in zip(corners, masks_bhw, strict=True):
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        x0, y0, x1, y1 = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
        reach = np.minimum(BOX_JITTER * np.array([x1 - x0, y1 - y0]), BOX_JITTER_LIMIT_PX)
        box[:] = np.array([[x0, y0], [x1, y1]]) + rng.uniform(-1, 1, (2, 2)) * reach
    points = torch.from_numpy(np.clip(corners, 0, [width, height]).astype(np.float32))
    return points, torch.tensor([[BOX_MIN, BOX_MAX]]).expand(len(points), -1)


def simulate_clicks(rng: np.random.Generator, masks_bhw: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """One positive click anywhere on each object: points ``[b, 1, 2]`` and their labels."""
    clicks = np.zeros((len(masks_bhw), 1, 2), np.float32)
    for click, mask in zip(clicks, masks_bhw, strict=True):
        ys, xs = np.nonzero(mask)
        chosen = rng.integers(len(xs))
        click[0] = xs[chosen], ys[chosen]
    return torch.from_numpy(clicks), torch.full((len(clicks), 1), POSITIVE)


def draw_absence(rng: np.random.Generator, visible_tm: torch.Tensor) -> Absence | None:
    """For most clips of three frames or more: long, on the frame that hides the most objects."""
    middle = visible_tm[1:-1]
    if not len(middle) or rng.random() >= ABSENCE_PROBABILITY:
        return None
    hidden = (~middle).sum(dim=1).numpy() + 0.5 * rng.random(len(middle))
    lost = torch.from_numpy(rng.random(visible_tm.shape[1]) < LOST_SHARE)
    times = int(np.exp(rng.uniform(np.log(2), np.log(LONGEST_ABSENCE))))
    return Absence(1 + int(hidden.argmax()), times, lost)
