# SPDX-License-Identifier: Apache-2.0
"""Times all compile modes and the official predictor, eager and compiled: `python test/parity/compare_compiled.py`.

Needs an environment with `sam2`, as `make_goldens.py` does, and this repository on PYTHONPATH. One process, the same
weights and frames, all in turns, a full bank of 1 + 6 frames; everything is compiled once, for all numbers of objects.
Meant for a GPU; for a test on a CPU: `--image-size 128 --precision fp32 --compile off,max`.

Prints a table for each number of objects. Stages: time between device events, without the host's work between them.
Ratios: time of the reference / time of the row. Masks and logits of a row are compared with those of the first
reference.
"""

from __future__ import annotations

import argparse

import torch
from rich.console import Console
from rich.table import Table

from sam2_ros.bench.against.open_reference import open_reference
from sam2_ros.bench.against.reference import Reference, SteppedTracker, logit_error, mask_agreement
from sam2_ros.bench.flops import BankSize, official_flops, rewritten_flops
from sam2_ros.bench.machine import product_peak_flops
from sam2_ros.bench.run import BenchConfig, bench_tracker_config, open_bench_model, render_stream
from sam2_ros.bench.timing import OwnTracker, Stream, time_in_turns
from sam2_ros.engine import Sam2Model, Tracker
from sam2_ros.engine.compiled import CompiledModel, compile_model
from sam2_ros.eval.metrics import spread
from sam2_ros.weights.load import compile_cache_dir
from sam2_ros.weights.open_model import ModelOptions

out = Console(width=150)


def main() -> None:
    args = _arguments()
    config = BenchConfig(
        ModelOptions(args.model, args.device, args.precision, args.image_size),
        tuple(int(count) for count in args.objects.split(",")),
        args.frames,
        against="official",
    )
    model, weights = open_bench_model(config)
    stream = render_stream(config)
    peak_flops = product_peak_flops(model.device, model.compute_dtype)
    out.print(
        f"{model.config.name} at {model.config.image_size} on {model.device}, {args.precision}, weights {weights}, "
        f"torch {torch.__version__}, matrix product peak {peak_flops / 1e9:,.0f} GFLOP/s",
        highlight=False,
    )
    # sam2_ros first: compiling it drops everything that was compiled before.
    compiled = {f"ours, {mode}": _compiled(model, mode, config) for mode in args.compile.split(",")}
    references = {name: open_reference(name, model) for name in args.against.split(",")}
    for count in config.objects:
        out.print(_compare(compiled, references, config, stream.of(count), peak_flops))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--image-size", type=int, default=0, help="0: the model's own")
    parser.add_argument("--objects", default="1,4,8")
    parser.add_argument("--frames", type=int, default=50, help="after 20 in which the bank fills")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--compile", default="off,graphs,max")
    parser.add_argument("--against", default="official,official-compiled")
    return parser.parse_args()


def _compiled(model: Sam2Model, mode: str, config: BenchConfig) -> Sam2Model:
    compiled = compile_model(
        model, mode, bench_tracker_config(config, 1, max(config.objects)), compile_cache_dir()
    )
    if isinstance(compiled, CompiledModel):
        out.print(f"ours, {mode}: compiled in {compiled.compile_s:.0f} s", highlight=False)
    return compiled


def _compare(
    models: dict[str, Sam2Model],
    references: dict[str, Reference],
    config: BenchConfig,
    stream: Stream,
    peak_flops: float,
) -> Table:
    count = len(stream.boxes)
    ours = {
        name: OwnTracker(Tracker(model, bench_tracker_config(config, 1, count)), stream)
        for name, model in models.items()
    }
    trackers: dict[str, SteppedTracker] = {**ours}
    for name, reference in references.items():
        trackers[name] = reference.start(stream.images, stream.boxes)
    answers = time_in_turns(list(trackers.values()), len(stream), lambda: None)
    followed = dict(zip(trackers, answers, strict=True))
    p50_ms = {name: spread(one.frame_ms[stream.warm_up :]).p50 for name, one in followed.items()}
    first = followed[next(iter(references))]
    config_of = next(iter(models.values())).config
    official, least = (flops(config_of, BankSize()).of(count) for flops in (official_flops, rewritten_flops))
    table = Table(
        f"{count} objects",
        *("p50 ms", "p95 ms", "stages ms"),
        *(f"{name} / it" for name in references),
        *("of the peak", "IoU", "logits, of rms"),
        box=None,
        title=f"least time {least / peak_flops * 1e3:.2f} ms",
    )
    for name, one in followed.items():
        table.add_row(
            name,
            f"{p50_ms[name]:.2f}",
            f"{spread(one.frame_ms[stream.warm_up :]).p95:.2f}",
            f"{_stages_ms(ours[name], stream.warm_up):.2f}" if name in ours else "",
            *(f"{p50_ms[reference] / p50_ms[name]:.2f}" for reference in references),
            f"{100 * official / (p50_ms[name] * 1e-3 * peak_flops):.0f} %",
            f"{mask_agreement(first, one):.4f}",
            f"{logit_error(first, one):.1e}",
        )
    return table


def _stages_ms(tracker: OwnTracker, warm_up: int) -> float:
    frames = tracker.timings_ms[warm_up:]
    return spread(sum(ms for stage, ms in frame.items() if stage != "total") for frame in frames).p50


if __name__ == "__main__":
    main()
