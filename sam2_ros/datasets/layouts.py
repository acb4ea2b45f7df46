# SPDX-License-Identifier: Apache-2.0
"""Finds the sequences of a dataset: the project's own layout, DAVIS, MOSE, YouTube-VOS, LVOS, SA-V, the rendered set.

Knows names of folders and files; reads no image.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from sam2_ros.media.files.image_folder import image_files
from sam2_ros.media.files.mixed import find_second_series
from sam2_ros.media.frame_source import SourceError, natural_key
from sam2_ros.media.json_yaml import read_json
from sam2_ros.result_folder.manifest import is_safe_name
from sam2_ros.text import readable, some, text_problem

from .rendered import is_rendered, rendered_sequences
from .sav import annotation_files, sav_name, sav_sequence
from .sequence import FileFrames, FolderTruth, PaletteTruth, Truth, VosSequence

EXPECTED = (
    "expected a folder with frames/ and masks/, a folder of such folders, one with JPEGImages/ and Annotations/ "
    "(DAVIS, MOSE, YouTube-VOS, LVOS, SA-V), SA-V *_manual.json with extracted frames, or the word rendered"
)
VOS_FPS = 24.0  # DAVIS and SA-V; the other datasets do not state their rate
_RESOLUTIONS = ("480p", "Full-Resolution", "1080p")
_IMAGES = ("JPEGImages", "JPEGImages_24fps")
_ANNOTATIONS = ("Annotations", "Annotations_6fps")


Openers = dict[str, Callable[[], VosSequence]]
"""Sequence name -> function that opens it."""


def open_dataset(
    path: Path, split: str = "", names: Sequence[str] = (), broken: dict[str, str] | None = None
) -> list[VosSequence]:
    """Open the sequences of a dataset, in natural order.

    Args:
        path: the dataset, or one sequence in the project's own layout (`frames/`, `masks/`); or the word `rendered`.
        split: a list in `ImageSets`, such as val or 2017/val; or a folder of the dataset, such as valid; or a group of
            the rendered set.
        names: open only these sequences; empty = all.
        broken: a dict that receives, by name, the reason why a sequence cannot be opened; the sequence is skipped.
            None = raise.

    Raises:
        SourceError: the dataset, the split or a sequence is missing, or its layout is unknown.
    """
    if is_rendered(path):
        return rendered_sequences(split, names)
    if not path.exists():
        raise SourceError(f"dataset '{path}' does not exist; {EXPECTED}")
    if split and _images_folder(path) is None and (path / split).is_dir():
        path, split = path / split, ""
    openers = _openers(path, split, lenient=broken is not None)
    if missing := [name for name in names if name not in openers]:
        raise SourceError(
            f"sequence '{missing[0]}' is not in '{path}': expected one of {some(openers)} (see --split)"
        )
    sequences = []
    for name in dict.fromkeys(names or openers):
        try:
            _check_name(name, path)
            sequence = openers[name]()
            _check_name(sequence.name, path)
            sequences.append(sequence)
        except SourceError as error:
            if broken is None:
                raise
            broken[name] = str(error)
    return sequences


def _check_name(name: str, dataset: Path) -> None:
    """Raise SourceError if a result folder cannot have this name, which may come from a list or a JSON file."""
    if problem := text_problem(name):
        raise SourceError(
            f"sequence '{readable(name)}' of '{dataset}': its name {problem}; rename the folder or file"
        )
    if not is_safe_name(name) or name in ("summary.json", "report.html"):
        raise SourceError(f"sequence {name!r}: expected a valid folder name that does not begin with a dot")


def _openers(path: Path, split: str, lenient: bool) -> Openers:
    """With `lenient`, a folder with only frames/ or only masks/ counts as a broken sequence; else it is ignored."""
    if path.is_file():
        if path.suffix != ".json" or split:
            raise SourceError(f"'{path}' is a single file; {EXPECTED}")
        return {sav_name(path): partial(sav_sequence, path, path.parent)}
    if (path / "frames").is_dir() and (path / "masks").is_dir():
        return {path.absolute().name: partial(_own, path)}  # absolute: `.` has no name
    if (images := _images_folder(path)) is not None:
        return _davis_like(path, images, split)
    halves = [p for p in _folders(path) if (p / "frames").is_dir() or (p / "masks").is_dir()]
    own = [p for p in halves if (p / "frames").is_dir() and (p / "masks").is_dir()]
    if own:
        there = {p.name: p for p in (halves if lenient else own)}
        chosen, _ = _chosen(path, split, set(there))
        return {name: partial(_own, p) for name, p in there.items() if name in chosen}
    if files := annotation_files(path, split or "manual"):
        return {sav_name(file): partial(sav_sequence, file, path) for file in files}
    raise SourceError(f"'{path}' holds no sequence{_hint(path, split)}; {EXPECTED}")


def _own(folder: Path) -> VosSequence:
    """Open `frames/`, `masks/` (images, or a folder per object) and, if it exists, `meta.json` with the frame rate."""
    name = folder.absolute().name
    for part in ("frames", "masks"):
        if not (folder / part).is_dir():
            raise SourceError(f"sequence '{name}' has no {part}: '{folder / part}' expected")
    try:
        meta = read_json(folder / "meta.json")
        fps = float(meta.get("fps", VOS_FPS))
    except FileNotFoundError:
        fps = VOS_FPS
    except (OSError, ValueError, OverflowError, AttributeError, TypeError) as error:
        raise SourceError(f"'{folder / 'meta.json'}' cannot be read ({error}): expected JSON") from error
    if not 0 < fps < math.inf:
        raise SourceError(f"'{folder / 'meta.json'}' has fps {fps}, a number above 0 expected")
    return _sequence(name, folder / "frames", folder / "masks", fps)


def _davis_like(path: Path, images: Path, split: str) -> Openers:
    annotations = next((path / name for name in _ANNOTATIONS if (path / name).is_dir()), None)
    if annotations is None:
        raise SourceError(f"'{images}' has no Annotations beside it, '{path / 'Annotations'}' expected")
    images, annotations = _resolution(images, annotations)
    there = {p.name for p in _folders(images)}
    chosen, listed_in = _chosen(path, split, there)
    objects = _youtube_objects(path)
    # DAVIS 2016 has one object per sequence; since DAVIS 2017 the same folders hold several.
    merged = listed_in is not None and listed_in.parent.name in ("2016", "480p", "1080p")
    openers: Openers = {}
    for name in sorted(chosen, key=natural_key):
        frames, masks = images / name, annotations / name
        if masks.is_dir() or split:
            openers[name] = partial(_listed, name, frames, masks, split, objects.get(name), merged)
    if not openers:
        raise SourceError(f"no sequence of '{images}' has annotations in '{annotations}'")
    return openers


def _listed(
    name: str,
    frames: Path,
    masks: Path,
    split: str,
    objects: Mapping[str, Sequence[str]] | None,
    merged: bool,
) -> VosSequence:
    if not frames.is_dir():
        raise SourceError(
            f"'{name}' of split '{split}' is not in '{frames.parent}': is it unpacked completely?"
        )
    if not masks.is_dir():
        raise SourceError(f"sequence '{name}' has no annotations: '{masks}' expected")
    return _sequence(name, frames, masks, VOS_FPS, objects, merged)


def _sequence(
    name: str,
    frames: Path,
    masks: Path,
    fps: float,
    objects: Mapping[str, Sequence[str]] | None = None,
    merged: bool = False,
) -> VosSequence:
    """`objects`: the names of the frames by object, as in YouTube-VOS' meta.json."""
    files = image_files(frames)
    if not files:
        raise SourceError(f"sequence '{name}': '{frames}' holds no image")
    if (mixed := find_second_series(files)) is not None:
        raise SourceError(
            f"sequence '{name}': '{frames}' {mixed.what}: move the files that are not frames to another folder"
        )
    index_of = {file.stem: index for index, file in enumerate(files)}
    truth: Truth
    of_objects = [folder for folder in _folders(masks) if image_files(folder)]
    if of_objects:
        for folder in of_objects:
            if problem := text_problem(folder.name):
                raise SourceError(
                    f"sequence '{name}': the name of object '{readable(folder.name)}' {problem}; rename its folder"
                )
        truth = FolderTruth({folder.name: _by_frame(name, folder, index_of) for folder in of_objects})
    else:
        first = None if objects is None else _first_frames(objects, index_of)
        truth = PaletteTruth(_by_frame(name, masks, index_of), first, merged)
    return VosSequence(name, FileFrames(tuple(files)), truth, fps, overlapping=bool(of_objects))


def _first_frames(objects: Mapping[str, Sequence[str]], index_of: Mapping[str, int]) -> dict[str, int]:
    """Return the first frame listed for each object; objects without a frame are left out."""
    listed = {name: [index_of[stem] for stem in stems if stem in index_of] for name, stems in objects.items()}
    return {name: min(indices) for name, indices in listed.items() if indices}


def _by_frame(name: str, folder: Path, index_of: Mapping[str, int]) -> dict[int, Path]:
    files = image_files(folder)
    if not files:
        raise SourceError(
            f"sequence '{name}': '{folder}' holds no mask, PNG files named as the frames expected"
        )
    if stray := [file.name for file in files if file.stem not in index_of]:
        raise SourceError(
            f"sequence '{name}': mask '{stray[0]}' belongs to no frame, the name of one expected, such as "
            f"'{next(iter(index_of))}.png'"
        )
    return {index_of[file.stem]: file for file in files}


def _chosen(path: Path, split: str, there: set[str]) -> tuple[set[str], Path | None]:
    """Return the names in a split and the file that lists them; without a split, all names and None."""
    if not split:
        return there, None
    lists = [*path.glob("ImageSets/*.txt"), *path.glob("ImageSets/*/*.txt"), *path.glob("*.txt")]
    found = [file for file in lists if file.with_suffix("").as_posix().endswith(f"/{split}")]
    if len(found) != 1:
        shown = sorted(_split_name(path, file) for file in (found or lists))
        which = "is not there" if not found else "is there more than once"
        raise SourceError(
            f"split '{split}' of '{path}' {which}: expected one of {some(shown)}"
            if shown
            else f"split '{split}' of '{path}' is not there: it has no ImageSets; leave --split out"
        )
    names = set()
    for line in _lines(found[0]):
        if line.strip():
            # DAVIS 2016 lists pairs of files: `/JPEGImages/480p/dog/00000.jpg /Annotations/480p/dog/00000.png`.
            first = line.split()[0]
            names.add(Path(first).parent.name if "/" in first else first)
    return names, found[0]


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text("utf-8").split("\n")
    except (OSError, ValueError) as error:
        raise SourceError(
            f"split list '{file}' cannot be read ({error}): a name a line expected, in UTF-8"
        ) from error


def _split_name(path: Path, file: Path) -> str:
    return file.relative_to(path).with_suffix("").as_posix().removeprefix("ImageSets/")


def _youtube_objects(path: Path) -> dict[str, dict[str, list[str]]]:
    """Read YouTube-VOS' meta.json: sequence -> object -> names of frames; empty without that file."""
    file = path / "meta.json"
    if not file.is_file():
        return {}
    try:
        videos = read_json(file)["videos"]
        return {
            name: {str(key): [str(stem) for stem in one["frames"]] for key, one in video["objects"].items()}
            for name, video in videos.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SourceError(
            f"'{file}' is not a YouTube-VOS list ({error!r}): expected videos > NAME > objects > ID > frames"
        ) from error


def _images_folder(path: Path) -> Path | None:
    return next((path / name for name in _IMAGES if (path / name).is_dir()), None)


def _resolution(images: Path, annotations: Path) -> tuple[Path, Path]:
    """Choose a resolution: DAVIS stores its frames once for each."""
    there = [name for name in _RESOLUTIONS if (images / name).is_dir()]
    if not there:
        return images, annotations
    both = [name for name in there if (annotations / name).is_dir()]
    if not both:
        raise SourceError(f"'{images / there[0]}' has no annotations, '{annotations / there[0]}' expected")
    return images / both[0], annotations / both[0]


def _hint(path: Path, split: str) -> str:
    inside = [p.name for p in _folders(path) if _images_folder(p) is not None]
    if split:
        return f" in split '{split}'" + (f", its folders are {some(inside)}" if inside else "")
    if inside:
        return f" itself: choose one of {some(inside)} with --split, or name that folder"
    parent = next((p for p in path.parents if p.name in _IMAGES or p.name in ("frames", "masks")), None)
    if path.name in (*_IMAGES, *_ANNOTATIONS, "frames", "masks") or parent is not None:
        return f": did you mean '{(parent or path).parent}'?"
    return ""


def _folders(path: Path) -> list[Path]:
    found = (p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))
    return sorted(found, key=lambda p: natural_key(p.name))
