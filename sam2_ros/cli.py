"""The `sam2-ros` command: one thin sub-command per capability, tables for people, one JSON line for programs.

Does not do the work: it reads arguments, shows progress, and turns errors into one line and an exit status
(0 = done, 2 = wrong usage or unusable input, 1 = anything else).
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from sam2_ros import cli_show as show

# typer carries a click of its own or uses the installed one: either way its usage error is this base.
_UsageError: type[Exception] = typer.BadParameter.__bases__[0]

app = typer.Typer(
    name="sam2-ros",
    help="SAM 2 as a stream: track objects through videos and rosbags, run the demo, time the models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
models_app = typer.Typer(
    help="The checkpoints that can be used: which exist, which are here, whether they are intact."
)
app.add_typer(models_app, name="models", no_args_is_help=True)

ModelOption = Annotated[
    str, typer.Option("--model", help="nano, tiny, small, base_plus, large, or the path of a checkpoint.")
]
DeviceOption = Annotated[
    str, typer.Option("--device", help="auto (a GPU if there is one), cpu, cuda, cuda:0.")
]
PrecisionOption = Annotated[
    str, typer.Option("--precision", help="auto (bf16 where the GPU has it, else fp32), bf16, fp16, fp32.")
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object as the last line of standard output.")
]


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("out/demo"),
    model: ModelOption = "nano",
    device: DeviceOption = "auto",
    frames: Annotated[
        int | None, typer.Option(min=2, help="Only the first frames of the clip (default: all 150).")
    ] = None,
    direct: Annotated[
        bool, typer.Option("--direct", help="Without ROS, even where it is installed.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Render a robot-camera clip, play it to the live ROS 2 node as a rosbag2, score what comes back.

    Leaves overlay.mp4, tracked/ (rosbag2), report.html, summary.json. Where rclpy cannot be imported the clip
    goes through the tracker directly, and that is said.
    """
    from sam2_ros.eval.demo import DemoConfig, run_demo
    from sam2_ros.eval.live_replay import fastdds_profile, missing_ros

    reason = "--direct was given" if direct else missing_ros()
    if reason is not None:
        show.err.print(f"No live ROS 2 node: {escape(reason)}. Tracking directly instead.", soft_wrap=True)
    config = DemoConfig(
        out=out,
        model=model,
        device=device,
        node_command=None if reason else (sys.executable, "-m", "sam2_ros.node.node"),
        direct_because=reason or "",
        profiles_file=None if reason else fastdds_profile(),
        frames=frames,
    )
    with show.progress_bar("starting") as bar:
        summary = run_demo(config, bar.show)
    show.print_table("sam2-ros demo", {key: value for key, value in summary.items() if key != "per_object"})
    for name in ("report.html", "overlay.mp4", "tracked", "summary.json"):
        show.out.print(f"  {out / name}", highlight=False, soft_wrap=True)
    show.print_json(as_json, summary)


@app.command()
def track(
    source: Annotated[
        Path, typer.Argument(help="Video file, folder of frames, or rosbag2 (folder, .mcap, .db3).")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the results.")],
    model: ModelOption = "nano",
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    topic: Annotated[str | None, typer.Option(help="Image topic of a bag with several.")] = None,
    box: Annotated[list[str] | None, typer.Option(help="ID@FRAME:x0,y0,x1,y1 in pixels. Repeatable.")] = None,
    point: Annotated[
        list[str] | None, typer.Option(help="ID@FRAME:x,y,+ on the object or x,y,- off it. Repeatable.")
    ] = None,
    mask: Annotated[
        list[str] | None, typer.Option(help="ID@FRAME:file.png, black = background. Repeatable.")
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(help="JSON list of {id, frame, box, points [[x, y, 1 or 0]], mask, class_id}."),
    ] = None,
    save: Annotated[
        str, typer.Option(help="What to leave: any of masks,video,bag,json.")
    ] = "masks,video,bag,json",
    as_json: JsonOption = False,
) -> None:
    """Track prompted objects through a video, a folder of frames or a rosbag2.

    Leaves masks/NNNNN.png, objects.json, overlay.mp4, tracked/ (rosbag2) and summary.json.
    """
    from sam2_ros.cli_prompts import PromptBook
    from sam2_ros.eval.track import TrackConfig, run_track

    book = PromptBook()
    for spec in box or []:
        book.add_box(spec)
    for spec in point or []:
        book.add_point(spec)
    for spec in mask or []:
        book.add_mask(spec)
    if prompts is not None:
        book.add_file(prompts)
    config = TrackConfig(
        source=source,
        out=out,
        prompts=book.prompts(),
        model=model,
        device=device,
        precision=precision,
        topic=topic,
        save=tuple(part.strip() for part in save.split(",") if part.strip()),
    )
    with show.progress_bar("opening") as bar:
        summary = run_track(config, bar.show)
    shown = {**summary, "saved": ", ".join(summary["saved"]), "objects": len(summary["objects"])}
    show.print_table(
        "sam2-ros track", shown | {f"  {name}": show.seen(seen) for name, seen in summary["objects"].items()}
    )
    show.print_json(as_json, summary)


@app.command()
def bench(
    model: ModelOption = "nano",
    objects: Annotated[str, typer.Option(help="Object counts, one run each.")] = "1,4",
    frames: Annotated[
        int, typer.Option(min=2, help="Frames timed per run, after the memory bank is full.")
    ] = 50,
    camera: Annotated[str, typer.Option(help="Size of the camera's images, WIDTHxHEIGHT.")] = "640x480",
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Time the tracker, frame in to masks out, on a rendered camera stream with a full memory bank."""
    from sam2_ros.eval.bench import BenchConfig, run_bench

    counts = _numbers(objects, ",", "--objects", "numbers such as 1,4")
    size = _numbers(camera, "x", "--camera", "WIDTHxHEIGHT such as 640x480")
    if len(size) != 2:
        raise typer.BadParameter(f"--camera '{camera}' cannot be read: expected WIDTHxHEIGHT such as 640x480")
    config = BenchConfig(model, tuple(counts), frames, size[1], size[0], device, precision)
    with show.progress_bar("loading the model") as bar:
        report = run_bench(config, lambda done, total: bar.show("timing", done, total))
    show.print_bench(report)
    show.print_json(as_json, report)


@models_app.command("list")
def models_list(as_json: JsonOption = False) -> None:
    """All known models: size, licence, and whether their weights are here."""
    from sam2_ros.weights import list_models

    models = list_models()
    table = Table(
        "name", "version", "parameters", "file", "licence", "present", box=None, header_style="bold"
    )
    for info in models:
        present = "[green]yes[/green]" if info.path else "no"
        table.add_row(
            info.name,
            info.version,
            f"{info.parameters / 1e6:.1f} M",
            escape(info.file),
            escape(info.licence),
            present,
        )
    show.out.print(table)
    show.print_json(as_json, {"models": [_model_dict(info) for info in models]})


@models_app.command("info")
def models_info(
    name: Annotated[str, typer.Argument(help="A name from `sam2-ros models list`.")],
    as_json: JsonOption = False,
) -> None:
    """One model: where its weights come from and where they are looked for."""
    info = _find_model(name)
    show.print_table(f"model {info.name}", _model_dict(info))
    show.print_json(as_json, _model_dict(info))


@models_app.command("fetch")
def models_fetch(
    name: Annotated[str, typer.Argument(help="A name from `sam2-ros models list`.")],
    as_json: JsonOption = False,
) -> None:
    """Download an official checkpoint; an interrupted download goes on where it stopped."""
    from sam2_ros.download import fetch
    from sam2_ros.eval.verify import verify_weights
    from sam2_ros.weights import download_dir

    info = _find_model(name)
    with show.progress_bar(f"downloading {info.file}") as bar:
        path = fetch(
            info, download_dir(), lambda done, total: bar.show(f"downloading {info.file}", done, total)
        )
    checked = verify_weights(info.name)
    show.print_table(f"model {info.name}", {**checked, "file": str(path)})
    show.print_json(as_json, checked)


@models_app.command("verify")
def models_verify(
    name: Annotated[str | None, typer.Argument(help="A name or a file (default: all that are here).")] = None,
    as_json: JsonOption = False,
) -> None:
    """Check weights: their SHA-256 where one is published, and that they load completely."""
    from sam2_ros.eval.verify import verify_weights
    from sam2_ros.weights import list_models

    wanted = [name] if name is not None else [info.name for info in list_models() if info.path is not None]
    table = Table("model", "file", "recognised as", "sha256", "verdict", box=None, header_style="bold")
    verdicts = []
    for one in wanted:
        checked = verify_weights(one)
        verdicts.append(checked)
        table.add_row(
            one,
            escape(checked["file"]),
            checked["recognised"],
            checked["sha256"][:12],
            escape(checked["verdict"]),
        )
    show.out.print(table)
    show.print_json(as_json, {"models": verdicts})


def _model_dict(info: Any) -> dict[str, Any]:
    return {
        "name": info.name,
        "version": info.version,
        "parameters": info.parameters,
        "file": info.file,
        "url": info.url,
        "licence": info.licence,
        "path": None if info.path is None else str(info.path),
    }


def _find_model(name: str) -> Any:
    from sam2_ros.weights import list_models

    models = list_models()
    found = next((info for info in models if info.name == name), None)
    if found is None:
        known = ", ".join(info.name for info in models)
        raise typer.BadParameter(f"model '{name}' is not known: expected one of {known}")
    return found


def main() -> None:
    """The console script."""
    # A terminated demo still ends its node: turn SIGTERM into an exception that unwinds.
    signal.signal(signal.SIGTERM, _terminated)
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line; returns the exit status. Errors are one line on standard error."""
    command = typer.main.get_command(app)
    try:
        status = command.main(args=list(arguments), prog_name="sam2-ros", standalone_mode=False)
    except _UsageError as error:
        return _fail(2, _usage_text(error))
    except (KeyboardInterrupt, typer.Abort):
        return _fail(130, "interrupted")
    except Exception as error:
        known = _status_of(error)
        if known is None:
            raise
        return _fail(known, str(error))
    return status if isinstance(status, int) else 0


def _status_of(error: Exception) -> int | None:
    """Exit status of an error that explains itself; None for a defect, which deserves its traceback."""
    from sam2_ros.cli_prompts import PromptSyntaxError
    from sam2_ros.engine import PromptError
    from sam2_ros.eval.live_replay import LiveReplayError
    from sam2_ros.eval.track import TrackConfigError
    from sam2_ros.media.frames import SourceError
    from sam2_ros.media.ros_image import ImageError
    from sam2_ros.weights import CheckpointError

    if isinstance(
        error, (PromptSyntaxError, PromptError, SourceError, ImageError, CheckpointError, TrackConfigError)
    ):
        return 2
    return 1 if isinstance(error, (LiveReplayError, OSError)) else None


def _fail(status: int, message: str) -> int:
    print(f"sam2-ros: {message}", file=sys.stderr)
    return status


def _usage_text(error: Exception) -> str:
    text = error.format_message() if hasattr(error, "format_message") else str(error)
    return " ".join(text.split())


def _terminated(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


def _numbers(text: str, separator: str, option: str, expected: str) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(separator)]
    except ValueError as error:
        raise typer.BadParameter(f"{option} '{text}' cannot be read: expected {expected}") from error
    if min(numbers) < 1:
        raise typer.BadParameter(
            f"{option} '{text}': numbers from 1 on expected, such as {expected.split()[-1]}"
        )
    return numbers


if __name__ == "__main__":
    main()
