# SPDX-License-Identifier: Apache-2.0
"""Writes config/desktop.yaml and the table of docs/reference/parameters.md from the parameters that the node declares.

    python scripts/parameter_docs.py

Knows nothing of what the parameters do; a test compares both files with what this would write.
"""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path

import yaml

from sam2_ros.node.parameters.params import PARAMETERS
from sam2_ros.node.parameters.spec import ParameterSpec, When

ROOT = Path(__file__).resolve().parent.parent
COMPLETE = ROOT / "config" / "desktop.yaml"
PAGE = ROOT / "docs" / "reference" / "parameters.md"
WIDTH = 118
HEAD = """\
# SPDX-License-Identifier: Apache-2.0
# A workstation or a server with a GPU, and every parameter of the node with its default: what another file leaves out.
# Written by scripts/parameter_docs.py. `/**` is any node name and namespace; `ros2 param describe` says the same.
/**:
  ros__parameters:
    # YAML reads off, on, yes and no as booleans and 5 as a number: text that looks so stands in quotes ("5"). `compile`
    # and `detection_mode` take off without quotes, too; 3 is as good as 3.0; a name that the node does not have is
    # warned about. A new value takes effect at once, unless it says otherwise here.
"""
READ: dict[When, str] = {"now": "", "configure": "Read at configure.", "start": "Read once, at start."}
TAKES_EFFECT: dict[When, str] = {"now": "at once", "configure": "at configure", "start": "at start"}


def allowed(spec: ParameterSpec) -> str:
    """The values of a parameter in words, where they are bounded."""
    if spec.choices:
        return ", ".join(spec.choices)
    if spec.range is None:
        return ""
    low, high = (f"{bound:,}" if isinstance(bound, int) else f"{bound:,g}" for bound in spec.range)
    return f"{low} to {high}"


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
        bounds = f"Range: {allowed(spec)}." if spec.range is not None else ""
        comment = " ".join(filter(None, (spec.description, bounds, READ[spec.when])))
        lines += [f"    # {line}" for line in textwrap.wrap(comment, WIDTH - 6)]
        lines.append(f"    {spec.name}: {as_yaml(spec)}")
    return "\n".join(lines) + "\n"


def table() -> str:
    """One row for each parameter."""
    rows = ["| parameter | default | values | a new value takes effect | meaning |", "|---|---|---|---|---|"]
    for spec in PARAMETERS.values():
        name, default = f"`{spec.name}`", f"`{as_yaml(spec)}`"
        meaning = re.sub(r"(~/[\w<>/]+)", r"`\1`", spec.description)
        rows.append(f"| {name} | {default} | {allowed(spec)} | {TAKES_EFFECT[spec.when]} | {meaning} |")
    return "\n".join(rows)


def with_table(page: str) -> str:
    """The page with its table as the node declares the parameters now."""
    return re.sub(r"\| parameter \|.*?\n(?=\n|\Z)", lambda _: table() + "\n", page, count=1, flags=re.DOTALL)


if __name__ == "__main__":
    COMPLETE.write_text(complete_file(), "utf-8")
    PAGE.write_text(with_table(PAGE.read_text("utf-8")), "utf-8")
