# SPDX-License-Identifier: Apache-2.0
"""Renders a report from its template into one HTML file without external resources.

Knows Jinja and pictures as bytes; does not know what is reported.
"""

from __future__ import annotations

import base64
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup

from sam2_ros.atomic_write import atomic_write
from sam2_ros.text import counted, readable

from .plots import HIDDEN_COLOUR, STATE_COLOURS


@dataclass(frozen=True)
class Picture:
    """A picture embedded in the page. `alt`: alternative text; `caption`: text below it, empty for none."""

    content: bytes
    media_type: str
    alt: str
    caption: str = ""

    @property
    def data_uri(self) -> str:
        return f"data:{self.media_type};base64,{base64.b64encode(self.content).decode('ascii')}"


class Headline(NamedTuple):
    """An important number with its unit and meaning."""

    value: str
    unit: str
    what: str


def svg(content: bytes, alt: str) -> Picture:
    """A plot as a picture."""
    return Picture(content, "image/svg+xml", alt)


def write_page(path: Path, template: str, **values: Any) -> None:
    """Renders one of `templates/` and writes the page atomically. Raises OSError."""
    text = _environment().get_template(template).render(values)
    with atomic_write(path) as partial:
        partial.write_text(text, encoding="utf-8")


def decimals(value: float | None, digits: int = 1) -> str:
    """A number with `digits` decimals; empty for None."""
    return "" if value is None else f"{round(value, digits) + 0.0:.{digits}f}"  # no -0.0


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__),
        autoescape=True,
        finalize=_in_one_line,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"counted": counted, "decimals": decimals}
    states = {state.lower(): colour for state, colour in STATE_COLOURS.items()}
    environment.globals["state_colours"] = states | {"hidden in the ground truth": HIDDEN_COLOUR}
    return environment


def _in_one_line(value: object) -> object:
    """Shows unprintable and unencodable characters of names as escapes. HTML escaping follows."""
    return value if isinstance(value, Markup) else readable(str(value))
