# SPDX-License-Identifier: Apache-2.0
"""Fixtures with small scenes and objects; knows nothing of the tests."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from sam2_ros.engine.result import FrameResult, ObjectState, TrackedObject


@pytest.fixture(scope="session")
def scene_rgb() -> np.ndarray:
    """48x64 RGB: saturated quadrants over a soft gradient, so that swapped channels and shifted rows are visible."""
    y, x = np.mgrid[0:48, 0:64]
    image = np.stack([40 + 2 * x, 30 + 3 * y, np.full_like(x, 60)], axis=-1)
    image[4:20, 6:26] = (230, 20, 30)
    image[4:20, 36:58] = (20, 220, 40)
    image[28:44, 6:26] = (25, 35, 240)
    return image.astype(np.uint8)


@pytest.fixture(scope="session")
def make_object() -> Callable[..., TrackedObject]:
    """`make_object("cup", 1, mask)` makes an object with box, area and centroid computed from its mask."""

    def make(
        id: str, label: int, mask: np.ndarray, state: ObjectState = ObjectState.TRACKING, **fields: float
    ) -> TrackedObject:
        rows, columns = np.nonzero(mask)
        seen = rows.size > 0
        return TrackedObject(
            id=id,
            label=label,
            class_id=f"kind of {id}",
            mask=mask,
            logits=np.zeros((4, 4), np.float32),
            score=fields.get("score", 0.875),
            presence=fields.get("presence", 6.5 if seen else -3.25),
            state=state,
            age_s=fields.get("age_s", 0.0 if seen else 0.5),
            box=(int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)
            if seen
            else (0, 0, 0, 0),
            area_px=int(rows.size),
            centroid_xy=(float(columns.mean()), float(rows.mean())) if seen else (0.0, 0.0),
        )

    return make


@pytest.fixture(scope="session")
def make_result(make_object: Callable[..., TrackedObject]) -> Callable[[int], FrameResult]:
    """`make_result(index)` makes a result of 48x64 px: "cup" moves right by a pixel per frame, "box" is hidden."""

    def make(index: int) -> FrameResult:
        cup = np.zeros((48, 64), bool)
        cup[10:22, 8 + index : 20 + index] = True
        cup[12:15, 10 + index : 13 + index] = False  # a hole, so that the mask differs from its box
        return FrameResult(
            frame_index=index,
            stamp_s=index / 30,
            height_px=48,
            width_px=64,
            objects=[
                make_object("cup", 1, cup),
                make_object("box", 2, np.zeros((48, 64), bool), ObjectState.OCCLUDED),
            ],
            timings_ms={"total": 20.0},
        )

    return make
