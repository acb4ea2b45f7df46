# SPDX-License-Identifier: Apache-2.0
"""Reads 3D models (URDF, SDF, OBJ, DAE, STL) as parts of one texture or colour each, centred, in a unit sphere.

Knows files and trimesh; does not know rendering.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

MESHES = (".obj", ".dae", ".stl")
MOST_FACES = 60_000
FLATTEST = 0.03  # smallest over largest extent; flatter models (carpets, signs) turn into a line
TEXTURE_PX = 512
MOST_PARTS = 12
SMOOTH_COSINE = 0.85  # of the angle between a face and the mean of its neighbours; sharper edges stay sharp


class ModelError(Exception):
    """A model that cannot be used; the message says why."""


@dataclass(frozen=True)
class Part:
    """The faces of one texture or colour.

    Attributes:
        vertices_n3, normals_n3: in a unit sphere about the origin; z is up.
        uv_n2: texture coordinates, from the lower left.
        faces_m3: vertex indices.
        texture_hw3: uint8 RGB; None: one colour.
        colour_3: RGB, 0..1.
    """

    vertices_n3: np.ndarray
    normals_n3: np.ndarray
    uv_n2: np.ndarray
    faces_m3: np.ndarray
    texture_hw3: np.ndarray | None
    colour_3: np.ndarray


def find_models(folder: Path) -> list[Path]:
    """The model files below a folder, sorted: model.sdf and URDF; meshes only in folders without these.

    Raises ModelError.
    """
    if folder.is_file():
        return [folder]
    if not folder.is_dir():
        raise ModelError(f"models '{folder}' do not exist: a folder of URDF, SDF, OBJ or DAE models expected")
    files = sorted(f for f in folder.rglob("*") if f.suffix.lower() in (".sdf", ".urdf", *MESHES))
    found = [f for f in files if f.suffix.lower() in (".sdf", ".urdf")]
    described = {f.parent for f in found}
    # Beside model.sdf, the other files describe it for older readers.
    found = [
        f
        for f in found
        if f.suffix == ".urdf" or f.name == "model.sdf" or not (f.parent / "model.sdf").exists()
    ]
    for file in files:
        if file.suffix.lower() in MESHES and described.isdisjoint(file.parents):
            found.append(file)
    if not found:
        raise ModelError(f"models '{folder}': no URDF, SDF, OBJ or DAE file found below it")
    return sorted(found)


def read_model(file: Path) -> list[Part]:
    """The parts of a model. Raises ModelError for a missing mesh or texture, and for shapes that are of no use."""
    suffix = file.suffix.lower()
    try:
        if suffix == ".sdf":
            visuals = list(_sdf_visuals(file))
        elif suffix == ".urdf":
            visuals = list(_urdf_visuals(file))
        else:
            visuals = [(_mesh_file(file, file.parent), np.eye(4), None)]
    except (ElementTree.ParseError, ValueError) as error:
        raise ModelError(f"cannot be read ({error})") from error
    meshes = [mesh for loaded, pose, colour in visuals for mesh in _placed(loaded, pose, colour)]
    meshes = [mesh for mesh in meshes if len(mesh.faces)]
    if not meshes:
        raise ModelError("has no visible mesh")
    if (count := sum(len(mesh.faces) for mesh in meshes)) > MOST_FACES:
        raise ModelError(f"has {count} faces, at most {MOST_FACES} expected")
    corners = np.concatenate([mesh.vertices for mesh in meshes])
    low, high = corners.min(axis=0), corners.max(axis=0)
    extents = np.sort(high - low)
    if not np.isfinite(extents).all() or extents[0] < FLATTEST * extents[2]:
        raise ModelError("is flat")
    middle = (low + high) / 2
    scale = 1 / np.linalg.norm(corners - middle, axis=1).max()
    for mesh in meshes:
        mesh.apply_translation(-middle)
        mesh.apply_scale(scale)
    return _parts(meshes)


def _parts(meshes: list[Any]) -> list[Part]:
    import trimesh

    textured, plain = [], []
    for mesh in meshes:
        (plain if _texture(mesh) is None else textured).append(mesh)
    if len(plain) > MOST_PARTS:  # the largest keep a colour of their own
        plain.sort(key=lambda mesh: -float(mesh.area))
        plain[MOST_PARTS - 1 :] = [
            trimesh.util.concatenate([trimesh.Trimesh(m.vertices, m.faces) for m in plain[MOST_PARTS - 1 :]])
        ]
    parts = []
    for mesh in textured:
        uv = np.asarray(mesh.visual.uv, np.float64)
        uv = uv - np.floor(uv.min(axis=0))  # the renderer does not wrap negative coordinates
        parts.append(Part(mesh.vertices, mesh.vertex_normals, uv, mesh.faces, _texture(mesh), np.ones(3)))
    return parts + [_box_mapped(mesh) for mesh in plain]


def _box_mapped(mesh: Any) -> Part:
    """A part without texture gets coordinates: each face is projected along the axis that it faces most."""
    faces = np.asarray(mesh.faces)
    vertices, normals = mesh.vertices[faces.ravel()], mesh.vertex_normals[faces.ravel()]
    flat = mesh.face_normals.repeat(3, axis=0)
    sharp = (normals * flat).sum(axis=1, keepdims=True) < SMOOTH_COSINE
    normals = np.where(sharp, flat, normals)
    across = np.abs(mesh.face_normals).argmax(axis=1).repeat(3)
    kept = np.array([[1, 2], [0, 2], [0, 1]])[across]
    uv = 0.5 + 0.5 * np.take_along_axis(vertices, kept, axis=1)
    colour = _colour(mesh)
    return Part(vertices, normals, uv, np.arange(len(vertices)).reshape(-1, 3), None, colour)


def _colour(mesh: Any) -> np.ndarray:
    try:
        rgba = np.asarray(
            mesh.visual.material.main_color if hasattr(mesh.visual, "material") else mesh.visual.main_color
        )
        return np.asarray(rgba[:3], np.float64) / 255
    except (AttributeError, TypeError, ValueError):
        return np.full(3, 0.6)


def _texture(mesh: Any) -> np.ndarray | None:
    visual = mesh.visual
    material = getattr(visual, "material", None)
    image = getattr(material, "image", None) or getattr(material, "baseColorTexture", None)
    uv = getattr(visual, "uv", None)
    if image is None or uv is None or len(uv) != len(mesh.vertices):
        return None
    image = image.convert("RGB")
    image.thumbnail((TEXTURE_PX, TEXTURE_PX))
    return np.asarray(image)


def _placed(loaded: list[Any], pose_44: np.ndarray, texture_or_colour: Any) -> Iterator[Any]:
    import trimesh

    for mesh in loaded:
        mesh = mesh.copy()
        mesh.apply_transform(pose_44)
        if texture_or_colour is not None and _texture(mesh) is None:
            if isinstance(texture_or_colour, np.ndarray):
                mesh.visual = trimesh.visual.ColorVisuals(mesh, face_colors=texture_or_colour)
            elif getattr(mesh.visual, "uv", None) is not None:
                mesh.visual = trimesh.visual.TextureVisuals(mesh.visual.uv, image=texture_or_colour)
        yield mesh


class _Files:
    """Finds the files that a mesh names, also by their base name anywhere in the model's folder."""

    def __init__(self, folder: Path, root: Path) -> None:
        self.folder, self.root, self.missing = folder, root, set[str]()

    def find(self, name: str) -> Path | None:
        plain = re.sub(r"^(model|package|file)://", "", name.replace("\\", "/"))
        for place in (
            self.folder / plain,
            self.root.parent / plain,
        ):  # `model://` names a model beside this one
            if place.is_file():
                return place
        return next((f for f in sorted(self.root.rglob(Path(plain).name)) if f.is_file()), None)

    def keys(self) -> list[str]:
        return []

    def __getitem__(self, name: str) -> bytes:
        return self.get(name)

    def get(self, name: str) -> bytes:
        found = self.find(name)
        if found is None:
            self.missing.add(Path(name).name)
            raise FileNotFoundError(name)
        return found.read_bytes()


def _mesh_file(file: Path, root: Path) -> list[Any]:
    """The meshes of a file in its own coordinates."""
    import trimesh

    if not file.is_file():
        raise ModelError(f"its mesh {file.name} is missing")
    files = _Files(file.parent, root)
    named = [f for f in _named_textures(file, files) if files.find(f) is None]
    if named:
        raise ModelError(f"its file {named[0]} is missing")
    logging.getLogger("trimesh").setLevel(logging.CRITICAL)  # it reports textures that nothing here uses
    try:
        scene = trimesh.load_scene(file, resolver=files)
        return [mesh for mesh in scene.dump() if isinstance(mesh, trimesh.Trimesh)]
    except Exception as error:  # trimesh and its readers raise what they like for odd files
        raise ModelError(f"its mesh {file.name} cannot be read ({type(error).__name__}: {error})") from error


def _named_textures(file: Path, files: _Files) -> list[str]:
    """Names of the colour textures that a mesh file needs."""
    if file.suffix.lower() == ".dae":
        text = file.read_text("utf-8", "replace")
        images = dict(
            re.findall(r'<image\b[^>]*\bid="([^"]*)"[^>]*>.*?<init_from>\s*(.*?)\s*</init_from>', text, re.S)
        )
        diffuse = " ".join(re.findall(r"<diffuse>.*?</diffuse>", text, re.S))
        return [
            name
            for name in images.values()
            if "<texture" in diffuse and not re.search(r"norm|spec|bump", name, re.I)
        ]
    if file.suffix.lower() != ".obj":
        return []
    with file.open(encoding="utf-8", errors="replace") as lines:
        libraries = [line.split(maxsplit=1)[1].strip() for line in lines if line.startswith("mtllib ")]
    names = []
    for library in libraries:
        found = files.find(library)
        if found is None:
            return [library]
        text = found.read_text("utf-8", "replace")
        names += re.findall(r"^\s*map_Kd\s+(?:-\S+\s+\S+\s+)*(.+?)\s*$", text, re.M)
    return names


def _sdf_visuals(file: Path) -> Iterator[tuple[list[Any], np.ndarray, Any]]:
    root = ElementTree.fromstring(file.read_text("utf-8", "replace").strip())
    scripts = _ogre_textures(file.parent)
    for link in root.iter("link"):
        for visual in link.findall("visual"):
            geometry = visual.find("geometry")
            if geometry is None or visual.findtext("transparency", "0").strip() not in ("0", "0.0"):
                continue
            pose = _pose(link.findtext("pose")) @ _pose(visual.findtext("pose"))
            yield _shape(geometry, file.parent), pose, _sdf_material(visual.find("material"), scripts)


def _sdf_material(material: ElementTree.Element | None, scripts: dict[str, Path]) -> Any:
    from PIL import Image

    if material is None:
        return None
    name = (material.findtext("script/name") or "").strip()
    if name in scripts:
        return Image.open(scripts[name]).convert("RGB")
    values = (material.findtext("diffuse") or "").split()
    return (
        None if len(values) < 3 else np.array([*(float(v) * 255 for v in values[:3]), 255]).astype(np.uint8)
    )


def _ogre_textures(folder: Path) -> dict[str, Path]:
    """The first texture of each material in the model's *.material files."""
    found = {}
    for script in sorted(folder.rglob("*.material")):
        for chunk in re.split(r"^\s*material\s+", script.read_text("utf-8", "replace"), flags=re.M)[1:]:
            texture = re.search(r"^\s*texture\s+(\S+)", chunk, re.M)
            if texture and (path := next(iter(sorted(folder.rglob(texture[1]))), None)):
                found[chunk.split()[0]] = path
    return found


def _urdf_visuals(file: Path) -> Iterator[tuple[list[Any], np.ndarray, Any]]:
    root = ElementTree.fromstring(file.read_text("utf-8", "replace").strip())
    joints = {}
    for joint in root.findall("joint"):
        parent, child = joint.find("parent"), joint.find("child")
        if parent is not None and child is not None:
            joints[child.get("link")] = (parent.get("link"), _origin(joint))
    colours = {m.get("name"): m for m in root.findall("material")}
    for link in root.findall("link"):
        pose, name = np.eye(4), link.get("name")
        for _ in range(len(joints)):
            if name in joints:
                name, origin = joints[name]
                pose = origin @ pose
        for visual in link.findall("visual"):
            geometry, material = visual.find("geometry"), visual.find("material")
            if geometry is None:
                continue
            colour = None if material is None else material.find("color")
            if colour is None and material is not None and material.get("name") in colours:
                colour = colours[material.get("name")].find("color")
            rgba = None
            if colour is not None:
                rgba = (np.array([float(v) for v in (colour.get("rgba") or "").split()]) * 255).astype(
                    np.uint8
                )
            yield _shape(geometry, file.parent), pose @ _origin(visual), rgba


def _shape(geometry: ElementTree.Element, root: Path) -> list[Any]:
    """The meshes of a geometry element of URDF or SDF."""
    import trimesh

    mesh, box, ball, tube = (geometry.find(kind) for kind in ("mesh", "box", "sphere", "cylinder"))
    if mesh is not None:
        name = mesh.get("filename") or mesh.findtext("uri") or ""
        path = re.sub(r"^(model|package|file)://(?:models/)?", "", name.strip())
        places = (root / path, root / Path(*Path(path).parts[1:]), root.parent / path)
        file = next((place for place in places if place.is_file()), places[0])
        scale = [float(v) for v in (mesh.get("scale") or mesh.findtext("scale") or "1 1 1").split()]
        meshes = _mesh_file(file, root)
        for one in meshes:
            one.apply_transform(np.diag([*(scale * 3)[:3], 1.0]))
        return meshes
    if box is not None:
        size = [float(v) for v in (box.get("size") or box.findtext("size") or "").split()]
        return [trimesh.creation.box(size)]
    if ball is not None:
        return [trimesh.creation.uv_sphere(float(ball.get("radius") or ball.findtext("radius") or 1))]
    if tube is not None:
        radius, length = (float(tube.get(k) or tube.findtext(k) or 1) for k in ("radius", "length"))
        return [trimesh.creation.cylinder(radius, length)]
    return []


def _origin(element: ElementTree.Element) -> np.ndarray:
    origin = element.find("origin")
    return (
        np.eye(4) if origin is None else _pose(f"{origin.get('xyz', '0 0 0')} {origin.get('rpy', '0 0 0')}")
    )


def _pose(text: str | None) -> np.ndarray:
    """``[4, 4]`` matrix of `x y z roll pitch yaw` in metres and radians."""
    import trimesh

    values = [float(v) for v in (text or "").split()]
    if len(values) != 6:
        return np.eye(4)
    matrix = np.asarray(trimesh.transformations.euler_matrix(*values[3:]))
    matrix[:3, 3] = values[:3]
    return matrix
