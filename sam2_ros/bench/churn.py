# SPDX-License-Identifier: Apache-2.0
"""Random, repeatable changes to the tracked objects, as users and detectors make them: add, refine, take back, remove.

Knows prompts and the masks of rendered frames; does not know the tracker or ROS.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from sam2_ros.engine import Prompt
from sam2_ros.engine.postprocess import tight_box

ADD, REFINE, REMOVE, TAKE_BACK, RESET = "add", "refine", "remove", "take back", "reset"
ACTIONS = (ADD, REFINE, REMOVE, TAKE_BACK, RESET)
_WEIGHTS = {ADD: 34, REFINE: 34, REMOVE: 25, TAKE_BACK: 6, RESET: 1}
CHANGE_SHARE = 0.1  # of all frames; the others are only tracked
REFUSED_SHARE = 0.1  # of the additions to a full tracker: they are sent, to be refused
REPLACE_SHARE = 0.3  # of the refinements: they replace earlier prompts
KINDS = ("click", "clicks", "box", "mask", "box and click")


@dataclass
class Change:
    """A user's action on one frame.

    Attributes:
        action: one of `ACTIONS`.
        ids: the objects concerned; empty for a reset.
        prompts: prompts of an addition or a refinement, in pixels of the frame.
    """

    action: str
    ids: list[str] = field(default_factory=list)
    prompts: list[Prompt] = field(default_factory=list)


class Churn:
    """A random but repeatable user: the same seed and the same live objects give the same changes."""

    def __init__(
        self,
        seed: int,
        capacity: int,
        prefix: str = "thing",
        actions: Sequence[str] = ACTIONS,
        share: float = CHANGE_SHARE,
    ) -> None:
        """
        Args:
            capacity: most objects of the tracker. Sometimes one more is added, which must be refused.
            prefix: prefix of the ids; no id is used twice.
            actions: the possible actions.
            share: share of frames with an action, 0..1.
        """
        self._rng = np.random.default_rng(seed)
        self._capacity, self._prefix, self._share = capacity, prefix, share
        weights = np.array([_WEIGHTS[action] for action in actions], float)
        self._actions, self._shares = list(actions), weights / weights.sum()
        self._named = 0
        self.kinds: Counter[str] = Counter()  # prompts by kind

    def next(self, live: Sequence[str], masks_nhw: np.ndarray) -> Change | None:
        """The action on a frame; None = no action.

        Args:
            live: ids of the tracked objects.
            masks_nhw: ``[n, H, W]`` bool: masks of the things in the frame, empty for a hidden one.
        """
        if live and self._rng.random() >= self._share:
            return None
        action = str(self._rng.choice(self._actions, p=self._shares)) if live else ADD
        if action == ADD and len(live) >= self._capacity and self._rng.random() >= REFUSED_SHARE:
            action = REMOVE
        if action == ADD:
            self._named += 1
            id = f"{self._prefix}_{self._named}"
            return Change(ADD, [id], [self._prompt(id, masks_nhw)])
        if action == RESET:
            return Change(RESET)
        id = str(self._rng.choice(list(live)))
        if action == REFINE:
            replace = bool(self._rng.random() < REPLACE_SHARE)
            return Change(REFINE, [id], [self._prompt(id, masks_nhw, replace)])
        return Change(action, [id])

    def _prompt(self, id: str, masks_nhw: np.ndarray, replace: bool = False) -> Prompt:
        """A prompt of a random kind on a random visible thing, or on the background if none is visible."""
        kind = str(self._rng.choice(KINDS))
        self.kinds[kind] += 1
        shown = [mask for mask in masks_nhw if mask.any()]
        mask = shown[self._rng.integers(len(shown))] if shown else self._rectangle(masks_nhw.shape[1:])
        points, labels = None, None
        if kind in ("click", "box and click"):
            points, labels = self._pixels(mask, 1), np.array([1])
        elif kind == "clicks":
            points = np.concatenate([self._pixels(mask, 2), self._pixels(~mask, 1)])
            labels = np.array([1, 1, 0])
        return Prompt(
            id,
            points=points,
            labels=labels,
            box=tight_box(mask) if "box" in kind else None,
            mask=mask if kind == "mask" else None,
            replace=replace,
        )

    def _pixels(self, mask_hw: np.ndarray, count: int) -> np.ndarray:
        """``[count, 2]`` random pixels (x, y) of the mask; of the whole image if the mask is empty."""
        inside = np.argwhere(mask_hw if mask_hw.any() else ~mask_hw)
        return np.asarray(inside[self._rng.integers(len(inside), size=count), ::-1], np.float64)

    def _rectangle(self, hw: tuple[int, ...]) -> np.ndarray:
        height, width = hw
        y, x = (int(self._rng.integers(side // 2)) for side in (height, width))
        mask = np.zeros((height, width), bool)
        mask[y : y + height // 3, x : x + width // 3] = True
        return mask
