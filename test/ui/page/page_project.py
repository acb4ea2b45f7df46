# SPDX-License-Identifier: Apache-2.0
"""A drawn clip and the state of its project, as the page asks for them: "tracked" with the clip's true masks.

Knows no model and no socket; JPEGs, run lengths and messages are real.
"""

from __future__ import annotations

import asyncio
import copy
import struct
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

COLOURS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#cc79a7", "#0072b2", "#d55e00")
TRACKING, OCCLUDED, NEVER = 1, 2, 255


@dataclass
class Clip:
    """Frames ``[T, H, W, 3]`` uint8 RGB and true masks ``[T, N, H, W]`` bool."""

    name: str
    kind: str
    fps: float
    frames: np.ndarray
    masks: np.ndarray


def drawn_clip(frames: int = 40, width: int = 320, height: int = 240) -> Clip:
    """A cup that stays, and a robot that drives behind a post with a white sign; drawn in milliseconds."""
    pictures = np.empty((frames, height, width, 3), np.uint8)
    masks = np.zeros((frames, 2, height, width), bool)
    rows, columns = np.mgrid[:height, :width]
    ground = np.stack([90 + rows // 4, 100 + columns // 8, 110 + (rows + columns) // 10], -1).astype(np.uint8)
    post = (columns >= 150) & (columns < 215)
    sign = (abs(rows - 120) < 8) & (abs(columns - 180) < 8)
    for t in range(frames):
        picture = ground.copy()
        cup = np.hypot(columns - 80 - t // 4, rows - 170) < 30
        robot_left = 20 + t * (width - 80) // frames
        robot = (abs(rows - 80) < 22) & (columns >= robot_left) & (columns < robot_left + 50)
        picture[cup], picture[robot], picture[post] = (40, 110, 200), (200, 90, 40), (70, 60, 60)
        picture[sign] = (240, 240, 240)
        pictures[t], masks[t, 0], masks[t, 1] = picture, cup & ~post, robot & ~post
    return Clip("drawn clip", "demo", 10.0, pictures, masks)


def run_lengths(mask_hw: np.ndarray) -> np.ndarray:
    """Row-major run lengths that start with background; empty for an empty mask."""
    flat = np.asarray(mask_hw, bool).reshape(-1)
    if not flat.any():
        return np.zeros(0, np.uint32)
    edges = np.flatnonzero(np.diff(flat)) + 1
    bounds = np.concatenate([[0], edges, [flat.size]])
    runs = np.diff(bounds)
    return np.concatenate([[0], runs] if flat[0] else [runs]).astype("<u4")


@dataclass
class Work:
    """What an undo restores: objects, and masks by (frame, object) with their state and presence."""

    objects: list[dict[str, Any]] = field(default_factory=list)
    masks: dict[tuple[int, int], np.ndarray] = field(default_factory=dict)


class Project:
    """One opened clip: the commands of the protocol, each a method that begins with `do_`."""

    def __init__(self, number: int, clip: Clip, delay_s: float) -> None:
        self.number, self.clip, self.delay_s = number, clip, delay_s
        self.work, self.past, self.future = Work(), [], []  # type: ignore[var-annotated]
        self.settings: dict[str, Any] = {}
        self.tracking: dict[str, int] | None = None
        self.task: asyncio.Task[None] | None = None
        self.next_object = 1
        self.read = len(clip.frames)  # frames that can be asked for

    def state(self) -> dict[str, Any]:
        frames, height, width = self.clip.frames.shape[:3]
        source = {"number": self.number, "name": self.clip.name, "kind": self.clip.kind, "frames": frames}
        source |= {"fps": self.clip.fps, "width": width, "height": height, "stamps_known": True}
        return {
            "source": source,
            "objects": self.work.objects,
            "undo": self.past[-1][0] if self.past else "",
            "redo": self.future[-1][0] if self.future else "",
            "tracking": self.tracking,
            "settings": self.settings,
            "model": "nano",
            "device": "cpu",
        }

    def remember(self, what: str) -> None:
        self.past.append((what, copy.deepcopy(self.work)))
        self.future.clear()

    def turn_back(self, source: list[Any], target: list[Any]) -> None:
        if source:
            what, work = source.pop()
            target.append((what, self.work))
            self.work = work

    def object(self, number: int) -> dict[str, Any]:
        for entry in self.work.objects:
            if entry["object"] == number:
                return entry
        raise ValueError(f"object {number}: there is none")

    def keyframe(self, number: int, frame: int) -> dict[str, Any]:
        keyframes: list[dict[str, Any]] = self.object(number)["keyframes"]
        for keyframe in keyframes:
            if keyframe["frame"] == frame:
                return keyframe
        keyframes.append({"frame": frame, "points": [], "box": None, "mask": False, "accepted": False})
        return keyframes[-1]

    def truth(self, keyframe: dict[str, Any]) -> int:
        """The true object that a keyframe means: under its first click, or most in its box; the first if none."""
        masks_nhw = self.clip.masks[keyframe["frame"]]
        if keyframe["box"]:
            x0, y0, x1, y1 = keyframe["box"]
            return int(masks_nhw[:, y0:y1, x0:x1].sum((1, 2)).argmax())
        for x, y, sign in keyframe["points"]:
            if sign > 0:
                return int(masks_nhw[:, round(y), round(x)].argmax())
        return 0

    def segment(self, number: int, frame: int) -> None:
        """The true mask without a disc around each negative click."""
        keyframe = self.keyframe(number, frame)
        if not keyframe["points"] and not keyframe["box"] and not keyframe["mask"]:
            self.object(number)["keyframes"].remove(keyframe)
            self.work.masks.pop((frame, number), None)
            return
        mask = self.clip.masks[frame, self.truth(keyframe)].copy()
        rows, columns = np.mgrid[: mask.shape[0], : mask.shape[1]]
        for x, y, sign in keyframe["points"]:
            if sign < 0:
                mask &= np.hypot(columns - x, rows - y) > 12
        self.work.masks[frame, number] = mask

    def track_one(self, frame: int, number: int) -> None:
        keyframes = sorted(self.object(number)["keyframes"], key=lambda entry: abs(entry["frame"] - frame))
        if keyframes and keyframes[0]["frame"] != frame:
            self.work.masks[frame, number] = self.clip.masks[frame, self.truth(keyframes[0])]

    def lane(self, number: int) -> bytes:
        frames = len(self.clip.frames)
        state, presence, iou = (np.full(frames, value, np.uint8) for value in (NEVER, 128, 0))
        for (frame, owner), mask in self.work.masks.items():
            if owner == number:
                state[frame] = TRACKING if mask.any() else OCCLUDED
                presence[frame], iou[frame] = scores(frame, mask)[2:]
        body = state.tobytes() + presence.tobytes() + iou.tobytes()
        return struct.pack("<II", number, frames) + body + bytes(-len(body) % 4)

    def lanes(self) -> bytes:
        numbers = [entry["object"] for entry in self.work.objects]
        return struct.pack("<III", 5, self.number, len(numbers)) + b"".join(map(self.lane, numbers))

    def frame(self, index: int) -> bytes:
        picture = cv2.cvtColor(self.clip.frames[index], cv2.COLOR_RGB2BGR)
        jpeg = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()
        return struct.pack("<III", 1, self.number, index) + jpeg

    def thumbnail(self, index: int, height: int) -> bytes:
        picture = cv2.cvtColor(self.clip.frames[index], cv2.COLOR_RGB2BGR)
        width = round(height * picture.shape[1] / picture.shape[0])
        small = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
        return struct.pack("<III", 3, self.number, index) + cv2.imencode(".jpg", small)[1].tobytes()

    def masks(self, index: int) -> bytes:
        found = [(number, mask) for (frame, number), mask in self.work.masks.items() if frame == index]
        return masks_message(2, self.number, index, found)

    def doubts(self) -> list[dict[str, Any]]:
        """The last frame before an object is hidden."""
        return [
            {"object": number, "frame": frame, "why": "presence near 0"}
            for (frame, number), mask in self.work.masks.items()
            if mask.any()
            and (after := self.work.masks.get((frame + 1, number))) is not None
            and not after.any()
        ]


def scores(frame: int, mask: np.ndarray) -> tuple[float, float, int, int]:
    """Presence (logit) and predicted IoU, and both as bytes of a lane."""
    presence = 5.0 + np.sin(frame / 3) if mask.any() else -4.0
    iou = 0.9 + 0.06 * np.sin(frame / 5) if mask.any() else 0.2
    return presence, iou, int(np.clip(presence / 8, -1, 1) * 127 + 128), int(iou * 255)


def masks_message(kind: int, source: int, index: int, found: list[tuple[int, np.ndarray]]) -> bytes:
    parts = [struct.pack("<IIII", kind, source, index, len(found))]
    for number, mask in found:
        runs = run_lengths(mask)
        presence, iou = scores(index, mask)[:2]
        state = TRACKING if runs.size else OCCLUDED
        parts.append(struct.pack("<IIffI", number, state, presence, iou, runs.size) + runs.tobytes())
    return b"".join(parts)
