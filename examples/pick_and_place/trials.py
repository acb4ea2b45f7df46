# SPDX-License-Identifier: Apache-2.0
"""Compares what the node said in one trial with the truth, image by image, and draws it.

Knows the world's truth and the node's messages; does not know how they travel, nor how many trials there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from camera import View, surface_median
from sam2_ros_msgs.msg import TrackedObject
from world import World

from sam2_ros.media.label_text import put_text
from sam2_ros.media.overlay import draw_masks, write_png

STATES = ("PENDING", "TRACKING", "OCCLUDED", "LOST")
VISIBLE_SHARE = 0.5  # of the pixels that the object has in the first image: then it counts as visible
SCALE = 2  # of the video, over the camera's image


@dataclass(frozen=True)
class Trial:
    """number: in the run; seed: of the table; scenario: see `world.SCENARIOS`; twins: two more of the same kind."""

    number: int
    seed: int
    scenario: str
    twins: bool = False

    @property
    def object_id(self) -> str:
        return f"target_{self.number:02}"


class TrialRecord:
    """One trial's images: the truth first, then the node's answer to the same image."""

    def __init__(self, trial: Trial, thing: str, rate_hz: float) -> None:
        self.trial, self.thing, self.rate_hz = trial, thing, rate_hz
        self.images: list[dict[str, Any]] = []
        self.unanswered, self.ended, self.lifted, self.wall_s, self.last_ns = 0, "time is up", False, 0.0, 0
        self._mask = np.zeros((1, 1), bool)
        self._rgb = np.zeros((1, 1, 3), np.uint8)
        self._found: np.ndarray | None = None
        self._median: np.ndarray | None = None
        self._centre = np.zeros(3)
        self._pictures: dict[str, np.ndarray] = {}

    def truth(self, stamp_ns: int, world: World, view: View, phase: str) -> None:
        """Takes the state of the world in one image, and what the client was doing."""
        self._mask, self._rgb, self.last_ns = view.bodies == world.wanted, view.rgb, stamp_ns
        self._median, self._centre = surface_median(view, world.wanted), world.centre()
        pixels = int(self._mask.sum())
        first = self.images[0]["pixels"] if self.images else pixels
        self.images.append(
            {
                "time_s": round(world.time_s, 3),
                "phase": phase or "wait",
                "pixels": pixels,
                "visible": pixels >= VISIBLE_SHARE * first,
                "state": None,
                "error_mm": None,
                "iou": None,
            }
        )

    def result(self, stamp_ns: int, status: Any, objects: Any) -> None:
        """Takes the node's ~/status and ~/objects for the newest image; None where it did not answer."""
        image, self._found = self.images[-1], None
        obj = (
            next((one for one in status.objects if one.id == self.trial.object_id), None) if status else None
        )
        if obj is None:
            return
        image["state"] = STATES[obj.state]
        if obj.state == TrackedObject.TRACKING and obj.has_position and self._median is not None:
            at = np.array([obj.pose.position.x, obj.pose.position.y, obj.pose.position.z])
            image["error_mm"] = round(float(np.linalg.norm(at - self._median)) * 1000, 2)
            image["centre_mm"] = round(float(np.linalg.norm(at - self._centre)) * 1000, 2)
            image["stddev_mm"] = round(float(obj.position_stddev) * 1000, 2)
        masked = (
            next((one for one in objects.objects if one.id == self.trial.object_id), None)
            if objects
            else None
        )
        if masked is not None and masked.roi.width:
            self._found = np.zeros(self._mask.shape, bool)
            roi = masked.roi
            crop = np.frombuffer(bytes(masked.mask.data), np.uint8).reshape(roi.height, masked.mask.step)
            rows = slice(roi.y_offset, roi.y_offset + roi.height)
            columns = slice(roi.x_offset, roi.x_offset + roi.width)
            self._found[rows, columns] = crop[:, : roi.width] > 0
            together = int((self._found | self._mask).sum())
            image["iou"] = round(int((self._found & self._mask).sum()) / together, 4) if together else None

    def picture(self) -> np.ndarray:
        """The newest image with the node's mask, for the video."""
        size = self._rgb.shape[1] * SCALE, self._rgb.shape[0] * SCALE
        canvas, image = cv2.resize(self._rgb, size, interpolation=cv2.INTER_CUBIC), self.images[-1]
        if self._found is not None:
            mask = cv2.resize(self._found.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
            canvas = draw_masks(canvas, [mask], [f"{self.trial.object_id} {image['state']}"])
        trial = self.trial
        text = (
            f"{trial.number + 1}. {trial.scenario}, {self.thing}: {image['phase']}, {image['time_s']:.1f} s"
        )
        text += f", {image['state'] or 'no answer'}"
        if image["error_mm"] is not None:
            text += f", {image['error_mm']:.0f} mm off"
        canvas[-26:] //= 4
        put_text(canvas, text, (8, canvas.shape[0] - 9), 0.5, (255, 255, 255), 1)
        first = not self.images[:-1] or self.images[-2]["phase"] != image["phase"]
        if first:
            self._pictures.setdefault(image["phase"], canvas)
        self._pictures["end"] = canvas
        return canvas

    def finish(self, lifted: bool, wall_s: float) -> None:
        self.lifted, self.wall_s = lifted, wall_s

    def write_pictures(self, folder: Path) -> None:
        """Writes the first image, the first of the approach and the last one as PNG files."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("wait", "approach", "end"):
            if name in self._pictures:
                write_png(folder / f"{self.trial.number:02}-{name}.png", self._pictures[name])

    def summary(self) -> dict[str, Any]:
        """Everything measured, as JSON values."""
        closed = [image["time_s"] for image in self.images if image["phase"] == "lift"]
        return {
            "trial": self.trial.number,
            "seed": self.trial.seed,
            "scenario": self.trial.scenario,
            "thing": self.thing,
            "lifted": self.lifted,
            "ended": self.ended,
            "prompt_to_grasp_s": closed[0] if closed else None,
            "wall_s": round(self.wall_s, 2),
            "unanswered": self.unanswered,
            "images": self.images,
        }

    def line(self) -> str:
        errors = [
            image["error_mm"] for image in self.images if image["error_mm"] is not None and image["visible"]
        ]
        error = f"{np.median(errors):.1f} mm off (median)" if errors else "never located"
        return (
            f"{self.trial.number:2} {self.trial.scenario}, {self.thing}: {'lifted' if self.lifted else 'NOT lifted'}, "
            f"{self.ended}, {error}, {len(self.images)} images in {self.wall_s:.1f} s, {self.unanswered} unanswered"
        )
