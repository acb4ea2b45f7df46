# SPDX-License-Identifier: Apache-2.0
"""Reads prompts from command-line options and JSON files, and groups them by frame.

Does not know the size of the frames: the engine checks whether a box lies in the image.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sam2_ros.engine import Prompt
from sam2_ros.errors import UserError
from sam2_ros.media.json_yaml import read_json
from sam2_ros.media.mask_file import read_mask
from sam2_ros.media.messages.cdr_header import is_valid_stamp
from sam2_ros.text import readable, text_problem

_SPEC = re.compile(r"(?P<id>.+?)@(?P<frame>[0-9]+):(?P<value>.+)", re.DOTALL)
_SPEC_OF_IMAGE = re.compile(r"(?P<id>[^@:]+):(?P<value>.+)", re.DOTALL)
_FORMS = {
    "--box": "ID@FRAME:x0,y0,x1,y1, such as cup@0:100,80,260,300",
    "--point": "ID@FRAME:x,y,+ (on the object) or ID@FRAME:x,y,- (not on it), such as cup@0:180,150,+",
    "--mask": "ID@FRAME:file.png, such as cup@0:cup.png, or cup@0:masks.png#2 for the value 2 alone",
}
_JSON_FORM = (
    '[{"id": "cup", "frame": 0, "box": [100, 80, 260, 300], "points": [[180, 150, 1], [20, 20, 0]], '
    '"mask": "cup.png"}], with at least one of box, points and mask; of a bag also stamp_ns instead of frame'
)
_MOST_BYTES = 1 << 26
_LAST_FRAME = 1 << 53
_JSON_KEYS = {"id", "frame", "stamp_ns", "box", "points", "mask", "class_id", "replace", "truth"}


@dataclass(frozen=True)
class _Stamp:
    """Stands for the frame of a bag whose header has this stamp."""

    ns: int

    def __str__(self) -> str:
        return f"of stamp_ns {self.ns}"


@dataclass
class _Draft:
    points: list[tuple[float, float]] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    box: tuple[float, float, float, float] | None = None
    mask: np.ndarray | None = None
    class_id: str = ""
    replace: bool = False


class PromptBook:
    """Collects prompts by frame and object: everything given for one object on one frame becomes one Prompt.

    For a single image `PromptBook(of_image=True)` reads `ID:x0,y0,x1,y1`, without `@FRAME`, as frame 0.
    """

    def __init__(self, of_image: bool = False) -> None:
        self._of_image = of_image
        self._drafts: dict[int | _Stamp, dict[str, _Draft]] = {}
        self.truth_values: dict[str, int] = {}
        """Object -> its value in the label images of the truth, where a JSON file gives one (`"truth": 3`)."""
        self.files: list[Path] = []
        """The JSON files and masks that were read. Results must not replace them."""
        self.notes: list[str] = []
        """Assumptions made in reading masks, one line each, to be shown to the user."""

    def add_specs(
        self, box: Sequence[str] | None, point: Sequence[str] | None, mask: Sequence[str] | None = None
    ) -> None:
        """Adds the values of the options --box, --point and --mask."""
        for add, specs in ((self.add_box, box), (self.add_point, point), (self.add_mask, mask)):
            for spec in specs or ():
                add(spec)

    def add_box(self, spec: str) -> None:
        """Adds `ID@FRAME:x0,y0,x1,y1`, pixels."""
        object_id, frame, value = self._split("--box", spec)
        self._set_box(object_id, frame, self._numbers("--box", spec, value.split(","), 4))

    def add_point(self, spec: str) -> None:
        """Adds `ID@FRAME:x,y,+` (on the object) or `ID@FRAME:x,y,-` (not on it), pixels."""
        object_id, frame, value = self._split("--point", spec)
        *numbers, sign = value.split(",")
        if sign.strip() not in ("+", "-"):
            raise self._spec_error("--point", spec)
        x, y = self._numbers("--point", spec, numbers, 2)
        self._add_point(object_id, frame, x, y, 1 if sign.strip() == "+" else 0)

    def add_mask(self, spec: str) -> None:
        """Adds `ID@FRAME:file.png`, or `file.png#VALUE` if the file holds several objects; see `media.mask_file`."""
        object_id, frame, value = self._split("--mask", spec)
        self._set_mask(object_id, frame, Path(), value)

    def add_file(self, path: Path) -> None:
        """Adds a JSON list of prompts. Paths of mask files are relative to its folder."""
        try:
            entries = read_json(path, _MOST_BYTES)
        except (OSError, ValueError) as error:
            raise UserError(f"{path} is not a readable JSON file ({error}): expected {_JSON_FORM}") from error
        self.files.append(path)
        if not isinstance(entries, list) or not entries:
            raise UserError(f"{path} does not hold a list of prompts: expected {_JSON_FORM}")
        for number, entry in enumerate(entries):
            try:
                self._add_entry(entry, path.parent)
            except UserError as error:
                raise UserError(f"{path}: prompt number {number}: {error}") from None
            except (TypeError, KeyError, IndexError, ValueError, OverflowError) as error:
                raise UserError(
                    f"{path}: prompt number {number} cannot be read ({type(error).__name__}: {error}): "
                    f"expected {_JSON_FORM}"
                ) from error

    @property
    def has_stamps(self) -> bool:
        """True if an image is named by its stamp, as in prompts that were recorded live."""
        return any(isinstance(place, _Stamp) for place in self._drafts)

    def prompts(self, index_by_stamp: Mapping[int, int] | None = None) -> dict[int, list[Prompt]]:
        """Frame index -> its prompts, objects in the order they were first named.

        Args:
            index_by_stamp: stamps of a bag's images, nanoseconds -> frame index. None: the source has no stamps.

        Raises:
            UserError: a stamp that no image has, or an object prompted twice on one image, by frame and by stamp.
        """
        found: dict[int, dict[str, _Draft]] = {}
        for place, drafts in self._drafts.items():
            of_frame = found.setdefault(_frame_of(place, index_by_stamp), {})
            if both := sorted(set(of_frame) & set(drafts)):
                raise UserError(
                    f"'{both[0]}' is prompted on one image by frame and by stamp_ns: use one of them"
                )
            of_frame |= drafts
        return {
            frame: [
                Prompt(
                    id=object_id,
                    points=np.array(draft.points, dtype=np.float64) if draft.points else None,
                    labels=np.array(draft.labels, dtype=np.int64) if draft.points else None,
                    box=draft.box,
                    mask=draft.mask,
                    class_id=draft.class_id,
                    replace=draft.replace,
                )
                for object_id, draft in drafts.items()
            ]
            for frame, drafts in sorted(found.items())
        }

    def _add_entry(self, entry: Any, folder: Path) -> None:
        if not isinstance(entry, dict):
            raise TypeError(f"{_shown(entry)} is not an object with keys")
        if unknown := set(entry) - _JSON_KEYS:
            raise ValueError(f"unknown key {sorted(unknown)}, known are {sorted(_JSON_KEYS)}")
        object_id, frame = _name("id", entry["id"]), _place(entry)
        if not object_id:
            raise ValueError("an empty id, a name expected")
        if entry.get("truth") is not None:
            self._set_truth(object_id, entry["truth"])
        draft = self._draft(object_id, frame)
        if entry.get("class_id") is not None:
            class_id = _name("class_id", entry["class_id"])
            if draft.class_id not in ("", class_id):
                raise ValueError(f"two classes of '{object_id}' on frame {frame}, one expected")
            draft.class_id = class_id
        if type(entry.get("replace", False)) is not bool:
            raise ValueError(f"replace {_shown(entry['replace'])}, true or false expected")
        draft.replace = entry.get("replace", draft.replace)
        if entry.get("box") is not None:
            x0, y0, x1, y1 = (_number(value) for value in entry["box"])
            self._set_box(object_id, frame, [x0, y0, x1, y1])
        for x, y, label in entry.get("points") or []:
            if label not in (0, 1):
                raise ValueError(
                    f"label {_shown(label)} of a point, 1 (object) or 0 (not the object) expected"
                )
            self._add_point(object_id, frame, _number(x), _number(y), int(label))
        if entry.get("mask") is not None:
            self._set_mask(object_id, frame, folder, _name("mask", entry["mask"]))

    def _set_truth(self, object_id: str, value: Any) -> None:
        if (
            type(value) is not int
            or not 0 < value < 1 << 31
            or self.truth_values.setdefault(object_id, value) != value
        ):
            raise ValueError(
                f"truth {_shown(value)} of '{object_id}', one whole number of 1 or more expected"
            )

    def _draft(self, object_id: str, frame: int | _Stamp) -> _Draft:
        return self._drafts.setdefault(frame, {}).setdefault(object_id, _Draft())

    def _add_point(self, object_id: str, frame: int | _Stamp, x: float, y: float, label: int) -> None:
        draft = self._draft(object_id, frame)
        draft.points.append((x, y))
        draft.labels.append(label)

    def _set_box(self, object_id: str, frame: int | _Stamp, numbers: Sequence[float]) -> None:
        draft = self._draft(object_id, frame)
        if draft.box is not None:
            raise UserError(f"two boxes for '{object_id}' on frame {frame}, one expected: leave one out")
        x0, y0, x1, y1 = numbers
        draft.box = (x0, y0, x1, y1)

    def _set_mask(self, object_id: str, frame: int | _Stamp, folder: Path, name: str) -> None:
        draft = self._draft(object_id, frame)
        if draft.mask is not None:
            raise UserError(f"two masks for '{object_id}' on frame {frame}, one expected: leave one out")
        path, value = folder / name, ""
        if not path.exists() and "#" in name:
            name, _, value = name.rpartition("#")
            path = folder / name
        self.files.append(path)
        try:
            read = read_mask(path, value)
        except UserError as error:
            raise UserError(f"mask of '{readable(object_id)}': {error}") from None
        draft.mask = read.mask_hw
        self.notes += [f"mask of '{object_id}': {note}" for note in read.notes]

    def _split(self, option: str, spec: str) -> tuple[str, int, str]:
        match = (_SPEC_OF_IMAGE if self._of_image else _SPEC).fullmatch(spec)
        if match is None:
            raise self._spec_error(option, spec)
        if problem := text_problem(match["id"]):
            raise UserError(f"{option} '{readable(spec)}': its id {problem}; expected text in UTF-8")
        frame = "0" if self._of_image else match["frame"]
        if len(frame) > len(str(_LAST_FRAME)):  # int() raises for thousands of digits
            raise self._spec_error(option, spec)
        return match["id"], int(frame), match["value"]

    def _numbers(self, option: str, spec: str, parts: Sequence[str], count: int) -> list[float]:
        try:
            numbers = [float(part) for part in parts]
        except ValueError as error:
            raise self._spec_error(option, spec) from error
        if len(numbers) != count:
            raise self._spec_error(option, spec)
        return numbers

    def _spec_error(self, option: str, spec: str) -> UserError:
        form = _FORMS[option]
        if self._of_image:
            form = form.replace("@FRAME", "").replace("@0", "")
        return UserError(f"{option} {_shown(spec)} cannot be read: expected {form}")


def _place(entry: dict[str, Any]) -> int | _Stamp:
    """The image of a prompt: its frame, 0 if none is given, or its stamp. Raises ValueError."""
    frame, stamp_ns = entry.get("frame", 0), entry.get("stamp_ns")
    if stamp_ns is not None:
        if "frame" in entry or type(stamp_ns) is not int or not is_valid_stamp(stamp_ns):
            raise ValueError(
                f"stamp_ns {_shown(stamp_ns)}, the nanoseconds of an image's stamp expected, without a frame beside it"
            )
        return _Stamp(stamp_ns)
    if type(frame) is not int or not 0 <= frame < _LAST_FRAME:
        raise ValueError(f"frame {_shown(frame)}, a whole number of 0 or more expected")
    return frame


def _frame_of(place: int | _Stamp, index_by_stamp: Mapping[int, int] | None) -> int:
    if not isinstance(place, _Stamp):
        return place
    if index_by_stamp is None:
        raise UserError("the prompts name images by stamp_ns, which only a rosbag2 has: give frame instead")
    if place.ns not in index_by_stamp:
        raise UserError(
            f"a prompt was made on the image of stamp_ns {place.ns}, which the bag does not hold: record the camera's "
            "topic while prompts are recorded"
        )
    return index_by_stamp[place.ns]


def _name(what: str, given: Any) -> str:
    """The given text; an integer becomes its digits, because JSON writers often leave out the quotes."""
    if type(given) is int:
        return str(given)
    if problem := text_problem(given):
        raise ValueError(f"{what} {_shown(given)} {problem}, text in UTF-8 expected")
    return str(given)


def _number(given: Any) -> float:
    """The given number as a float. Raises ValueError for a boolean, for text and for integers from 2**53 on."""
    if type(given) not in (int, float) or (type(given) is int and abs(given) >= _LAST_FRAME):
        raise ValueError(f"{_shown(given)} given, a number of pixels expected")
    return float(given)


def stamps_of(bag: Path, topic: str | None, prompts: Path) -> dict[int, int]:
    """Stamp of each image of a bag's topic, nanoseconds -> frame index. Raises SourceError."""
    from sam2_ros.media.bag.timeline import read_timeline

    return read_timeline(bag, topic).index_by_header(str(prompts))


def _shown(given: Any) -> str:
    """The value as Python writes it, in one line of at most 80 characters."""
    if type(given) is int and abs(given) >= _LAST_FRAME:
        return "a number of more than 15 digits"
    text = f"'{given}'" if isinstance(given, str) else repr(given)
    text = readable(text[:200])
    return text if len(text) <= 80 else f"{text[:77]}..."
