# SPDX-License-Identifier: Apache-2.0
"""The commands of the socket that act on an opened clip: each a function, its fields checked by its annotations.

Reads the JSON of a command. Does not know sockets or threads.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from sam2_ros.errors import UserError
from sam2_ros.text import readable
from sam2_ros.ui.effects.settings import EffectSettings
from sam2_ros.ui.session import Session
from sam2_ros.ui.session.book import merged

from .messages import FRAME, PREVIEW, THUMBNAIL, jpeg_message, lanes_message, masks_message

MOST_THUMBNAILS = 256  # of one command
_WORTH_WAITING = 32  # frames before a frame is decoded
_MOST_SEQ = 1 << 53  # what JavaScript counts exactly


@dataclass(frozen=True)
class Command:
    """A command as it came: the number by which it is answered, its name and its fields."""

    seq: int
    do: str
    fields: dict[str, Any]


@dataclass(frozen=True)
class Reply:
    """An answer: the binary messages that go before it, and the result as JSON, or an error of one line."""

    result: dict[str, Any]
    binaries: tuple[bytes, ...] = ()
    error: str = ""


class MalformedError(UserError):
    """A message that is no command. `seq` is None where it cannot be read."""

    def __init__(self, message: str, seq: int | None = None) -> None:
        super().__init__(message)
        self.seq = seq


def parse(text: str) -> Command:
    """Read a command: `{"seq": 7, "do": "click", ...}`.

    Raises:
        MalformedError: it is none.
    """
    try:
        given = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise MalformedError(
            f"a message that is not JSON ({readable(reason[:80])}): a command expected"
        ) from None
    if not isinstance(given, dict):
        raise MalformedError(
            f"a {type(given).__name__} given, a command such as {{'seq': 1, 'do': 'state'}} expected"
        )
    seq, do = given.pop("seq", None), given.pop("do", None)
    if type(seq) is not int or not 0 <= seq < _MOST_SEQ:
        raise MalformedError("a command without a number `seq` from 0 on")
    if not isinstance(do, str):
        raise MalformedError("a command without its name `do`", seq)
    return Command(seq, do, given)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")


def gallery() -> None:
    """The sources of the project."""


def open(source: int) -> None:
    """Open a source, which later commands act on; answers with its state."""


def export(kind: str, with_source: bool = False) -> None:
    """Start an export: mp4, masks, prompts or bag; `with_source`: a bag that holds the messages of the source too."""


def cancel_export(job: int) -> None:
    """End an export; nothing of it is left."""


def state(session: Session) -> Reply:
    return Reply(session.state())


def frame(session: Session, index: int) -> Reply:
    _check_decoded(session, index, _WORTH_WAITING)
    jpeg = jpeg_message(FRAME, session.number, index, session.frame_jpeg(index))
    return Reply({}, (jpeg, _masks(session, index)))


def masks(session: Session, index: int) -> Reply:
    return Reply({}, (_masks(session, index),))


def strip(session: Session, indices: list[Any], height: float) -> Reply:
    """Thumbnails; those before the first that cannot be had come with its error."""
    if len(indices) > MOST_THUMBNAILS:
        raise UserError(f"{len(indices)} thumbnails asked for, at most {MOST_THUMBNAILS} expected")
    found: list[bytes] = []
    for index in indices:
        try:
            _check_decoded(session, index, 0)
            jpeg = session.thumbnail(index, int(height))
        except UserError as error:
            return Reply({}, tuple(found), str(error))
        found.append(jpeg_message(THUMBNAIL, session.number, index, jpeg))
    return Reply({}, tuple(found))


def preview(session: Session, frame: int, x: float, y: float, sign: int) -> Reply:
    found = session.preview(frame, x, y, sign)
    return Reply({}, (masks_message(session.number, frame, [found], PREVIEW),) if found is not None else ())


def lanes(session: Session) -> Reply:
    return Reply({}, (lanes_message(session.number, session.lanes()),))


def doubt(session: Session) -> Reply:
    return Reply(session.doubt())


def add_object(session: Session, name: str = "", class_: str = "") -> Reply:
    return Reply(session.add_object(name, class_))


def rename(session: Session, object: int, name: str) -> Reply:
    return Reply(session.rename(object, name))


def set_class(session: Session, object: int, class_: str) -> Reply:
    return Reply(session.set_class(object, class_))


def lock(session: Session, object: int, locked: bool) -> Reply:
    return Reply(session.set_locked(object, locked))


def delete_object(session: Session, object: int) -> Reply:
    return Reply(session.delete_object(object))


def click(session: Session, frame: int, object: int, x: float, y: float, sign: int) -> Reply:
    return _prompted(session, frame, session.click(frame, object, x, y, sign))


def unclick(session: Session, frame: int, object: int, number: int) -> Reply:
    return _prompted(session, frame, session.unclick(frame, object, number))


def box(session: Session, frame: int, object: int, x0: float, y0: float, x1: float, y1: float) -> Reply:
    return _prompted(session, frame, session.box(frame, object, x0, y0, x1, y1))


def stroke(session: Session, frame: int, object: int, points: list[Any], radius: float, erase: bool) -> Reply:
    return _prompted(session, frame, session.stroke(frame, object, points, radius, erase))


def clear(session: Session, frame: int, object: int) -> Reply:
    return _prompted(session, frame, session.clear(frame, object))


def track(session: Session, frame: int, direction: str, objects: list[Any] | None = None) -> Reply:
    return Reply(session.track(frame, direction, objects))


def cancel(session: Session) -> Reply:
    return Reply(session.cancel())


def undo(session: Session) -> Reply:
    return Reply(session.undo())


def redo(session: Session) -> Reply:
    return Reply(session.redo())


def settings(session: Session, settings: dict[str, Any]) -> Reply:
    """Merge settings; those that the effects do not know are refused."""
    EffectSettings.from_settings(merged(session.state()["settings"], settings))
    return Reply(session.set_settings(settings))


OF_SERVER = {one.__name__: one for one in (gallery, open, export, cancel_export)}
"""Commands that the server carries out: only their fields are here."""
OF_CLIP = {
    one.__name__: one
    for one in (
        state, frame, masks, strip, preview, lanes, doubt, add_object, rename, set_class, lock, delete_object, click,
        unclick, box, stroke, clear, track, cancel, undo, redo, settings,
    )
}  # fmt: skip
"""Commands that act on the clip that the client has opened."""
BESIDE = frozenset({"frame", "masks", "strip", "preview", "lanes", "doubt"})
"""Commands that may overtake others: they change nothing."""

_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "int": ((int,), "a whole number"),
    "float": ((int, float), "a number"),
    "str": ((str,), "text"),
    "bool": ((bool,), "true or false"),
    "list[Any]": ((list,), "a list"),
    "list[Any] | None": ((list, type(None)), "a list"),
    "dict[str, Any]": ((dict,), "an object"),
}


def checked_fields(command: Command, function: Callable[..., Any]) -> dict[str, Any]:
    """The fields of a command as keyword arguments of its function.

    Raises:
        UserError: a field is missing, unknown, or of another type.
    """
    known = {
        name.rstrip("_"): parameter
        for name, parameter in inspect.signature(function).parameters.items()
        if name != "session"
    }
    if unknown := sorted(set(command.fields) - set(known)):
        raise UserError(
            f"{command.do} has a field {readable(unknown[0][:80])}, any of {', '.join(known) or 'none'} expected"
        )
    found: dict[str, Any] = {}
    for name, parameter in known.items():
        if name not in command.fields:
            if parameter.default is parameter.empty:
                raise UserError(f"{command.do} without {name}, {_KINDS[parameter.annotation][1]} expected")
            continue
        found[parameter.name] = _checked(name, command.fields[name], parameter.annotation)
    return found


def _checked(name: str, value: Any, annotation: str) -> Any:
    types, what = _KINDS[annotation]
    fits = isinstance(value, types) and (bool in types or not isinstance(value, bool))
    if not fits or (isinstance(value, int | float) and not -_MOST_SEQ < value < _MOST_SEQ):
        raise UserError(f"{name} {readable(repr(value)[:80])} given, {what} expected")
    return value


def _check_decoded(session: Session, index: Any, ahead: int) -> None:
    """Refuse a frame that comes late: waiting for it would hold up others. The page asks again as decoding goes on."""
    if type(index) is int and index >= session.decoded + ahead:
        state = session.state()["source"]
        if index < state["frames"]:
            raise UserError(f"frame {index} is not read yet ({state['decoded']} of {state['frames']} are)")


def _masks(session: Session, index: int) -> bytes:
    return masks_message(session.number, index, session.masks(index))


def _prompted(session: Session, frame: int, result: dict[str, Any]) -> Reply:
    return Reply(result, (_masks(session, frame),))
