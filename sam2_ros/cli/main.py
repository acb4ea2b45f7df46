"""The `sam2-ros` command: one thin sub-command per capability, tables for people, one JSON line for programs.

Does not do the work: it reads arguments, shows progress, and turns errors into one line and an exit status
(0 = done, 2 = wrong usage or unusable input, 1 = anything else).
"""

from __future__ import annotations

import errno
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.markup import escape

from sam2_ros.host_memory import keep_freed_pages

from . import output as show
from .compare import compare
from .errors import argument_problem, disk_full, fail, out_of_memory, tolerate_any_name
from .eval import evaluate
from .export import export
from .models import models_app
from .options import (
    OUT_HELP,
    BackendOption,
    CompileOption,
    DeviceOption,
    ImageSizeOption,
    JsonOption,
    MemoryEveryOption,
    MemoryFramesOption,
    MemoryPoolingOption,
    ModelOption,
    OverwriteOption,
    PrecisionOption,
    RangeOption,
    UntypedOption,
)
from .replay import replay
from .soak import soak
from .train import train

# typer carries a click of its own or uses the installed one: either way its usage error is this base.
_UsageError: type[Exception] = typer.BadParameter.__bases__[0]

_MOST = 1 << 16

app = typer.Typer(
    name="sam2-ros",
    help="SAM 2: track objects through videos and rosbags, segment images, run the demo, measure, train, export.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(models_app, name="models", no_args_is_help=True)
app.command()(soak)
app.command()(replay)
app.command()(train)
app.command("eval")(evaluate)
app.command()(compare)
app.command()(export)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help=OUT_HELP)] = Path("out/demo"),
    model: ModelOption = "nano",
    device: DeviceOption = "auto",
    image_size: Annotated[
        int, typer.Option(help="Side of the square the model sees; 0: 256 for nano, else the model's own.")
    ] = 0,
    frames: Annotated[
        int | None, typer.Option(min=2, help="Only the first frames of the clip (default: all 150).")
    ] = None,
    direct: Annotated[
        bool, typer.Option("--direct", help="Without ROS, even where it is installed.")
    ] = False,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Render a robot-camera clip, play it to the live ROS 2 node as a rosbag2, score what comes back.

    Leaves the clip (camera/, truth/, prompts.json), overlay.mp4, node/tracked/ (rosbag2), report.html, summary.json.
    Where rclpy cannot be imported the clip goes through the tracker directly, and that is said.
    """
    from sam2_ros.eval.demo import DemoConfig, run_demo
    from sam2_ros.live.player import fastdds_profile, missing_ros

    reason = "--direct was given" if direct else missing_ros()
    if reason is not None:
        show.err.print(f"No live ROS 2 node: {escape(reason)}. Tracking directly instead.", soft_wrap=True)
    config = DemoConfig(
        out=out,
        model=model,
        device=device,
        image_size=image_size,
        node_command=None if reason else (sys.executable, "-m", "sam2_ros.node.node"),
        direct_because=reason or "",
        profiles_file=None if reason else fastdds_profile(),
        frames=frames,
        overwrite=overwrite,
    )
    with show.progress_bar("starting") as bar:
        summary = run_demo(config, bar.show)
    show.print_table("sam2-ros demo", {key: value for key, value in summary.items() if key != "per_object"})
    for name in ("report.html", "overlay.mp4", f"{'direct' if reason else 'node'}/tracked", "summary.json"):
        show.path(out / name)
    show.print_json(as_json, summary)


@app.command()
def track(
    source: Annotated[
        Path, typer.Argument(help="Video file, folder of frames, or rosbag2 (folder, .mcap, .db3).")
    ],
    out: Annotated[Path, typer.Option(help=OUT_HELP)],
    model: ModelOption = "nano",
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    image_size: ImageSizeOption = 0,
    compile: CompileOption = "off",
    backend: BackendOption = "torch",
    topic: Annotated[str | None, typer.Option(help="Image topic of a bag with several.")] = None,
    glob: Annotated[
        str | None, typer.Option(help="Of a folder, only files with names like this, such as '*_rgb.png'.")
    ] = None,
    fps: Annotated[
        float | None,
        typer.Option(help="Frames per second of a folder (default: by the stamps in its names, else 30)."),
    ] = None,
    box: Annotated[list[str] | None, typer.Option(help="ID@FRAME:x0,y0,x1,y1 in pixels. Repeatable.")] = None,
    point: Annotated[
        list[str] | None, typer.Option(help="ID@FRAME:x,y,+ on the object or x,y,- off it. Repeatable.")
    ] = None,
    mask: Annotated[
        list[str] | None,
        typer.Option(help="ID@FRAME:file.png, black = background; file.png#2: its value 2. Repeatable."),
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(help="JSON list of {id, frame, box, points [[x, y, 1 or 0]], mask, class_id}."),
    ] = None,
    backward: Annotated[
        bool, typer.Option("--backward", help="Also track from each object's first prompt back to the start.")
    ] = False,
    range: RangeOption = "full",
    untyped_encoding: UntypedOption = "bgr",
    save: Annotated[
        str, typer.Option(help="What to leave: any of masks,video,bag,json.")
    ] = "masks,video,bag,json",
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Track prompted objects through a video, a folder of frames or a rosbag2.

    Leaves masks/NNNNN.png (of a folder: masks/NAME.png, as its files are named), objects.json, overlay.mp4, tracked/
    (rosbag2) and summary.json.
    """
    from sam2_ros.media.pixels.image_reader import PixelConfig
    from sam2_ros.offline.track import TrackConfig, run_track

    from .prompts import PromptBook

    book = PromptBook()
    for spec in box or []:
        book.add_box(spec)
    for spec in point or []:
        book.add_point(spec)
    for spec in mask or []:
        book.add_mask(spec)
    if prompts is not None:
        book.add_file(prompts)
    for line in book.notes:
        show.note(line)
    config = TrackConfig(
        source=source,
        out=out,
        prompts=book.prompts(),
        model=model,
        device=device,
        precision=precision,
        image_size=image_size,
        compile=compile,
        backend=backend,
        topic=topic,
        glob=glob,
        fps=fps,
        backward=backward,
        save=tuple(part.strip() for part in save.split(",") if part.strip()),
        pixels=PixelConfig(range, untyped_encoding),
        overwrite=overwrite,
        prompt_files=tuple(book.files),
    )
    with show.progress_bar("opening") as bar:
        summary = run_track(config, bar.show)
    shown = {**summary, "saved": ", ".join(summary["saved"]), "objects": len(summary["objects"])}
    del shown["missing"]
    show.print_table(
        "sam2-ros track", shown | {f"  {name}": show.seen(seen) for name, seen in summary["objects"].items()}
    )
    show.print_json(as_json, summary)


@app.command()
def segment(
    image: Annotated[
        Path, typer.Argument(help="JPEG, PNG, TIFF, WebP or BMP; turned upright as its EXIF says.")
    ],
    out: Annotated[Path, typer.Option(help=OUT_HELP)],
    box: Annotated[list[str] | None, typer.Option(help="ID:x0,y0,x1,y1 in pixels. Repeatable.")] = None,
    point: Annotated[
        list[str] | None, typer.Option(help="ID:x,y,+ on the object or ID:x,y,- off it. Repeatable.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--everything", help="Without prompts: all masks, from a grid of clicks.")
    ] = False,
    points_per_side: Annotated[
        int, typer.Option(min=1, max=1024, help="Clicks along each side of the grid.")
    ] = 32,
    pred_iou_thresh: Annotated[float, typer.Option(help="Least predicted IoU of a mask, 0..1.")] = 0.8,
    stability_score_thresh: Annotated[
        float, typer.Option(help="Least share of a mask's area that stays when its edge is moved.")
    ] = 0.95,
    crop_n_layers: Annotated[
        int, typer.Option(min=0, max=6, help="1: segment 4 crops of the image too, 2: 16 more, ...")
    ] = 0,
    min_mask_region_area: Annotated[
        int, typer.Option(min=0, help="Fill holes and drop islands smaller than this, pixels.")
    ] = 0,
    model: ModelOption = "nano",
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    image_size: ImageSizeOption = 0,
    range: RangeOption = "full",
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Segment one image: what boxes and points ask for, or everything.

    Leaves overlay.png, labels.png (value = number of the mask), masks.json (COCO run lengths) and summary.json.
    """
    from sam2_ros.engine import EverythingConfig
    from sam2_ros.media.pixels.image_reader import PixelConfig
    from sam2_ros.offline.segment import SegmentConfig, run_segment

    from .prompts import PromptBook

    book = PromptBook(of_image=True)
    for spec in box or []:
        book.add_box(spec)
    for spec in point or []:
        book.add_point(spec)
    grid = EverythingConfig(
        points_per_side=points_per_side,
        pred_iou_thresh=pred_iou_thresh,
        stability_score_thresh=stability_score_thresh,
        crop_n_layers=crop_n_layers,
        min_mask_region_area=min_mask_region_area,
    )
    config = SegmentConfig(
        image,
        out,
        book.prompts().get(0, ()),
        grid if everything else None,
        model,
        device,
        precision,
        image_size,
        PixelConfig(range),
        overwrite,
    )
    with show.progress_bar("opening") as bar:
        summary = run_segment(config, bar.show)
    if not summary["masks"]:
        show.err.print(
            "No mask is good and stable enough: lower --pred-iou-thresh or --stability-score-thresh, "
            "or ask more clicks with --points-per-side.",
            soft_wrap=True,
        )
    show.print_table("sam2-ros segment", summary)
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
    image_size: ImageSizeOption = 0,
    compile: CompileOption = "off",
    backend: BackendOption = "torch",
    conditioning: Annotated[
        str,
        typer.Option(help="Prompted frames in memory, beside the recent ones; 1,4 times both banks."),
    ] = "1",
    memory_frames: MemoryFramesOption = 7,
    memory_pooling: MemoryPoolingOption = 1,
    memory_every: MemoryEveryOption = 1,
    against: Annotated[
        str,
        typer.Option(
            help="official or official-compiled (Meta's package), or transformers: run it on the same weights and "
            "frames too, and compare."
        ),
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Time the tracker, frame in to masks out, on a rendered camera stream with a full memory bank."""
    from sam2_ros.bench.run import BenchConfig, run_bench
    from sam2_ros.eval.memory_options import MemoryOptions

    counts = _numbers(objects, ",", "--objects", "numbers such as 1,4")
    size = _numbers(camera, "x", "--camera", "WIDTHxHEIGHT such as 640x480")
    if len(size) != 2:
        raise typer.BadParameter(f"--camera '{camera}' cannot be read: expected WIDTHxHEIGHT such as 640x480")
    config = BenchConfig(
        model=model,
        objects=tuple(counts),
        frames=frames,
        height_px=size[1],
        width_px=size[0],
        device=device,
        precision=precision,
        image_size=image_size,
        against=against,
        conditioning=tuple(_numbers(conditioning, ",", "--conditioning", "numbers such as 1,4")),
        memory=MemoryOptions(memory_frames, memory_pooling, memory_every),
        backend=backend,
        compile=compile,
    )
    with show.progress_bar("loading the model") as bar:
        report = run_bench(config, lambda done, total: bar.show("timing", done, total))
    show.print_bench(report)
    show.print_json(as_json, report)


def main() -> None:
    """The console script."""
    # A terminated demo still ends its node, and a run clears up: turn SIGTERM into an exception that unwinds. A closed
    # terminal, too, unless nohup has it ignored.
    signal.signal(signal.SIGTERM, _terminated)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _terminated)
    keep_freed_pages()
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line; returns the exit status. Errors are one line on standard error."""
    command = typer.main.get_command(app)
    tolerate_any_name()
    if problem := argument_problem(arguments):
        return fail(2, problem)
    try:
        status = command.main(
            args=list(arguments), prog_name="sam2-ros", standalone_mode=False, obj=tuple(arguments)
        )
    except _UsageError as error:
        return fail(2, _usage_text(error))
    except (KeyboardInterrupt, typer.Abort):
        return fail(130, "interrupted")
    except Exception as error:
        if reason := out_of_memory(error) or disk_full(error):
            return fail(1, reason)
        known = _status_of(error)
        if known is None:
            raise
        return fail(known, str(error))
    if status == 130:  # what some versions of typer make of an interrupt
        return fail(130, "interrupted")
    return status if isinstance(status, int) else 0


def _status_of(error: Exception) -> int | None:
    """Exit status of an error that explains itself; None for a defect, which deserves its traceback."""
    from sam2_ros.bench.against.reference import ReferenceMissingError
    from sam2_ros.bench.process_watch import ProcessWatchError
    from sam2_ros.bench.run import BenchConfigError
    from sam2_ros.bench.soak import SoakError
    from sam2_ros.engine import PromptError
    from sam2_ros.engine.compiled import CompileError
    from sam2_ros.eval.benchmark.eval_config import EvalConfigError
    from sam2_ros.eval.compare.summaries import CompareError
    from sam2_ros.eval.jobs.job import Interrupted
    from sam2_ros.eval.jobs.ray_cluster import RayError
    from sam2_ros.eval.memory_options import MemoryOptionsError
    from sam2_ros.eval.replay.replay_config import ReplayConfigError
    from sam2_ros.live.player import LiveReplayError
    from sam2_ros.media.frames import SourceError
    from sam2_ros.media.overlay import VideoError
    from sam2_ros.media.ros_image import ImageError
    from sam2_ros.offline.track import TrackConfigError
    from sam2_ros.result_folder.manifest import ResultFolderError
    from sam2_ros.train.train_config import TrainConfigError, TrainError
    from sam2_ros.weights.load import CheckpointError

    from .prompts import PromptSyntaxError

    if isinstance(error, Interrupted):
        return 130
    if isinstance(error, OSError) and error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
        return 2
    options = (PromptSyntaxError, TrackConfigError, EvalConfigError, RayError, TrainConfigError)
    timing = (BenchConfigError, MemoryOptionsError, ReferenceMissingError)
    scoring = (CompareError, ReplayConfigError, ResultFolderError)
    content = (PromptError, SourceError, ImageError, CheckpointError, CompileError)
    if isinstance(error, (*options, *timing, *scoring, *content)):
        return 2
    running = (LiveReplayError, SoakError, ProcessWatchError, TrainError, VideoError, OSError)
    return 1 if isinstance(error, running) else None


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
    if min(numbers) < 1 or max(numbers) > _MOST:
        raise typer.BadParameter(
            f"{option} '{text}': numbers from 1 to {_MOST} expected, such as {expected.split()[-1]}"
        )
    return numbers
