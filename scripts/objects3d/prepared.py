# SPDX-License-Identifier: Apache-2.0
"""Stores models in the form that the renderer loads: an OBJ file and at most one texture per part.

Knows the store's files; does not know the formats of models.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from .models import ModelError, Part, find_models, read_model


@dataclass(frozen=True)
class PreparedModel:
    """A model in the store: `textured[i]` says whether part i has a texture, `colours[i]` is its RGB, 0..1."""

    folder: Path
    source: str  # name of the folder of models that it is from
    textured: tuple[bool, ...]
    colours: tuple[tuple[float, ...], ...]

    def mesh(self, part: int) -> Path:
        return self.folder / f"{part}.obj"

    def texture(self, part: int) -> Path:
        return self.folder / f"{part}.png"


def prepare_models(sources: list[Path], store: Path) -> tuple[list[PreparedModel], dict[str, str]]:
    """The usable models of all sources, in a fixed order, and the reason for each that is skipped.

    Models that are in the store already are not read again. Raises ModelError.
    """
    prepared, skipped = [], {}
    for source in sources:
        for file in find_models(source):
            relative = file.relative_to(source if source.is_dir() else source.parent).as_posix()
            key = (
                f"{file.parent.name}-{hashlib.sha256(f'{source.name}/{relative}'.encode()).hexdigest()[:10]}"
            )
            record = _record(file, store / key)
            if "skipped" in record:
                skipped[str(file)] = record["skipped"]
            else:
                colours = tuple(tuple(colour) for colour in record["colours"])
                prepared.append(PreparedModel(store / key, source.name, tuple(record["textured"]), colours))
    if not prepared:
        reason = "; ".join(f"{Path(file).parent.name} {why}" for file, why in list(skipped.items())[:3])
        raise ModelError(f"no model can be used: {reason}")
    return prepared, skipped


def choose_model(rng: np.random.Generator, models: Sequence[PreparedModel]) -> PreparedModel:
    """A random model. A source's share grows with the square root of its size: large ones hold many variants."""
    sizes = Counter(model.source for model in models)
    shares = np.sqrt(list(sizes.values()))
    source = list(sizes)[int(rng.choice(len(sizes), p=shares / shares.sum()))]
    of_source = [model for model in models if model.source == source]
    return of_source[int(rng.integers(len(of_source)))]


def _record(file: Path, folder: Path) -> dict[str, object]:
    if (folder / "model.json").is_file():
        return dict(json.loads((folder / "model.json").read_text("utf-8")))
    staging = folder.with_name(f".{folder.name}.{os.getpid()}")
    staging.mkdir(parents=True, exist_ok=True)
    try:
        parts = read_model(file)
    except ModelError as error:
        record: dict[str, object] = {"skipped": str(error)}
    else:
        for index, part in enumerate(parts):
            _write_obj(staging / f"{index}.obj", part)
            if part.texture_hw3 is not None:
                Image.fromarray(part.texture_hw3).save(staging / f"{index}.png")
        record = {
            "textured": [part.texture_hw3 is not None for part in parts],
            "colours": [part.colour_3.round(4).tolist() for part in parts],
        }
    (staging / "model.json").write_text(json.dumps(record), "utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    staging.rename(folder)
    return record


def _write_obj(path: Path, part: Part) -> None:
    """Every face twice, once for each side, because the renderer draws only one side of a face."""
    normals = np.asarray(part.normals_n3)
    lines = [f"v {x:.6g} {y:.6g} {z:.6g}" for x, y, z in np.asarray(part.vertices_n3)]
    lines += [f"vt {u:.6g} {v:.6g}" for u, v in np.asarray(part.uv_n2)]
    lines += [f"vn {x:.4g} {y:.4g} {z:.4g}" for x, y, z in np.concatenate([normals, -normals])]
    faces, n = np.asarray(part.faces_m3) + 1, len(normals)
    lines += [f"f {a}/{a}/{a} {b}/{b}/{b} {c}/{c}/{c}" for a, b, c in faces]
    lines += [f"f {a}/{a}/{a + n} {b}/{b}/{b + n} {c}/{c}/{c + n}" for c, b, a in faces]
    path.write_text("\n".join(lines) + "\n", "ascii")
