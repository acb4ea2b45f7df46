# SPDX-License-Identifier: Apache-2.0
"""Generates docs/reference/command-line.md from the commands and options of `sam2-ros`.

Reads the commands' signatures, so that every version of typer gives the same page. Knows nothing of what they do.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
from typer.models import ArgumentInfo, OptionInfo

from sam2_ros.cli.main import app
from sam2_ros.cli.options import _MODEL_OPTIONS

from .markdown import REFERENCE, plain, table, with_generated

PAGE = REFERENCE / "command-line.md"
HEAD = ("option", "meaning")
WORDS = {str: "TEXT", int: "INTEGER", float: "FLOAT", Path: "PATH"}


@dataclass(frozen=True)
class Parameter:
    """An option or an argument of a command."""

    name: str  # of the function's parameter
    shown: str  # `--box TEXT`, `--backward`, `SOURCE`
    help: str
    default: Any
    is_argument: bool

    @property
    def required(self) -> bool:
        return self.default in (..., inspect.Parameter.empty)

    @property
    def of_model(self) -> bool:
        """True for an option that `opens_model` gives to a command."""
        return self.name in _MODEL_OPTIONS and self.help == _MODEL_OPTIONS[self.name][1]

    def row(self) -> tuple[str, str]:
        meaning = plain(self.help)
        if self.required and not self.is_argument:
            meaning = f"**Required.** {meaning}"
        elif self.default not in (..., inspect.Parameter.empty, None, False, "", ()):
            meaning += f" Default: `{self.default}`."
        return f"`{self.shown}`", meaning


def generated_files() -> dict[Path, str]:
    return {PAGE: with_generated(PAGE.read_text("utf-8"), "\n\n".join(blocks()))}


def commands(of: typer.Typer = app, group: str = "") -> Iterator[tuple[str, Callable[..., Any]]]:
    """Every command's full name and function."""
    for info in of.registered_commands:
        assert info.callback is not None
        yield f"{group}{info.name or info.callback.__name__.replace('_', '-')}", info.callback
    for sub in of.registered_groups:
        assert sub.typer_instance is not None
        yield from commands(sub.typer_instance, f"{group}{sub.name} ")


def parameters(function: Callable[..., Any]) -> list[Parameter]:
    found = []
    for each in inspect.signature(function, eval_str=True).parameters.values():
        kind, info, default = each.annotation, each.default, getattr(each.default, "default", None)
        if hasattr(kind, "__metadata__"):  # Annotated
            kind, info, default = kind.__origin__, kind.__metadata__[0], each.default
        if isinstance(info, (OptionInfo, ArgumentInfo)):
            is_argument = isinstance(info, ArgumentInfo)
            shown = shown_name(each.name, kind, info, is_argument)
            found.append(Parameter(each.name, shown, info.help or "", default, is_argument))
    return found


def shown_name(name: str, kind: Any, info: OptionInfo | ArgumentInfo, is_argument: bool) -> str:
    inner = [each for each in typing.get_args(kind) if each is not types.NoneType]
    several = typing.get_origin(kind) is list
    while inner:  # `list[str] | None`
        kind = inner[0]
        several |= typing.get_origin(kind) is list
        inner = list(typing.get_args(kind))
    if is_argument:
        return (info.metavar or name.upper()) + ("..." if several else "")
    flag = name.replace("_", "-")
    # Within Annotated typer keeps the first name where a default would be.
    given = [each for each in (info.default, *(info.param_decls or ())) if str(each).startswith("--")]
    names = "/".join(given or ([f"--{flag}", f"--no-{flag}"] if kind is bool else [f"--{flag}"]))
    return names if kind is bool else f"{names} {info.metavar or WORDS[kind]}"


def blocks() -> Iterator[str]:
    of_model: dict[str, Parameter] = {}
    for name, function in sorted(commands()):
        own = parameters(function)
        shared = [each for each in own if each.of_model]
        if len(shared) < len(_MODEL_OPTIONS):
            shared = []  # only some of them: listed with the command
        of_model |= {each.name: each for each in shared}
        yield f"## sam2-ros {name}"
        yield usage(name, own)
        yield "\n\n".join(map(plain, inspect.cleandoc(function.__doc__ or "").split("\n\n")))
        if rows := [each.row() for each in own if each not in shared]:
            yield table(HEAD, rows)
        if shared:
            yield "And the [options of the model](#options-of-the-model)."
    yield "## Options of the model"
    yield "Every command that opens a model has these."
    yield table(HEAD, [each.row() for each in of_model.values()])


def usage(name: str, of_command: list[Parameter]) -> str:
    arguments = [
        each.shown if each.required else f"[{each.shown}]" for each in of_command if each.is_argument
    ]
    needed = [each.shown for each in of_command if each.required and not each.is_argument]
    return f"```\n{' '.join([f'sam2-ros {name}', *arguments, *needed])} ...\n```"
