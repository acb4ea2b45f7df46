# SPDX-License-Identifier: Apache-2.0
"""Augments the frames and masks of a clip: mirrors, rotates and shears both, changes the colours of frames.

Knows arrays only.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from sam2_ros.train.train_config import AugmentConfig

LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class Augmentation:
    """One random augmentation: geometry for all frames of a clip, colours for each frame."""

    mirrored: bool
    # [2, 2] linear map about the image's centre, in the original aspect ratio
    linear: np.ndarray
    jitter_t3: np.ndarray  # factors of brightness, contrast and saturation, per frame
    grey: bool

    @property
    def moves(self) -> bool:
        return not np.array_equal(self.linear, np.eye(2))


def draw_augmentation(rng: np.random.Generator, config: AugmentConfig, frames: int) -> Augmentation:
    mirrored, grey = rng.random() < config.flip, rng.random() < config.grey
    turn, shear = np.deg2rad(rng.uniform(-1, 1, 2) * (config.rotation_deg, config.shear_deg))
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    linear = rotation @ np.array([[1.0, np.tan(shear)], [0.0, 1.0]])
    if not config.rotation_deg and not config.shear_deg:
        linear = np.eye(2)
    whole = 1 + rng.uniform(-1, 1, 3) * config.clip_jitter
    each = 1 + rng.uniform(-1, 1, (frames, 3)) * config.frame_jitter
    return Augmentation(bool(mirrored), linear, whole * each, bool(grey))


def augment_frame(frame_hwc: np.ndarray, size: int, augmentation: Augmentation, index: int) -> np.ndarray:
    """Frame `index` of the augmented clip, ``[size, size, 3]`` uint8; the aspect ratio is not kept."""
    small = cv2.resize(frame_hwc, (size, size), interpolation=cv2.INTER_AREA)
    if augmentation.moves:
        matrix = _matrix(augmentation, frame_hwc.shape[:2], size)
        small = cv2.warpAffine(small, matrix, (size, size), borderMode=cv2.BORDER_CONSTANT)
    if augmentation.mirrored:
        small = small[:, ::-1]
    brightness, contrast, saturation = augmentation.jitter_t3[index].astype(np.float32)
    picture = small.astype(np.float32) * brightness
    picture = (picture - picture.mean()) * contrast + picture.mean()
    luma = (picture @ LUMA)[..., None]
    picture = luma + (picture - luma) * (0.0 if augmentation.grey else saturation)
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def augment_mask(mask_hw: np.ndarray, size: int, augmentation: Augmentation) -> np.ndarray:
    """A mask, transformed like its frame: ``[size, size]`` bool."""
    share = cv2.resize(mask_hw.astype(np.float32), (size, size), interpolation=cv2.INTER_AREA)
    if augmentation.moves:
        share = cv2.warpAffine(share, _matrix(augmentation, mask_hw.shape[:2], size), (size, size))
    if augmentation.mirrored:
        share = share[:, ::-1]
    return np.ascontiguousarray(share >= 0.5)


def _matrix(augmentation: Augmentation, hw: tuple[int, ...], size: int) -> np.ndarray:
    """The 2 x 3 affine map of the square image: restores the aspect ratio, applies `linear`, makes it square again."""
    aspect = np.diag([size / hw[1], size / hw[0]])
    linear = aspect @ augmentation.linear @ np.linalg.inv(aspect)
    middle = np.full(2, (size - 1) / 2)
    return np.column_stack([linear, middle - linear @ middle])
