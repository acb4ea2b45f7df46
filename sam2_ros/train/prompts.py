"""The prompts of a training clip: on which frames, of which kind, and clicks where the answer is wrong.

As in the SAM 2 paper, section D.2.2. Coordinates are pixels of the model's input; does not know the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from sam2_ros.engine.model.prompt_encoder import NEGATIVE, POSITIVE

from .nano.simulate import simulate_boxes, simulate_clicks
from .train_config import FinetuneConfig

TRUE_MASK_SHARE = 0.1  # corrective clicks that are drawn from the whole object instead of from an error


@dataclass(frozen=True)
class PromptPlan:
    """What is asked on which frame of a clip.

    Attributes:
        kind: "mask", "click" or "box", of the first prompts.
        conditioning: frames prompted from the start; frame 0 is always the first of them.
        corrected: frames with corrective clicks; empty for masks.
    """

    kind: str
    conditioning: tuple[int, ...]
    corrected: tuple[int, ...]


def draw_plan(rng: np.random.Generator, config: FinetuneConfig, visible_tm: np.ndarray) -> PromptPlan:
    """A plan for a batch; further conditioning frames are taken where every object shows."""
    shares = (config.mask_share, config.click_share, max(0.0, config.box_share))
    kind = str(rng.choice(("mask", "click", "box"), p=np.array(shares) / sum(shares)))
    whole = np.flatnonzero(visible_tm.all(axis=1))
    whole = whole[whole > 0]
    more = min(int(rng.integers(config.conditioning_frames)), len(whole))
    conditioning = (0, *sorted(rng.choice(whole, more, replace=False).tolist()))
    if kind == "mask" or not config.corrected_frames or not config.correction_clicks:
        return PromptPlan(kind, conditioning, ())
    others = np.setdiff1d(np.arange(len(visible_tm)), conditioning)
    wanted = int(rng.integers(1, config.corrected_frames + 1))
    extra = min(max(0, wanted - len(conditioning)), len(others))
    corrected = (*conditioning[:wanted], *sorted(rng.choice(others, extra, replace=False).tolist()))
    return PromptPlan(kind, conditioning, corrected)


def first_points(
    rng: np.random.Generator, kind: str, masks_mhw: np.ndarray
) -> tuple[torch.Tensor, torch.Tensor]:
    """Points ``[m, n, 2]`` and labels of a box or a click on each object."""
    points, labels = (simulate_boxes if kind == "box" else simulate_clicks)(rng, masks_mhw)
    return points, labels.clone()


@dataclass
class ClickScript:
    """The corrective clicks of one frame: drawn when first asked for, the same ever after.

    With gradient checkpointing a frame is computed twice, on a GPU not to the last bit: both must see the same clicks.
    """

    seed: Sequence[int]
    drawn: list[tuple[torch.Tensor, torch.Tensor]] = field(default_factory=list)

    def click(
        self, number: int, predicted_mhw: torch.Tensor, true_mhw: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Click `number` on each object: points ``[m, 1, 2]``, labels ``[m, 1]``."""
        if number == len(self.drawn):
            rng = np.random.default_rng((*self.seed, number))
            pairs = zip(predicted_mhw.cpu().numpy(), true_mhw.cpu().numpy(), strict=True)
            clicks = [corrective_click(rng, predicted, true) for predicted, true in pairs]
            self.drawn.append(
                (
                    torch.tensor([[c[:2]] for c in clicks], dtype=torch.float32),
                    torch.tensor([[c[2]] for c in clicks]),
                )
            )
        return self.drawn[number]


def corrective_click(
    rng: np.random.Generator, predicted_hw: np.ndarray, true_hw: np.ndarray
) -> tuple[int, int, int]:
    """x, y and label of a click anywhere in what is wrong: on what was missed, or off what was taken in.

    Where nothing is wrong, and in a tenth of the clicks, it lies on the object; without an object, off it.
    """
    wrong = predicted_hw != true_hw
    if not wrong.any() or rng.random() < TRUE_MASK_SHARE:
        wrong = true_hw if true_hw.any() else ~true_hw
    ys, xs = np.nonzero(wrong)
    chosen = int(rng.integers(len(xs)))
    x, y = int(xs[chosen]), int(ys[chosen])
    return x, y, POSITIVE if true_hw[y, x] else NEGATIVE
