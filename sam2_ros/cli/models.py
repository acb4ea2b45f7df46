# SPDX-License-Identifier: Apache-2.0
"""`sam2-ros models`: lists, downloads and verifies checkpoints.

Does not open checkpoints or connections itself: prints what `weights` returns.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from . import output as show
from .options import JsonOption

models_app = typer.Typer(help="List, download and verify the checkpoints of the models.")


@models_app.command("list")
def models_list(as_json: JsonOption = False) -> None:
    """List all known models: size, licence, and whether their weights are on this machine."""
    from sam2_ros.weights.catalogue import list_models

    models = list_models()
    table = show.columns("name", "version", "parameters", "file", "licence", "present")
    for info in models:
        parameters, present = f"{info.parameters / 1e6:.1f} M", "[green]yes[/green]" if info.path else "no"
        table.add_row(info.name, info.version, parameters, escape(info.file), escape(info.licence), present)
    show.out.print(table)
    show.print_json(as_json, {"models": [_model_dict(info) for info in models]})


@models_app.command("info")
def models_info(
    name: Annotated[str, typer.Argument(help="A name from `sam2-ros models list`.")],
    as_json: JsonOption = False,
) -> None:
    """Show one model: its licence, the address of its weights, and their path on this machine."""
    info = _find_model(name)
    show.print_table(f"model {info.name}", _model_dict(info))
    show.print_json(as_json, _model_dict(info))


@models_app.command("fetch")
def models_fetch(
    name: Annotated[
        str,
        typer.Argument(
            help="A name from `sam2-ros models list`, a Hugging Face id, or the path of an official file on this "
            "machine."
        ),
    ],
    as_json: JsonOption = False,
) -> None:
    """Download a checkpoint and verify it; an interrupted download resumes.

    Writes the file to $SAM2_ROS_MODELS, else to ~/.cache/sam2_ros; that of a
    Hugging Face id to the cache of huggingface_hub. Prints its path.
    """
    from sam2_ros.weights.catalogue import download_dir, is_hub_id
    from sam2_ros.weights.fetch import adopt_file, fetch, fetch_from_hub
    from sam2_ros.weights.verify import verify_weights

    given = Path(name).expanduser()
    if given.is_file():
        known = adopt_file(given).name
    elif is_hub_id(name):
        known = name
        fetch_from_hub(name)
    else:
        info = _find_model(name)
        known = info.name
        with show.progress_bar(f"downloading {info.file}") as bar:
            fetch(info, download_dir(), lambda done, total: bar.show(f"downloading {info.file}", done, total))
    checked = verify_weights(known)
    show.print_table(f"model {known}", checked)
    show.print_json(as_json, checked)


@models_app.command("verify")
def models_verify(
    name: Annotated[
        str | None, typer.Argument(help="A name or a file. Default: all on this machine.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Verify weights: their SHA-256 if one is published, and that they load completely."""
    from sam2_ros.weights.catalogue import list_models
    from sam2_ros.weights.verify import verify_weights

    wanted = [name] if name is not None else [info.name for info in list_models() if info.path is not None]
    table = show.columns("model", "file", "recognised as", "sha256", "verdict")
    verdicts = [verify_weights(one) for one in wanted]
    for one in verdicts:
        file, verdict = escape(one["file"]), escape(one["verdict"])
        table.add_row(escape(one["name"]), file, one["recognised"], one["sha256"][:12], verdict)
    show.out.print(table)
    show.print_json(as_json, {"models": verdicts})


def _model_dict(info: Any) -> dict[str, Any]:
    shown = ("name", "version", "parameters", "file", "url", "licence")
    path = None if info.path is None else str(info.path)
    return {**{key: getattr(info, key) for key in shown}, "path": path}


def _find_model(name: str) -> Any:
    from sam2_ros.weights.catalogue import list_models

    models = list_models()
    found = next((info for info in models if info.name == name), None)
    if found is None:
        known = ", ".join(info.name for info in models)
        raise typer.BadParameter(f"model '{name}' is not known: expected one of {known}")
    return found
