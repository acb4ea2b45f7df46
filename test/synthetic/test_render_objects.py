# SPDX-License-Identifier: Apache-2.0
"""`scripts/render_objects.py`: clips of 3D models in the project's layout, repeatable, resumable; models with gaps."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from sam2_ros.datasets.layouts import open_dataset

pytestmark = pytest.mark.long

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
OPTIONAL = ("pybullet", "trimesh", "collada")
CUBE = """mtllib cube.mtl
v -1 -1 -1\nv 1 -1 -1\nv 1 1 -1\nv -1 1 -1\nv -1 -1 1\nv 1 -1 1\nv 1 1 1\nv -1 1 1
vt 0 0\nvt 1 0\nvt 1 1\nvt 0 1
usemtl paint
f 1/1 4/2 3/3 2/4\nf 5/1 6/2 7/3 8/4\nf 1/1 2/2 6/3 5/4\nf 2/1 3/2 7/3 6/4\nf 3/1 4/2 8/3 7/4\nf 4/1 1/2 5/3 8/4
"""
URDF = """<robot name="lamp"><link name="foot"><visual><geometry><box size="0.4 0.4 0.1"/></geometry>
<material name="red"><color rgba="0.8 0.1 0.1 1"/></material></visual></link>
<link name="head"><visual><geometry><sphere radius="0.2"/></geometry></visual></link>
<joint name="neck" type="fixed"><parent link="foot"/><child link="head"/>
<origin xyz="0 0 0.3" rpy="0 0 0"/></joint></robot>
"""
SDF = """<sdf version="1.6"><model name="gap"><link name="link"><visual name="visual"><geometry>
<mesh><uri>model://gap/meshes/none.dae</uri></mesh></geometry></visual></link></model></sdf>
"""
OPTIONS = ("--clips", "3", "--frames", "3..5", "--size", "64", "--seed", "5")
installed = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in OPTIONAL),
    reason="pybullet, trimesh and pycollada are optional: only this script uses them",
)


@pytest.fixture(scope="module", autouse=True)
def _scripts():
    sys.path.insert(0, str(SCRIPTS))
    yield
    sys.path.remove(str(SCRIPTS))


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for name in ("cube", "lamp", "gap", "faded"):
        (folder / name).mkdir()
    (folder / "cube" / "cube.obj").write_text(CUBE)
    (folder / "cube" / "cube.mtl").write_text("newmtl paint\nKd 1 1 1\nmap_Kd paint.png\n")
    paint = np.zeros((32, 32, 3), np.uint8)
    paint[:16, :, 2], paint[16:, :, 1] = 255, 255
    cv2.imwrite(str(folder / "cube" / "paint.png"), paint)
    (folder / "lamp" / "lamp.urdf").write_text(URDF)
    (folder / "gap" / "model.sdf").write_text(SDF)
    (folder / "faded" / "cube.obj").write_text(CUBE.replace("cube.mtl", "faded.mtl"))
    (folder / "faded" / "faded.mtl").write_text("newmtl paint\nmap_Kd lost.png\n")
    return folder


def command(*arguments: object) -> list[str]:
    return [sys.executable, str(SCRIPTS / "render_objects.py"), *map(str, arguments)]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def rendered(models, tmp_path_factory):
    """The folder of a complete run and what the run printed."""
    out = tmp_path_factory.mktemp("rendered") / "out"
    done = run(models, "--out", out, *OPTIONS, "--verbose")
    assert done.returncode == 0, done.stderr
    return out, done.stdout


def contents(folder: Path) -> dict[str, bytes]:
    return {f.relative_to(folder).as_posix(): f.read_bytes() for f in sorted(folder.glob("objects-*/**/*.*"))}


@installed
def test_clips_are_read_back_and_every_object_shows_on_the_first_frame(rendered):
    sequences = open_dataset(rendered[0])
    assert [s.name for s in sequences] == [f"objects-5-{k:05d}" for k in range(3)]
    for sequence in sequences:
        assert 3 <= len(sequence) <= 5
        assert sequence.truth.indices == tuple(range(len(sequence)))
        first = sequence.annotated(0, sequence.image(0))
        assert list(first.masks) == [str(i + 1) for i in range(len(first.masks))]
        assert all(mask.mean() >= 0.003 for mask in first.masks.values())
        assert set(sequence.first_frames.values()) == {0}


@installed
def test_models_with_missing_meshes_or_textures_are_skipped_and_announced(rendered):
    assert "2 models; 2 skipped" in rendered[1]
    assert "its mesh none.dae is missing" in rendered[1]
    assert "its file lost.png is missing" in rendered[1]


@installed
def test_a_killed_run_resumes_and_gives_the_clips_of_an_uninterrupted_one(models, rendered, tmp_path):
    process = subprocess.Popen(
        command(models, "--out", tmp_path, *OPTIONS), stdout=subprocess.DEVNULL, start_new_session=True
    )
    limit = time.monotonic() + 240
    while not (tmp_path / "objects-5-00000").exists() and time.monotonic() < limit:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    (tmp_path / ".objects-5-00002.partial" / "frames").mkdir(parents=True, exist_ok=True)
    assert 1 <= len(open_dataset(tmp_path)) <= 3
    kept = (tmp_path / "objects-5-00000" / "meta.json").stat().st_mtime_ns
    assert run(models, "--out", tmp_path, *OPTIONS).returncode == 0
    assert (tmp_path / "objects-5-00000" / "meta.json").stat().st_mtime_ns == kept
    assert contents(tmp_path) == contents(rendered[0])
    assert not list(tmp_path.glob(".objects*"))


@installed
def test_masks_are_exact_at_the_edges_of_objects(models, tmp_path):
    """A part of one pure colour, drawn before black, has that colour in its mask only."""
    from objects3d.prepared import prepare_models
    from objects3d.stage import Camera, Light, Look, Stage

    prepared, _ = prepare_models([models / "cube"], tmp_path)
    light = Light((0, 0, 1), (1, 1, 1), 1.0, 0.0, 0.0, False)
    with Stage() as stage:
        body = stage.add([Look(prepared[0].mesh(0), None, (1, 0, 0))], 1.0)
        stage.place(body, (0, 0, -4), np.eye(3))
        picture, bodies = stage.draw(64, Camera(np.eye(4), 45), light)
    red = (picture[..., 0] > 100) & (picture[..., 1] < 50)
    assert 100 < red.sum() < 4000
    assert np.array_equal(red, bodies == body)


@installed
def test_a_texture_is_drawn_the_right_way_up(models, tmp_path):
    from objects3d.prepared import prepare_models
    from objects3d.stage import Camera, Light, Look, Stage

    (model,), _ = prepare_models([models / "cube"], tmp_path)
    with Stage() as stage:
        body = stage.add([Look(model.mesh(0), model.texture(0), (1, 1, 1))], 1.0)
        stage.place(body, (0, 0, -4), np.eye(3))
        picture, _ = stage.draw(64, Camera(np.eye(4), 45), Light((0, 0, 1), (1, 1, 1), 1.0, 0.0, 0.0, False))
    upper, lower = picture[26, 32].astype(int), picture[38, 32].astype(int)
    assert upper[0] > upper[1] + 50  # the upper half of the picture is red
    assert lower[1] > lower[0] + 50


def test_objects_turn_grow_and_start_inside_the_image():
    from objects3d.motion import GROWTH, TURN_DEG, plan_motions

    tangent, turned, grown = 0.4, [], []
    for seed in range(30):
        motions = plan_motions(np.random.default_rng(seed), 3, 2, 20, tangent)
        assert len(motions) == 5
        for motion in motions:
            depth = -motion.positions_t3[:, 2]
            assert (depth > motion.radius).all()  # in front of the camera
            steps = np.einsum("tij,tkj->tik", motion.rotations_t33[1:], motion.rotations_t33[:-1])
            cosines = (np.trace(steps, axis1=1, axis2=2) - 1) / 2
            turned.append(np.rad2deg(np.arccos(np.clip(cosines, -1, 1))).sum())
            grown.append(depth.max() / depth.min())
        for motion in motions[:3]:
            place = motion.positions_t3[0, :2] / (-motion.positions_t3[0, 2] * tangent)
            assert np.abs(place).max() < 0.7
    assert TURN_DEG[0] - 1 <= min(turned)
    assert max(turned) <= TURN_DEG[1] + 1
    assert 3 < np.median(grown) < GROWTH[1]


def test_some_objects_are_hidden_by_others_and_some_leave_the_image():
    from objects3d.motion import plan_motions

    hidden = left = 0
    for seed in range(40):
        motions = plan_motions(np.random.default_rng(seed), 3, 1, 24, 0.4)
        places = np.stack([m.positions_t3[:, :2] / (-m.positions_t3[:, 2:] * 0.4) for m in motions])
        depths = np.stack([-m.positions_t3[:, 2] for m in motions])
        sizes = np.stack([m.radius / (-m.positions_t3[:, 2] * 0.4) for m in motions])
        left += any(
            (np.abs(place) > 1 + size[:, None]).any() for place, size in zip(places, sizes, strict=True)
        )
        covered = False
        for victim in range(3):
            for other in set(range(4)) - {victim}:
                gap = np.linalg.norm(places[victim] - places[other], axis=1)
                covered |= bool(
                    ((gap + sizes[victim] < sizes[other]) & (depths[other] < depths[victim])).any()
                )
        hidden += covered
    assert hidden >= 12
    assert left >= 12


def test_without_the_optional_packages_and_with_wrong_folders_there_is_one_clear_line(tmp_path):
    if any(importlib.util.find_spec(name) is None for name in OPTIONAL):
        done = run(tmp_path, "--out", tmp_path / "out")
        assert done.returncode == 1
        assert "render_objects needs" in done.stderr
        assert "pip install" in done.stderr
    else:
        for arguments, line in (
            ((tmp_path / "none",), "none' do not exist: a folder of URDF, SDF, OBJ or DAE models expected"),
            ((tmp_path,), "no URDF, SDF, OBJ or DAE file found"),
            ((tmp_path, "--backdrops", tmp_path / "none"), "none' do not exist: a folder of photographs"),
        ):
            done = run(*arguments, "--out", tmp_path / "out")
            assert done.returncode == 1
            assert line in done.stderr
            assert len(done.stderr.strip().splitlines()) == 1
