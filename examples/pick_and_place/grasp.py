# SPDX-License-Identifier: Apache-2.0
"""Plans a top grasp: footprint of the seen points, inverse kinematics of the arm, joint targets from above to lifted.

Knows the arm's model and points in the arm's base frame; does not know the simulated world or ROS.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import pybullet
import pybullet_data

HOME = (0.0, -0.9, 0.0, -2.6, 0.0, 1.7, 0.785)
OPEN_M, CLOSED_M = 0.04, 0.0  # of each finger
WIDEST_M = 0.074  # between the open fingers, with a margin
MOVABLE = (*range(7), 9, 10)  # joints of the arm, then the fingers
HAND = 11  # link of the point between the fingertips
PALM_M = 0.035  # the palm is that far above the point between the fingertips, with a margin
LOWEST_M = 0.012
ABOVE_M, LIFT_M = 0.12, 0.24
SECONDS = {"approach": 1.2, "descend": 0.9, "close": 0.6, "lift": 1.2, "hold": 0.4}
PERCENTILES = 2, 98


@dataclass(frozen=True)
class Grasp:
    """centre_xyz: metres, between the fingertips; yaw: direction in which the fingers close, rad; width_m: across."""

    centre_xyz: tuple[float, float, float]
    yaw: float
    width_m: float


class NoGraspError(ValueError):
    """Why there is no grasp: what was found, what the gripper can do."""


def plan_grasp(points: np.ndarray) -> Grasp:
    """A top grasp across the narrower side of the footprint of points ``[n, 3]``, metres above the table.

    A camera that looks down sees the top and the near side: their footprint is nearly the thing's. Raises NoGraspError.
    """
    if len(points) < 12:
        raise NoGraspError(f"{len(points)} points seen, at least 12 expected")
    height_m = float(np.percentile(points[:, 2], PERCENTILES[1]))
    own = points[points[:, 2] > min(0.004, height_m / 2)]  # without the table at the mask's edge
    middle = np.median(own[:, :2], axis=0)
    far = np.hypot(*(own[:, :2] - middle).T)
    own = own[far <= np.percentile(far, PERCENTILES[1])]
    (x, y), (side_a, side_b), degrees = cv2.minAreaRect(own[:, :2].astype(np.float32))
    yaw = math.radians(degrees) + (0.0 if side_a <= side_b else math.pi / 2)
    width_m = min(side_a, side_b)
    if width_m > WIDEST_M:
        raise NoGraspError(f"{width_m * 1000:.0f} mm across, the gripper takes {WIDEST_M * 1000:.0f} mm")
    z = max(height_m / 2, height_m - PALM_M, LOWEST_M)
    yaw = (yaw + math.pi / 2) % math.pi - math.pi / 2  # the fingers are alike: the half turn that is nearer
    return Grasp((float(x), float(y), z), yaw, width_m)


class Arm:
    """The arm's own model, for inverse kinematics: a PyBullet world with nothing else in it."""

    def __init__(self) -> None:
        self._client = pybullet.connect(pybullet.DIRECT)
        pybullet.setAdditionalSearchPath(pybullet_data.getDataPath(), physicsClientId=self._client)
        self._body = pybullet.loadURDF(
            "franka_panda/panda.urdf", useFixedBase=True, physicsClientId=self._client
        )
        limits = [pybullet.getJointInfo(self._body, j, physicsClientId=self._client)[8:10] for j in MOVABLE]
        self._low, self._high = np.array(limits).T

    def angles(self, centre_xyz: tuple[float, float, float], yaw: float, near: np.ndarray) -> np.ndarray:
        """``[7]`` rad that bring the open hand, pointing down, to a point. `near`: angles to start from.

        Raises NoGraspError if the point is out of reach.
        """
        call = {"physicsClientId": self._client}
        # The fingers move along the hand's y axis; at yaw 0 that is the base's -y.
        turn = pybullet.getQuaternionFromEuler((math.pi, 0, yaw - math.pi / 2))
        angles, error_m = np.array(near, np.float64), math.inf
        for _ in range(12):
            for joint, angle in enumerate(angles):
                pybullet.resetJointState(self._body, joint, angle, **call)
            found = pybullet.getLinkState(self._body, HAND, computeForwardKinematics=True, **call)[4]
            error_m = math.dist(found, centre_xyz)
            if error_m < 0.0005:
                return angles
            solved = pybullet.calculateInverseKinematics(
                self._body,
                HAND,
                centre_xyz,
                turn,
                lowerLimits=self._low.tolist(),
                upperLimits=self._high.tolist(),
                jointRanges=(self._high - self._low).tolist(),
                restPoses=[*HOME, OPEN_M, OPEN_M],
                maxNumIterations=60,
                residualThreshold=1e-5,
                **call,
            )
            angles = np.clip(solved[:7], self._low[:7], self._high[:7])
        if error_m > 0.005:
            raise NoGraspError(f"({', '.join(f'{v:.2f}' for v in centre_xyz)}) m is out of reach")
        return angles


def trajectory(arm: Arm, grasp: Grasp, rate_hz: float, start: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """(phase, ``[8]`` targets: 7 angles in rad and the opening of a finger in m), one for each image period.

    The fingers are alike, so half a turn of the hand does as well; the first that stays in reach all the way is taken.
    """
    try:
        return _trajectory(arm, grasp, grasp.yaw, rate_hz, start)
    except NoGraspError:
        return _trajectory(arm, grasp, grasp.yaw - math.copysign(math.pi, grasp.yaw), rate_hz, start)


def _trajectory(
    arm: Arm, grasp: Grasp, yaw: float, rate_hz: float, start: np.ndarray
) -> list[tuple[str, np.ndarray]]:
    x, y, z = grasp.centre_xyz
    steps = {phase: max(1, round(seconds * rate_hz)) for phase, seconds in SECONDS.items()}
    above = arm.angles((x, y, z + ABOVE_M), yaw, np.array(HOME))
    targets: list[tuple[str, np.ndarray]] = []
    for share in np.linspace(0, 1, steps["approach"] + 1)[1:]:
        smooth = share * share * (3 - 2 * share)
        targets.append(("approach", np.append(start + (above - start) * smooth, OPEN_M)))
    angles = above
    for share in np.linspace(0, 1, steps["descend"] + 1)[1:]:
        angles = arm.angles((x, y, z + ABOVE_M * (1 - share)), yaw, angles)
        targets.append(("descend", np.append(angles, OPEN_M)))
    targets += [("close", np.append(angles, CLOSED_M))] * steps["close"]
    for share in np.linspace(0, 1, steps["lift"] + 1)[1:]:
        angles = arm.angles((x, y, z + LIFT_M * share), yaw, angles)
        targets.append(("lift", np.append(angles, CLOSED_M)))
    return targets + [("hold", np.append(angles, CLOSED_M))] * steps["hold"]
