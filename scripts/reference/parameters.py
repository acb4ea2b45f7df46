# SPDX-License-Identifier: Apache-2.0
"""config/desktop.yaml and docs/reference/parameters.md, from the parameters that the node declares.

Knows nothing of what the parameters do.
"""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path

import yaml

from sam2_ros.node.parameters.params import PARAMETERS
from sam2_ros.node.parameters.spec import ParameterSpec, When

from .markdown import REFERENCE, ROOT, plain, table, with_generated

COMPLETE = ROOT / "config" / "desktop.yaml"
PAGE = REFERENCE / "parameters.md"
WIDTH = 118
HEAD = """\
# SPDX-License-Identifier: Apache-2.0
# A workstation or a server with a GPU, and every parameter of the node with its default: what another file leaves out.
# Written by scripts/reference_pages.py. `/**` is any node name and namespace; `ros2 param describe` says the same.
/**:
  ros__parameters:
    # YAML reads off, on, yes and no as booleans and 5 as a number: text that looks so stands in quotes ("5"). `compile`
    # and `detection_mode` take off without quotes, too; 3 is as good as 3.0; a name that the node does not have is
    # warned about. A new value takes effect at once, unless it says otherwise here.
"""
READ: dict[When, str] = {"now": "", "configure": "Read at configure.", "start": "Read once, at start."}
EFFECT: dict[When, str] = {"now": "*At once.*", "configure": "*At configure.*", "start": "*At start.*"}


def generated_files() -> dict[Path, str]:
    return {COMPLETE: complete_file(), PAGE: with_generated(PAGE.read_text("utf-8"), sections())}


def bounds(spec: ParameterSpec) -> str:
    """The range of a number in words."""
    if spec.range is None:
        return ""
    low, high = (f"{bound:,}" if isinstance(bound, int) else f"{bound:,g}" for bound in spec.range)
    return f"Range: {low} to {high}."


def as_yaml(spec: ParameterSpec) -> str:
    """The default as YAML; text in quotes where YAML would read it otherwise."""
    value = list(spec.default) if isinstance(spec.default, tuple) else spec.default
    if isinstance(value, str) and value and yaml.safe_load(value) == value:
        return value
    return json.dumps(value)


def complete_file() -> str:
    """Every parameter with its meaning, its bounds and its default."""
    lines = [HEAD.rstrip("\n")]
    for spec in PARAMETERS.values():
        if spec.heading:
            lines += ["", f"    # {spec.heading}", ""]
        comment = " ".join(filter(None, (spec.description, bounds(spec), READ[spec.when])))
        lines += [f"    # {line}" for line in textwrap.wrap(comment, WIDTH - 6)]
        lines.append(f"    {spec.name}: {as_yaml(spec)}")
    return "\n".join(lines) + "\n"


def sections() -> str:
    """One section with a table for each group of parameters."""
    groups: dict[str, list[ParameterSpec]] = {}
    for spec in PARAMETERS.values():
        if spec.heading:
            groups[spec.heading] = []
        groups[spec.heading or list(groups)[-1]].append(spec)
    return "\n\n".join(
        f"### {heading}\n\n{table(('parameter, default', 'meaning'), map(row, specs))}"
        for heading, specs in groups.items()
    )


def row(spec: ParameterSpec) -> tuple[str, str]:
    meaning = plain(spec.description)
    words = [word for word in spec.choices if not re.search(rf"\b{word}\b", spec.description)]
    choices = f"One of {', '.join(spec.choices)}." if words else ""
    said = " ".join(filter(None, (meaning, choices, bounds(spec), EFFECT[spec.when])))
    return f"`{spec.name}`<br>`{as_yaml(spec)}`", said
