# SPDX-License-Identifier: Apache-2.0
"""Preprocessing: converts a camera frame, and the prompts made on it, to the model's input.

Knows pixels of the frame and of the input. Does not know where frames come from.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from .device.transfer import upload
from .model.prompt_encoder import BOX_MAX, BOX_MIN
from .prompt import Prompt

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
RESIZE_MODES = ("image", "video", "fast")


def checked_frame(frame: Any) -> np.ndarray:
    """The frame as an array ``[H, W, 3]`` uint8 RGB.

    A PIL image is converted to RGB: its alpha channel is dropped, its EXIF orientation ignored.

    Raises:
        ValueError: neither ``[H, W, 3]`` uint8 nor a PIL image of 8 bits a channel, or without pixels.
    """
    if hasattr(frame, "convert") and hasattr(frame, "mode"):  # the engine does not import PIL
        if frame.mode in ("F", "I") or frame.mode.startswith("I;"):
            raise ValueError(f"PIL image of mode {frame.mode}: expected 8 bits a channel, such as RGB")
        frame = np.asarray(frame.convert("RGB"))
    if not isinstance(frame, np.ndarray):
        given = "frame is None, which cv2.imread returns for a file that it cannot read"
        raise ValueError(
            f"{given if frame is None else f'frame of type {type(frame).__name__}'}: expected an array [H, W, 3] of "
            "uint8, RGB, or a PIL image"
        )
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8 or 0 in frame.shape:
        raise ValueError(f"frame of shape {frame.shape} and type {frame.dtype}: expected [H, W, 3] uint8 RGB")
    return frame


def normalize(image_b3hw: torch.Tensor) -> torch.Tensor:
    """Normalise RGB 0..1, ``[b, 3, h, w]``, by the mean and standard deviation of ImageNet."""
    mean, std = _statistics(image_b3hw.device, image_b3hw.dtype)
    return (image_b3hw - mean) / std


@lru_cache(8)
@torch.inference_mode(False)
def _statistics(device: torch.device, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and deviation, ``[1, 3, 1, 1]``; cached, so that they are uploaded once and not with every image."""
    mean, std = (
        torch.tensor(x, device=device, dtype=dtype).view(1, 3, 1, 1) for x in (IMAGENET_MEAN, IMAGENET_STD)
    )
    return mean, std


def preprocess(frame_hwc: np.ndarray, size: int, resize: str, device: torch.device) -> torch.Tensor:
    """Resize a frame to a square (the aspect is not kept, as in SAM 2) and normalise it.

    Args:
        frame_hwc: ``[H, W, 3]`` uint8 RGB.
        size: side of the model's input, pixels.
        resize: "image" = bilinear with antialias on floats (official image predictor); "video" = bicubic with antialias
            on uint8 (official JPEG video loader); "fast" = OpenCV area averaging on uint8.
        device: where the result is.

    Returns:
        ``[1, 3, size, size]`` float32.
    """
    if frame_hwc.shape[:2] == (size, size):
        image = to_tensor(frame_hwc, device)
    elif resize == "fast":
        image = to_tensor(cv2.resize(frame_hwc, (size, size), interpolation=cv2.INTER_AREA), device)
    elif resize == "video":
        pixels = torch.from_numpy(np.require(frame_hwc, requirements=["C", "W"])).permute(2, 0, 1)[None]
        small = F.interpolate(pixels, (size, size), mode="bicubic", align_corners=False, antialias=True)
        image = upload(small.numpy(), device).float() / 255
    else:
        image = to_tensor(frame_hwc, device)
        image = F.interpolate(image, (size, size), mode="bilinear", align_corners=False, antialias=True)
    return normalize(image)


def to_tensor(frame_hwc: np.ndarray, device: torch.device) -> torch.Tensor:
    """``[H, W, 3]`` uint8 -> ``[1, 3, H, W]`` float32 in 0..1, uploaded as uint8."""
    # Images of a bag or a ROS message are read-only, which PyTorch warns about: np.require copies those.
    pixels = upload(np.require(frame_hwc, requirements=["C", "W"]), device)
    return pixels.permute(2, 0, 1)[None].float().div_(255)  # in place: at full size a second copy is costly


def resize_mask(mask_hw: np.ndarray, size: int, device: torch.device) -> torch.Tensor:
    """``[H, W]`` bool at the frame's size -> ``[1, size, size]`` bool: bilinear with antialias, then >= 0.5."""
    mask = torch.from_numpy(np.ascontiguousarray(mask_hw)).to(device).float()[None, None]
    if mask.shape[-2:] != (size, size):
        mask = F.interpolate(mask, (size, size), mode="bilinear", align_corners=False, antialias=True)
    return mask[:, 0] >= 0.5


def sparse_prompt(prompt: Prompt, frame_hw: tuple[int, int], size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Box corners and clicks of a prompt as the prompt encoder takes them.

    Args:
        prompt: validated, in pixels of the frame.
        frame_hw: height and width of the frame, pixels.
        size: side of the model's input, pixels.

    Returns:
        Points ``[1, n, 2]`` float32, (x, y) in pixels of the input, corners first; and their labels ``[1, n]``. n = 0
        for a prompt with only a mask.
    """
    places = np.zeros((0, 2), np.float32)
    labels: list[int] = []
    if prompt.box is not None:
        places = np.asarray(prompt.box, np.float32).reshape(2, 2)
        labels += [BOX_MIN, BOX_MAX]
    if prompt.points is not None and prompt.labels is not None:
        places = np.concatenate([places, prompt.points])
        labels += prompt.labels.tolist()
    scale = np.array([size / frame_hw[1], size / frame_hw[0]], np.float32)
    return torch.from_numpy(places * scale)[None], torch.tensor([labels], dtype=torch.long)
