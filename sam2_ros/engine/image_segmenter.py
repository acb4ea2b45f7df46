# SPDX-License-Identifier: Apache-2.0
"""Image mode: segments prompted objects on single images, without memory, as SAM does (SAM 2 paper, section 4).

Knows images and prompts. Does not know the tracker, ids or time.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import cv2
import numpy as np
import torch

from .model.mask_decoder import choose_mask, upsample_logits
from .model.sam2 import ImageFeatures, Sam2Model
from .preprocess import checked_frame, preprocess, sparse_prompt
from .prompt import Prompt, PromptError
from .zoom_in import crop_around

LOGIT_LIMIT = 32.0  # logits are clamped to +-32 when they are returned or fed back
MASK_LOGIT = 10.0  # of cells inside a mask prompt; outside it is -10


class ImagePrediction(NamedTuple):
    """The k candidate masks of one prompt: k = 3 with `multimask`, else 1. For a batch each array has a first axis b.

    Attributes:
        masks: ``[k, H, W]`` bool, at the size of the image.
        scores: ``[k]`` float32, predicted IoU of each mask, 0..1.
        logits: ``[k, S / 4, S / 4]`` float32 mask logits, clamped to +-32; S = side of the model's input. One of them
            can be the `mask` of the next prediction.
    """

    masks: np.ndarray
    scores: np.ndarray
    logits: np.ndarray


class ImageSegmenter:
    """Segments prompted objects on an image, with the functions of the official `SAM2ImagePredictor`.

    `set_image` encodes the image once. Each prompt then runs the mask decoder only.
    """

    def __init__(self, model: Sam2Model, resize: str = "image", stability_fallback: bool = True) -> None:
        """Without an image yet.

        Args:
            model: as `load_model` or `open_model` returns it.
            resize: "image", "video" or "fast", see `preprocess.preprocess`.
            stability_fallback: with `multimask=False`, replace an unstable mask by the best of three (official
                `apply_postprocessing=True`).
        """
        self.model = model.eval()
        self._stability_fallback = stability_fallback
        self.resize = resize
        self._features: list[ImageFeatures] = []
        self._images: list[np.ndarray] = []
        self._hw: list[tuple[int, int]] = []

    def set_image(self, image_hwc_rgb_uint8: np.ndarray) -> None:
        """Encode an image; it replaces the image before.

        Args:
            image_hwc_rgb_uint8: ``[H, W, 3]`` uint8 RGB, or a PIL image.

        Raises:
            ValueError: not an RGB uint8 image.
        """
        self.set_images([image_hwc_rgb_uint8])

    @torch.inference_mode()
    def set_images(self, images: Sequence[np.ndarray]) -> None:
        """Encode several images in one batch; they replace the images before. `predict` chooses one by its index.

        Args:
            images: each ``[H, W, 3]`` uint8 RGB, or a PIL image; sizes may differ.

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
        self._features = [together.each(partial(_entry, index)) for index in range(len(checked))]
        self._images = checked if model.config.zoom_in else []
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
        """Predict the masks of one prompt: points, a box, logits, or any mix of them.

        Args:
            points: ``[n, 2]`` clicks, (x, y) in pixels of the image.
            labels: ``[n]``, 1 = on the object, 0 = not on it; None = all 1.
            box: x0, y0, x1, y1 in pixels, max exclusive.
            mask: logits of an earlier prediction, ``[S / 4, S / 4]`` or ``[1, S / 4, S / 4]``.
            multimask: True = three candidates, for ambiguous prompts such as one click; False = one.
            image: index of the image, of those set together.

        Returns:
            k candidates: `masks` ``[k, H, W]``, `scores` ``[k]``, `logits` ``[k, S / 4, S / 4]``.

        Raises:
            PromptError: the prompt is invalid.
            RuntimeError: no image of this index is set.
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
        """Predict the mask of a `Prompt`, whose mask, if any, is pixels and not logits.

        A single click is ambiguous: the best of three candidates is returned. It is zoomed in on, if the model's
        configuration says so.

        Args:
            prompt: validated for the image.
            multimask: True = all three candidates.

        Returns:
            The best mask, k = 1; with `multimask` k = 3.

        Raises:
            PromptError: the prompt is invalid.
            RuntimeError: no image is set.
        """
        clicks = 0 if prompt.points is None else len(prompt.points)
        one_click = clicks == 1 and prompt.box is None and prompt.mask is None
        logits = None
        if prompt.mask is not None:
            size = (self.model.config.mask_side,) * 2
            inside = cv2.resize(prompt.mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
            logits = np.where(inside >= 0.5, MASK_LOGIT, -MASK_LOGIT).astype(np.float32)
        found = self.predict(prompt.points, prompt.labels, prompt.box, logits, multimask or one_click)
        return found if multimask else self.zoom_in(prompt, found)

    def zoom_in(self, prompt: Prompt, found: ImagePrediction, image: int = 0) -> ImagePrediction:
        """The best of the candidates, decoded again on a crop around the object if the configuration has `zoom_in`.

        The crop is encoded anew. It is asked with the box and clicks of the prompt, and with the logits of the first
        answer unless the prompt is a box without a mask.

        Args:
            prompt: validated for the image.
            found: candidates that `predict` gave for it.
            image: index of the image, of those set together.

        Returns:
            One candidate, k = 1. `logits` are those of the whole image, for the next prediction.
        """
        best = found.scores.argmax()
        first = ImagePrediction(*(part[best, None] for part in found))
        factor = self.model.config.zoom_in
        crop = crop_around(prompt, first.masks[0], factor) if factor else None
        if crop is None:
            return first
        closer = ImageSegmenter(self.model, self.resize, self._stability_fallback)
        closer.set_image(crop.of(self._images[image]))
        asked = crop.prompt(prompt)
        by_logits = prompt.box is None or prompt.mask is not None
        logits = crop.logits(first.logits[0], self._hw[image]) if by_logits else None
        (mask,), scores, _ = closer.predict(asked.points, asked.labels, asked.box, logits, multimask=False)
        return ImagePrediction(crop.into(mask, self._hw[image])[None], scores, first.logits)

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
        """Predict the masks of b prompts on one image in one batch; all prompts have the same parts.

        Args:
            points: ``[b, n, 2]``, see `predict`.
            labels: ``[b, n]``.
            boxes: ``[b, 4]``.
            masks: ``[b, S / 4, S / 4]`` or ``[b, 1, S / 4, S / 4]``.
            multimask: see `predict`.
            image: see `predict`.

        Returns:
            `masks` ``[b, k, H, W]``, `scores` ``[b, k]``, `logits` ``[b, k, S / 4, S / 4]``.

        Raises:
            PromptError: a prompt is invalid, or the arguments have different lengths.
            RuntimeError: no image of this index is set.
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
        """The dense prompt ``[b, 1, S / 4, S / 4]`` from logits of that shape, or of ``[b, S / 4, S / 4]``."""
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
        """Decode b validated prompts; the results stay on the device.

        Args:
            points_bn2: ``[b, n, 2]``, (x, y) in pixels of the model's input.
            labels_bn: ``[b, n]``, see `PromptEncoder.sparse`.
            dense: ``[b, 1, S / 4, S / 4]`` logits, or None.
            multimask: see `predict`.
            image: see `predict`.

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


def _entry(index: int, level_bchw: torch.Tensor) -> torch.Tensor:
    return level_bchw[index, None]
