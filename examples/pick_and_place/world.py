# SPDX-License-Identifier: Apache-2.0
"""A table with an arm and a few things on it, in PyBullet without a window: one seeded trial.

Knows the truth: where everything is. Does not know ROS, nor what the arm is for. Base frame: the arm's foot is at the
origin, the table's top at z = 0, x points away from the arm.
"""

from __future__ import annotations

import math

import numpy as np
import pybullet
import pybullet_data
from camera import View, camera_pose, render
from shapes import ROLLING, SCREEN, SHAPES, Shape

SCENARIOS = ("still", "pushed", "rolls", "hidden")
"""Of the wanted thing after the prompt: nothing; a push; it rolls until it stops; it passes behind a box."""
PHYSICS_HZ = 240
ARM_JOINTS, FINGER_JOINTS = tuple(range(7)), (9, 10)
HOME = (0.0, -0.9, 0.0, -2.6, 0.0, 1.7, 0.785)
OPEN_M = 0.04  # of each finger
FINGER_N = 40.0
MOVES_AFTER_S = 0.5  # the push, or the start of the motion, after the first image
PUSH_M_S, ROLL_M_S, PASS_M_S = 0.8, 0.18, 0.11
ROLL_DAMPING = 0.7  # 1/s
STOP_M_S = 0.02  # a ball slower than this stops: felt on the table
PASS_END_M, PASS_X_M, SCREEN_X_M = 0.21, 0.50, 0.60
LIFTED_M = 0.10
CLEARANCE_M = 0.055  # between things: room for a finger


class World:
    """One trial. The same seed, scenario and targets give the same states and images.

    Attributes:
        wanted: body of the thing to grasp; `name`: what it is.
        time_s: simulated seconds since the first image.
    """

    def __init__(self, seed: int, scenario: str, moving_camera: bool = False, twins: bool = False) -> None:
        if scenario not in SCENARIOS:
            raise ValueError(f"scenario '{scenario}' given, expected one of {', '.join(SCENARIOS)}")
        self.scenario, self.moving_camera, self.time_s = scenario, moving_camera, 0.0
        self._moving, self._stopped = False, False  # the wanted thing
        self.random = np.random.default_rng((seed, SCENARIOS.index(scenario)))
        self.client = pybullet.connect(pybullet.DIRECT)
        self._call = {"physicsClientId": self.client}
        pybullet.setAdditionalSearchPath(pybullet_data.getDataPath(), **self._call)
        pybullet.setGravity(0, 0, -9.81, **self._call)
        pybullet.setTimeStep(1 / PHYSICS_HZ, **self._call)
        table = pybullet.loadURDF("table/table.urdf", (0.5, 0, -0.626), useFixedBase=True, **self._call)
        top = pybullet.getAABB(table, -1, **self._call)[1][2]  # PyBullet adds a margin: things rest on it
        pybullet.resetBasePositionAndOrientation(table, (0.5, 0, -0.626 - top), (0, 0, 0, 1), **self._call)
        pybullet.changeDynamics(table, -1, lateralFriction=0.8, **self._call)
        self.arm = pybullet.loadURDF("franka_panda/panda.urdf", useFixedBase=True, **self._call)
        self.targets = np.array([*HOME, OPEN_M])
        self._set_up_arm()
        self._side = float(self.random.choice((-1, 1)))
        self._place_things(twins)
        for _ in range(2 * PHYSICS_HZ):  # until everything rests
            self._substep(self.targets)

    def close(self) -> None:
        pybullet.disconnect(**self._call)

    def _set_up_arm(self) -> None:
        for joint, angle in zip(ARM_JOINTS, HOME, strict=True):
            pybullet.resetJointState(self.arm, joint, angle, **self._call)
        for joint in FINGER_JOINTS:
            pybullet.resetJointState(self.arm, joint, OPEN_M, **self._call)
            pybullet.changeDynamics(self.arm, joint, lateralFriction=1.5, spinningFriction=0.01, **self._call)

    def _place_things(self, twins: bool) -> None:
        """Puts the wanted thing and two others, or two of its kind, on the table, away from its way."""
        choices = ROLLING if self.scenario == "rolls" else SHAPES
        if self.scenario == "pushed":
            choices = [shape for shape in SHAPES if shape.rest_m < 0.036]  # a push topples what is taller
        wanted: Shape = choices[self.random.integers(len(choices))]
        self.name, self._shape = wanted.name, wanted
        x, y = self.random.uniform(0.44, 0.56), self.random.uniform(-0.12, 0.12)
        keep_off = [(x, y, wanted.radius_m)]
        if self.scenario == "rolls":
            y = -0.16 * self._side
            keep_off = [(x, at, wanted.radius_m) for at in np.arange(-0.2, 0.21, 0.04)]
        elif self.scenario == "pushed":
            self._push_xy = np.array([0.50, 0.0]) - (x, y)
            self._push_xy /= max(np.linalg.norm(self._push_xy), 1e-6)
            keep_off = [
                (x + far * self._push_xy[0], y + far * self._push_xy[1], wanted.radius_m)
                for far in (0, 0.06, 0.12)
            ]
        elif self.scenario == "hidden":
            x, y = PASS_X_M, -PASS_END_M * self._side
            keep_off = [(x, at, wanted.radius_m) for at in np.arange(-0.24, 0.25, 0.04)]
            self.screen = self._put(SCREEN, SCREEN_X_M, 0.0, 0.0)
            keep_off.append((SCREEN_X_M, 0.0, SCREEN.radius_m))
        self.wanted = self._put(wanted, x, y, 0.0 if wanted.lying else self.random.uniform(-math.pi, math.pi))
        others = [shape for shape in SHAPES if shape.name != wanted.name]
        self.random.shuffle(others)
        others = [wanted, wanted] if twins else others
        for other in others[:2]:
            for _ in range(60):
                x, y = self.random.uniform(0.36, 0.64), self.random.uniform(-0.26, 0.26)
                if all(math.hypot(x - a, y - b) > r + other.radius_m + CLEARANCE_M for a, b, r in keep_off):
                    self._put(other, x, y, self.random.uniform(-math.pi, math.pi))
                    keep_off.append((x, y, other.radius_m))
                    break

    def _put(self, shape: Shape, x: float, y: float, yaw: float) -> int:
        body = shape.load(self.client)
        turn = pybullet.getQuaternionFromEuler((0, math.pi / 2, 0) if shape.lying else (0, 0, yaw))
        pybullet.resetBasePositionAndOrientation(body, (x, y, 0.0), turn, **self._call)
        bottom = pybullet.getAABB(body, -1, **self._call)[0][2]
        pybullet.resetBasePositionAndOrientation(body, (x, y, 0.001 - bottom), turn, **self._call)
        return body

    def step(self, targets: np.ndarray, duration_s: float) -> None:
        """Moves the arm to joint targets (7 angles in rad, opening of each finger in m) at constant speed."""
        before, start_s, substeps = self.targets, self.time_s, round(duration_s * PHYSICS_HZ)
        for substep in range(1, substeps + 1):
            self._move_wanted()
            self._substep(before + (targets - before) * (substep / substeps))
            self.time_s = start_s + substep / PHYSICS_HZ
        self.targets = np.array(targets, np.float64)

    def _substep(self, targets: np.ndarray) -> None:
        pybullet.setJointMotorControlArray(
            self.arm,
            ARM_JOINTS,
            pybullet.POSITION_CONTROL,
            targetPositions=targets[:7].tolist(),
            forces=[87.0] * 4 + [40.0] * 3,
            **self._call,
        )
        pybullet.setJointMotorControlArray(
            self.arm,
            FINGER_JOINTS,
            pybullet.POSITION_CONTROL,
            targetPositions=[float(targets[7])] * 2,
            forces=[FINGER_N] * 2,
            **self._call,
        )
        pybullet.stepSimulation(**self._call)

    def _move_wanted(self) -> None:
        """Applies what the scenario does to the wanted thing at this moment."""
        if self.scenario == "still" or self._stopped or self.time_s < MOVES_AFTER_S:
            return
        started, self._moving = self._moving, True
        if self.scenario == "pushed":
            self._set_velocity((*(PUSH_M_S * self._push_xy), 0.0))
            self._stopped = True  # friction does the rest
        elif self.scenario == "rolls":
            speed = ROLL_M_S * self._side
            if not started:
                self._set_velocity((0, speed, 0), (-speed / self._shape.rolling_radius_m, 0, 0))
                pybullet.changeDynamics(
                    self.wanted, -1, linearDamping=ROLL_DAMPING, angularDamping=ROLL_DAMPING, **self._call
                )
            elif np.linalg.norm(pybullet.getBaseVelocity(self.wanted, **self._call)[0]) < STOP_M_S:
                self._stop()
                pybullet.changeDynamics(self.wanted, -1, rollingFriction=0.005, **self._call)
        elif self.centre()[1] * self._side < PASS_END_M:
            self._set_velocity((0, PASS_M_S * self._side, 0))
        else:
            self._stop()

    def _set_velocity(self, linear: tuple[float, ...], angular: tuple[float, ...] = (0, 0, 0)) -> None:
        pybullet.resetBaseVelocity(self.wanted, linear, angular, **self._call)

    def _stop(self) -> None:
        self._set_velocity((0, 0, 0))
        self._stopped = True

    def centre(self) -> np.ndarray:
        """``[3]`` metres, middle of the wanted thing's bounding box."""
        low, high = pybullet.getAABB(self.wanted, -1, **self._call)
        return (np.array(low) + high) / 2

    def lifted(self) -> bool:
        """Whether the whole wanted thing is at least `LIFTED_M` above the table."""
        return bool(pybullet.getAABB(self.wanted, -1, **self._call)[0][2] >= LIFTED_M)

    def view(self) -> View:
        return render(self.client, camera_pose(self.time_s, self.moving_camera))
