# SPDX-License-Identifier: Apache-2.0
"""Finds files in an image folder that are not its frames: masks, depth, a second camera, thumbnails, a stray image.

Reads names and the headers of image files; decodes no pixels, and changes nothing.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import pairwise
from pathlib import Path

from PIL import Image

# At most so many headers are read, half from each end of a folder: 0.1 ms each.
_HEADERS = 2000
_STRAY = 0.05  # up to this share of a folder counts as a few stray files
_MAX_PERIOD = 4
_MAX_KINDS = 20  # at most so many kinds of names are compared; random names are all of different kinds

Kind = tuple[str, str]
"""Kind of a file name: its words with # for each number, and its suffix."""


@dataclass(frozen=True)
class MixedFolder:
    """A folder with images of several kinds.

    Attributes:
        certain: True if some images are certainly not frames.
        what: what the folder holds, as the predicate of a sentence.
        remedy: how to choose the frames.
    """

    certain: bool
    what: str
    remedy: str = ""

    @property
    def line(self) -> str:
        return f"{self.what}; {self.remedy}" if self.remedy else self.what


def find_mixed(files: Sequence[Path]) -> MixedFolder | None:
    """Check the files of a folder, in their order; None if all are of one kind.

    Certain: two files with one stem, two series of names that differ in a word around the same numbers (`0001_rgb`,
    `0001_depth`), sizes or colours that alternate. A few files of another kind are reported, but not certain.
    """
    return _same_stem(files) or _same_numbers(files) or _other_content(files)


def find_second_series(files: Sequence[Path]) -> MixedFolder | None:
    """Like `find_mixed`, by names alone, which is fast for thousands of folders; None unless it is certain."""
    mixed = _same_stem(files) or _same_numbers(files)
    return mixed if mixed is not None and mixed.certain else None


def _same_stem(files: Sequence[Path]) -> MixedFolder | None:
    by_stem = _grouped(files, lambda file: (file.stem, ""))
    twice = [group for group in by_stem.values() if len(group) > 1]
    if not twice:
        return None
    first = " and ".join(file.name for file in twice[0][:3])
    return MixedFolder(
        True,
        f"has several files for {len(twice)} of its {len(by_stem)} names, such as {first}: only one of them is a frame",
        _remedy(files, _grouped(files, _suffix_kind)),
    )


def _same_numbers(files: Sequence[Path]) -> MixedFolder | None:
    kinds = _grouped(files, _kind)
    numbered = {kind: group for kind, group in kinds.items() if "#" in kind[0]}
    ordered = sorted(numbered.items(), key=lambda item: -len(item[1]))[:_MAX_KINDS]
    numbers = {kind: {_numbers(file) for file in group} for kind, group in ordered}
    for index, (kind, group) in enumerate(ordered):
        for other, others in ordered[:index]:
            shared = numbers[kind] & numbers[other]
            if len(shared) * 2 < len(numbers[kind]):
                continue
            example = f"{others[0].name} and {_partner(others[0], group).name}"
            certain = len(shared) > 1 or len(files) == 2
            return MixedFolder(
                certain,
                f"has {len(others)} files named like {others[0].name} and {len(group)} like {group[0].name}, with the "
                f"same numbers ({example}): two series, or frames and their masks or depth",
                _remedy(files, kinds),
            )
    return _two_cameras(files, kinds)


def _two_cameras(files: Sequence[Path], kinds: Mapping[Kind, Sequence[Path]]) -> MixedFolder | None:
    """Find cam0_0001 and cam1_0001: the first number has few values, each with the same second numbers."""
    if len(kinds) != 1:
        return None
    numbers = [_numbers(file) for file in files]
    if len(numbers[0]) != 2:
        return None
    behind: dict[int, set[int]] = {}
    for first, last in numbers:
        behind.setdefault(first, set()).add(last)
    sets = list(behind.values())
    if not (2 <= len(sets) <= 8) or len(sets[0]) < 3 or any(found != sets[0] for found in sets):
        return None
    shown = _name_with(files[0], str(next(iter(behind))))
    return MixedFolder(
        False,
        f"has {len(sets)} series of the same {len(sets[0])} numbers, one after another ({files[0].name} to "
        f"{files[-1].name}): if they are several cameras, choose one with --glob, such as --glob '{shown}'",
    )


def _other_content(files: Sequence[Path]) -> MixedFolder | None:
    looked_at = files if len(files) <= _HEADERS else [*files[: _HEADERS // 2], *files[-_HEADERS // 2 :]]
    found = [(file, content) for file in looked_at if (content := _content(file)) is not None]
    counts = Counter(content for _, content in found)
    if len(counts) < 2:
        return None
    contents = [content for _, content in found]
    usual, rare = counts.most_common()[0][0], counts.most_common()[-1][0]
    stray = next(file for file, content in found if content == rare)
    if counts[rare] > 1 and (_alternates(contents) or _split_by_name(found)):
        example = next(file for file, content in found if content == usual)
        return MixedFolder(
            True,
            f"holds two kinds of images, {_words(usual)} ({example.name}) and {_words(rare)} ({stray.name}): only one "
            "of them can be the frames",
            _remedy(files, _grouped(files, _kind)),
        )
    others = len(found) - counts[usual]
    few = others <= max(1, _STRAY * len(found))
    return MixedFolder(
        False,
        f"holds {counts[usual]} images that are {_words(usual)} and {others} "
        + (
            f"other, {stray.name} is {_words(rare)}"
            if few
            else f"others, such as {stray.name}, {_words(rare)}"
        )
        + ": all of them are used as frames; if they are not frames, choose with --glob",
    )


def _alternates(contents: Sequence[tuple[object, ...]]) -> bool:
    """True if kinds repeat with a period of 2 to 4 files, nearly always, and change in every period."""
    for period in range(2, _MAX_PERIOD + 1):
        pairs = list(zip(contents, contents[period:], strict=False))
        if not pairs:
            # Too few files to repeat: two files of two kinds for each of one or two frames.
            return False
        again = sum(one == other for one, other in pairs)
        steady = sum(one == other for one, other in pairwise(contents))
        if again >= 0.9 * len(pairs) and steady <= (1 - 1 / period) * (len(contents) - 1):
            return True
    return False


def _split_by_name(found: Sequence[tuple[Path, tuple[object, ...]]]) -> bool:
    """True if names separate the kinds (rgb_1.png, depth_2.png): each has one colour mode and a fifth of the files."""
    modes: dict[Kind, set[object]] = {}
    for file, content in found:
        modes.setdefault(_kind(file), set()).add(content[2])
    share = Counter(_kind(file) for file, _ in found)
    different = len({next(iter(of_kind)) for of_kind in modes.values()}) == len(modes) > 1
    return different and all(len(m) == 1 and share[k] >= 0.2 * len(found) for k, m in modes.items())


def _content(file: Path) -> tuple[object, ...] | None:
    """Return long side, short side and colour mode; None if Pillow cannot read the file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about large images, which are not decoded here
            image = Image.open(file)
        with image:
            return (max(image.size), min(image.size), image.mode)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def _words(content: tuple[object, ...]) -> str:
    long_px, short_px, mode = content
    meaning = {
        "1": "black and white",
        "L": "grey",
        "P": "of a palette",
        "RGB": "colour",
        "RGBA": "colour with alpha",
        "LA": "grey with alpha",
        "F": "of floats",
        "CMYK": "CMYK",
    }
    text = meaning.get(str(mode)) or ("16-bit grey" if str(mode).startswith("I") else str(mode))
    return f"{long_px} x {short_px} px, {text}"


def _remedy(files: Sequence[Path], kinds: Mapping[Kind, Sequence[Path]]) -> str:
    """Name the option with a pattern that chooses one kind: the one in colour, else the largest."""
    ordered = sorted(kinds.values(), key=lambda group: (not _in_colour(group[0]), -len(group)))
    for group in ordered:
        pattern = _pattern(files, group)
        if pattern:
            return f"choose with --glob, such as --glob '{pattern}' (--glob '*': all of them)"
    return "choose with --glob (--glob '*': all of them)"


def _pattern(files: Sequence[Path], group: Sequence[Path]) -> str | None:
    words, suffix = _kind(group[0])
    starred = re.sub(r"#(?:[^\w]?#)*", "*", words.replace("[", "[[]"))
    for pattern in (f"*{suffix}", starred + suffix, re.sub(r"\*$", "*[0-9]", starred) + suffix):
        if {file.name for file in files if fnmatchcase(file.name, pattern)} == {file.name for file in group}:
            return pattern
    return None


def _in_colour(file: Path) -> bool:
    content = _content(file)
    return content is not None and content[2] in ("RGB", "CMYK", "YCbCr")


def _kind(file: Path) -> Kind:
    # The sign belongs to the number: -1.png and 1.png are of one series, as in `names`.
    return re.sub(r"-?\d+", "#", file.stem), file.suffix


def _suffix_kind(file: Path) -> Kind:
    return "", file.suffix


def _numbers(file: Path) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"-?\d+", file.stem))


def _partner(file: Path, group: Iterable[Path]) -> Path:
    return next((other for other in group if _numbers(other) == _numbers(file)), next(iter(group)))


def _name_with(file: Path, first: str) -> str:
    """Return a pattern for all files with the first number of this one."""
    match = re.match(r"(\D*)(\d+)(\D*)\d+(.*)", file.stem)
    return f"{match[1]}{match[2]}{match[3]}*{file.suffix}" if match else f"*{first}*"


def _grouped(files: Iterable[Path], key: Callable[[Path], Kind]) -> dict[Kind, list[Path]]:
    groups: dict[Kind, list[Path]] = {}
    for file in files:
        groups.setdefault(key(file), []).append(file)
    return groups
