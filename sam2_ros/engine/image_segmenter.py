# SPDX-License-Identifier: Apache-2.0
"""Image mode: prompts on one image, with an empty memory, as in SAM (SAM 2 paper, section 4).

Knows images; nothing here has an identity or a time. Does not know the tracker.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch

from .model.mask_decoder import choose_mask, upsample_logits
from .model.sam2 import ImageFeatures, Sam2Model
from .preprocess import checked_frame, preprocess, sparse_prompt
from .prompt import Prompt, PromptError

LOGIT_LIMIT = 32.0
MASK_LOGIT = 10.0  # of a cell inside a mask prompt; outside it is the negative


class ImagePrediction(NamedTuple):
    """The k candidates for a prompt: three with `multimask`, else one. A batch of b prompts has a first axis b."""

    masks: np.ndarray  # [k, H, W] bool
    scores: np.ndarray  # [k] predicted IoU, 0..1
    logits: np.ndarray  # [k, S / 4, S / 4] float32, limited to +-32: what `mask` takes


class ImageSegmenter:
    """Segments what is prompted on an image, with the reach of the official SAM2ImagePredictor.

    `set_image` encodes the image once; every prompt then costs a pass of the mask decoder alone.
    """

    def __init__(self, model: Sam2Model, resize: str = "image", stability_fallback: bool = True) -> None:
        """`resize`: see `preprocess`. `stability_fallback`: a single mask that is not stable gives way to the best of
        three, as with the official `apply_postprocessing=True`."""
        self.model = model.eval()
        self._stability_fallback = stability_fallback
        self.resize = resize
        self._features: list[ImageFeatures] = []
        self._hw: list[tuple[int, int]] = []

    def set_image(self, image_hwc_rgb_uint8: np.ndarray) -> None:
        """Encode an image, ``[H, W, 3]`` uint8 RGB, in place of the one before.

        Raises:
            ValueError: not an RGB uint8 image.
        """
        self.set_images([image_hwc_rgb_uint8])

    @torch.inference_mode()
    def set_images(self, images: Sequence[np.ndarray]) -> None:
        """Encode several images together, of any sizes, in place of those before; `predict` says which is meant.

        Raises:
            ValueError: no image, or one that is not an RGB uint8 image.
        """
        if not len(images):
            raise ValueError("no image given: expected at least one")
        checked = [checked_frame(image) for image in images]
        model = self.model
        pixels = [preprocess(image, model.config.image_size, self.resize, model.device) for image in checked]
        with model.precision():
            together = model.encode_image(torch.cat(pixels))
        self._features = [
            ImageFeatures(*(level[index, None] for level in together)) for index in range(len(checked))
        ]
        self._hw = [(image.shape[0], image.shape[1]) for image in checked]

    def predict(
        self,
        points: np.ndarray | None = None,
        labels: np.ndarray | None = None,
        box: np.ndarray | Sequence[float] | None = None,
        mask: np.ndarray | None = None,
        multimask: bool = True,
        image: int = 0,
    ) -> ImagePrediction:
        """Masks for one prompt.

        Args:
            points: ``[n, 2]`` clicks, (x, y) pixels of the image.
            labels: ``[n]``, 1 = on the object, 0 = not the object; all 1 when left out.
            box: x0, y0, x1, y1 pixels, max exclusive.
            mask: ``[S / 4, S / 4]`` logits, as an earlier prediction returned them, or ``[1, S / 4, S / 4]``.
            multimask: three candidates, for a prompt that can be read in several ways, such as one click; else one.
            image: which of the images set together.

        Raises:
            PromptError: a prompt that cannot be used.
            RuntimeError: no such image is set.
        """
        together = self.predict_batch(
            points=None if points is None else np.asarray(points)[None],
            labels=None if labels is None else np.asarray(labels)[None],
            boxes=None if box is None else np.asarray(box)[None],
            masks=None if mask is None else np.asarray(mask)[None],
            multimask=multimask,
            image=image,
        )
        return ImagePrediction(*(part[0] for part in together))

    def answer(self, prompt: Prompt, multimask: bool = False) -> ImagePrediction:
        """The best mask for a prompt that may have a mask, too, k = 1; with `multimask` all three.

        One click can be read in several ways, of which the model chooses.

        Raises:
            PromptError, RuntimeError: as `predict`.
        """
        clicks = 0 if prompt.points is None else len(prompt.points)
        one_click = clicks == 1 and prompt.box is None and prompt.mask is None
        logits = None
        if prompt.mask is not None:
            size = (self.model.config.mask_side,) * 2
            inside = cv2.resize(prompt.mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
            logits = np.where(inside >= 0.5, MASK_LOGIT, -MASK_LOGIT).astype(np.float32)
        found = self.predict(prompt.points, prompt.labels, prompt.box, logits, multimask or one_click)
        best = found.scores.argmax()
        return found if multimask else ImagePrediction(*(part[best, None] for part in found))

    @torch.inference_mode()
    def predict_batch(
        self,
        points: np.ndarray | None = None,
        labels: np.ndarray | None = None,
        boxes: np.ndarray | None = None,
        masks: np.ndarray | None = None,
        multimask: bool = True,
        image: int = 0,
    ) -> ImagePrediction:
        """Masks for b prompts of one kind, on one image, at once: `predict`, with an axis b in front of every argument.

        Raises:
            PromptError: a prompt that cannot be used, or another number of one argument than of another.
            RuntimeError: no such image is set.
        """
        self._features_of(image)
        hw = self._hw[image]
        given = {"points": points, "labels": labels, "boxes": boxes, "masks": masks}
        counts = {name: len(part) for name, part in given.items() if part is not None}
        if not counts.keys() - {"labels"}:
            raise PromptError("no points, no box and no mask; expected at least one of them")
        if labels is not None and points is None:
            raise PromptError("labels without points; expected one point (x, y) for each label")
        if len(set(counts.values())) > 1:
            shown = ", ".join(f"{count} {name}" for name, count in counts.items())
            raise PromptError(f"a batch of {shown}; expected the same number of each")
        dense = None if masks is None else self._dense(masks)
        batch = next(iter(counts.values()))
        tokens, kinds = torch.zeros(batch, 0, 2), torch.zeros(batch, 0, dtype=torch.long)
        if points is not None or boxes is not None:
            prompts = [
                Prompt(
                    f"prompt {i}",
                    points=None if points is None else points[i],
                    labels=None if labels is None else labels[i],
                    box=None if boxes is None else tuple(boxes[i]),
                ).validated(*hw)
                for i in range(batch)
            ]
            size = self.model.config.image_size
            sparse = [sparse_prompt(prompt, hw, size) for prompt in prompts]
            tokens, kinds = (torch.cat(parts) for parts in zip(*sparse, strict=True))
        logits, scores = self.decode(tokens, kinds, dense, multimask, image)
        return ImagePrediction(
            (upsample_logits(logits, hw) > 0).cpu().numpy(),
            scores.cpu().numpy(),
            logits.clamp(-LOGIT_LIMIT, LOGIT_LIMIT).cpu().numpy(),
        )

    def _dense(self, masks: np.ndarray) -> torch.Tensor:
        """Logits of earlier predictions as the dense prompt, ``[b, 1, S / 4, S / 4]``; given with that 1 or without."""
        logits = torch.as_tensor(np.asarray(masks), dtype=torch.float32)
        if logits.ndim == 4 and logits.shape[1] == 1:
            logits = logits[:, 0]
        side = self.model.config.mask_side
        if logits.shape[1:] != (side, side) or not bool(torch.isfinite(logits).all()):
            raise PromptError(
                f"mask logits of shape {list(logits.shape[1:])}, all finite: {bool(torch.isfinite(logits).all())}; "
                f"expected the finite logits of an earlier prediction, [{side}, {side}]"
            )
        return logits[:, None].to(self.model.device)

    def _features_of(self, image: int) -> ImageFeatures:
        if not self._features:
            raise RuntimeError("no image to segment: call set_image first")
        if not 0 <= image < len(self._features):
            raise RuntimeError(f"image {image} is not set: {len(self._features)} are, counted from 0")
        return self._features[image]

    def decode(
        self,
        points_bn2: torch.Tensor,
        labels_bn: torch.Tensor,
        dense: torch.Tensor | None,
        multimask: bool,
        image: int = 0,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Candidates of b checked prompts, still on the device.

        Args:
            points_bn2: ``[b, n, 2]`` pixels of the model's input.
            labels_bn: ``[b, n]``, see `PromptEncoder.sparse`.
            dense: ``[b, 1, S / 4, S / 4]`` logits.
            multimask, image: see `predict`.

        Returns:
            Logits ``[b, k, S / 4, S / 4]`` and predicted IoUs ``[b, k]``, float32.
        """
        model, features = self.model, self._features_of(image)
        with model.precision():
            fused = model.without_memory(features.s16)
            decoded = model.decode(
                fused, features, points_bn2.to(model.device), labels_bn.to(model.device), dense
            )
        if multimask:
            return decoded.logits_b4hw[:, 1:].float(), decoded.iou_b4[:, 1:].float()
        chosen = choose_mask(decoded, multimask=False, stability_fallback=self._stability_fallback)
        return chosen.logits_b1hw.float(), chosen.iou_b[:, None].float()
