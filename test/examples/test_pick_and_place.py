# SPDX-License-Identifier: Apache-2.0
"""The simulated table: repeatable worlds, a camera whose pixels and depth agree, grasps that lift; without ROS."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pybullet = pytest.importorskip("pybullet", reason="needs pybullet: pip install 'sam2_ros[sim]'")

pytestmark = pytest.mark.long

PROGRAMS = Path(__file__).resolve().parents[2] / "examples" / "pick_and_place"
PERIOD_S = 0.1


@pytest.fixture(scope="module")
def programs():
    """The example's modules; it runs as a script, so they are no package."""
    sys.path.insert(0, str(PROGRAMS))
    try:
        import camera
        import grasp
        import world

        yield SimpleNamespace(camera=camera, grasp=grasp, world=world)
    finally:
        sys.path.remove(str(PROGRAMS))


def played(programs: Any, seed: int, scenario: str, images: int = 12) -> tuple[np.ndarray, np.ndarray, str]:
    """The last image, the ways of the wanted thing, and its name."""
    world = programs.world.World(seed, scenario)
    try:
        ways = []
        for _ in range(images):
            ways.append(world.centre())
            world.step(world.targets + 0.01, PERIOD_S)
        return world.view().rgb, np.stack(ways), world.name
    finally:
        world.close()


@pytest.mark.parametrize("scenario", ["still", "pushed", "rolls", "hidden"])
def test_a_seed_repeats_a_table_to_the_last_bit(programs, scenario):
    first, again, other = (played(programs, seed, scenario) for seed in (4, 4, 5))
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    assert first[2] == again[2]
    assert np.abs(first[1][0] - other[1][0]).max() > 0.005
    assert not np.array_equal(first[0], other[0])


@pytest.mark.parametrize("time_s", [0.0, 1.7, 4.4, 10.0])
def test_a_known_point_is_drawn_at_its_pixel_and_depth(programs, time_s):
    camera, radius_m = programs.camera, 0.012
    client = pybullet.connect(pybullet.DIRECT)
    try:
        look = pybullet.createVisualShape(pybullet.GEOM_SPHERE, radius=radius_m, physicsClientId=client)
        ball = pybullet.createMultiBody(0, -1, look, physicsClientId=client)
        pose = camera.camera_pose(time_s, moving=True)
        for point in ((0.5, 0.0, 0.02), (0.4, 0.2, 0.1), (0.6, -0.2, 0.0), (0.5, 0.1, 0.25)):
            pybullet.resetBasePositionAndOrientation(ball, point, (0, 0, 0, 1), physicsClientId=client)
            view = camera.render(client, pose, shadows=False)
            rows, columns = np.nonzero(view.bodies == ball)
            x, y, z = camera.project(pose, np.array(point))
            assert (columns.mean(), rows.mean()) == pytest.approx((x, y), abs=0.25)
            assert view.depth_m[rows, columns].min() == pytest.approx(z - radius_m, abs=0.001)
            assert len(rows) == pytest.approx(math.pi * (camera.FOCAL_PX * radius_m / z) ** 2, rel=0.2)
    finally:
        pybullet.disconnect(physicsClientId=client)


def test_the_true_reference_point_is_on_the_top_of_a_flat_plate(programs):
    camera = programs.camera
    client = pybullet.connect(pybullet.DIRECT)
    try:
        half = (0.05, 0.05, 0.001)
        look = pybullet.createVisualShape(pybullet.GEOM_BOX, halfExtents=half, physicsClientId=client)
        plate = pybullet.createMultiBody(0, -1, look, basePosition=(0.5, 0.05, 0.1), physicsClientId=client)
        for time_s in (0.0, 2.0):
            view = camera.render(client, camera.camera_pose(time_s, moving=True))
            x, y, z = camera.surface_median(view, plate)
            assert z == pytest.approx(0.101, abs=0.0003)
            assert (x, y) == pytest.approx((0.5, 0.05), abs=0.007)  # the near half fills more pixels
        assert camera.surface_median(view, plate + 1) is None
    finally:
        pybullet.disconnect(physicsClientId=client)


def test_the_depth_camera_has_noise_and_no_reading_at_edges(programs):
    depth_m = np.full((240, 320), 1.0, np.float32)
    depth_m[:, 160:] = 1.5
    measured = programs.camera.measured_depth(depth_m, np.random.default_rng(0))
    assert np.isnan(measured[:, 159]).all()
    assert np.isnan(measured).mean() < 0.01
    assert np.nanstd(measured[:, :159]) == pytest.approx(0.001, rel=0.05)
    assert np.nanstd(measured[:, 160:]) == pytest.approx(0.00225, rel=0.05)


def test_each_scenario_moves_the_thing_as_it_says(programs):
    ways = {name: played(programs, 3, name, 60)[1] for name in programs.world.SCENARIOS}
    moved = {name: float(np.linalg.norm(way[-1] - way[0])) for name, way in ways.items()}
    assert moved["still"] < 0.001
    assert moved["pushed"] > 0.03
    assert moved["rolls"] > 0.06
    assert moved["hidden"] == pytest.approx(0.42, abs=0.02)
    for name, way in ways.items():
        assert np.linalg.norm(way[4] - way[0]) < 0.001, name  # not before the prompt
        assert np.linalg.norm(way[-1] - way[-5]) < 0.001, name  # at rest in the end


def test_a_hidden_thing_disappears_for_a_while_and_comes_back(programs):
    world = programs.world.World(3, "hidden")
    try:
        pixels = []
        for _ in range(50):
            pixels.append(int((world.view().bodies == world.wanted).sum()))
            world.step(world.targets, PERIOD_S)
    finally:
        world.close()
    hidden = [index for index, seen in enumerate(pixels) if seen == 0]
    assert 4 <= len(hidden) <= 25
    assert min(pixels[0], pixels[-1]) > 150


def box_points(size_m: tuple[float, float, float], at_xy: tuple[float, float], yaw: float) -> np.ndarray:
    """[n, 3] points of the top and one side of a box on the table."""
    length, width, height = size_m
    along, across = np.meshgrid(np.linspace(-0.5, 0.5, 40) * length, np.linspace(-0.5, 0.5, 40) * width)
    top = np.stack([along.ravel(), across.ravel(), np.full(1600, height)], axis=1)
    side = np.stack(
        [along.ravel(), np.full(1600, width / 2), (across.ravel() / width + 0.5) * height], axis=1
    )
    turn = np.array([[math.cos(yaw), -math.sin(yaw), 0], [math.sin(yaw), math.cos(yaw), 0], [0, 0, 1]])
    return np.concatenate([top, side]) @ turn.T + (*at_xy, 0)


@pytest.mark.parametrize("yaw", [-1.2, -0.3, 0.0, 0.7, 1.5])
def test_a_grasp_closes_across_the_narrow_side(programs, yaw):
    grasp = programs.grasp.plan_grasp(box_points((0.1, 0.04, 0.06), (0.5, 0.1), yaw))
    assert grasp.centre_xyz == pytest.approx((0.5, 0.1, 0.03), abs=0.004)
    assert grasp.width_m == pytest.approx(0.04, abs=0.003)
    assert math.cos(2 * (grasp.yaw - yaw - math.pi / 2)) > 0.995  # half turns do not matter


def test_what_is_too_wide_or_out_of_reach_has_no_grasp(programs):
    grasp = programs.grasp
    with pytest.raises(grasp.NoGraspError, match="the gripper takes 74 mm"):
        grasp.plan_grasp(box_points((0.12, 0.09, 0.06), (0.5, 0.0), 0.0))
    with pytest.raises(grasp.NoGraspError, match="expected"):
        grasp.plan_grasp(np.zeros((3, 3)))
    far = grasp.Grasp((1.2, 0.0, 0.03), 0.0, 0.04)
    with pytest.raises(grasp.NoGraspError, match="out of reach"):
        grasp.trajectory(grasp.Arm(), far, 10.0, np.array(grasp.HOME))


@pytest.mark.parametrize(("seed", "scenario"), [(0, "still"), (1, "rolls"), (2, "hidden")])
def test_a_grasp_of_the_true_points_lifts_the_thing(programs, seed, scenario):
    camera, grasp = programs.camera, programs.grasp
    world = programs.world.World(seed, scenario)
    try:
        for _ in range(50):
            world.step(world.targets, PERIOD_S)
        assert not world.lifted()
        view = world.view()
        rows, columns = np.nonzero(view.bodies == world.wanted)
        z = view.depth_m[rows, columns]
        rays = np.stack([columns, rows, np.ones(len(rows))], axis=1) @ np.linalg.inv(camera.MATRIX).T
        points = rays * z[:, None] @ view.camera_in_base[:3, :3].T + view.camera_in_base[:3, 3]
        targets = grasp.trajectory(grasp.Arm(), grasp.plan_grasp(points), 10.0, np.array(grasp.HOME))
        for _, target in targets:
            world.step(target, PERIOD_S)
        assert world.lifted()
    finally:
        world.close()
