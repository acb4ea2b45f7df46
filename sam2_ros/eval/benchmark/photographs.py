# SPDX-License-Identifier: Apache-2.0
"""`sam2-ros eval` on photographs: prompts every instance on its own and scores the IoU of its mask.

Connects photographs, prompts, the image segmenter and files; does not track.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sam2_ros.atomic_write import write_json
from sam2_ros.datasets.photographs import Photograph, open_photographs
from sam2_ros.engine import ImageSegmenter, Prompt
from sam2_ros.engine.postprocess import tight_box
from sam2_ros.engine.warm_up import warm_up
from sam2_ros.errors import UserError
from sam2_ros.eval.jobs.job import OnNote, OnProgress
from sam2_ros.eval.memory_options import MemoryOptions
from sam2_ros.eval.metrics import in_percent, mask_iou, mean, spread
from sam2_ros.media.frame_source import SourceError
from sam2_ros.media.overlay import draw_masks, write_png
from sam2_ros.media.results import write_label_png
from sam2_ros.result_folder.folder import ResultFolder
from sam2_ros.result_folder.manifest import is_safe_name
from sam2_ros.weights.open_model import open_model

from .baselines import grabcut
from .eval_config import EvalConfig, EvalResult
from .prompting import CLICKS, Clicks
from .scores import disjoint

LEAST_PX = 32 * 32
LARGE_PX = 96 * 96
"""COCO's bounds of small, medium and large instances, in pixels; small ones are not scored here."""
PROMPTS = ("box", "click1", "click3", "click5")


@dataclass(frozen=True)
class InstanceScore:
    """One instance: its area, the IoU of each method (0..1), and the time of the model's last answer."""

    photograph: str
    area_px: int
    iou: dict[str, float]
    answer_ms: float

    def record(self) -> dict[str, Any]:
        """As summary.json has it, IoU in percent."""
        ious = {method: round(100 * iou, 2) for method, iou in self.iou.items()}
        return {"photograph": self.photograph, "area_px": self.area_px, "IoU": ious}


def run_photographs(
    config: EvalConfig,
    on_progress: OnProgress = lambda step, done, total: None,
    on_note: OnNote = lambda line: None,
) -> EvalResult:
    """Evaluates the model. A photograph that cannot be decoded is listed in the report's `failed` and noted.

    Raises UserError.
    """
    if config.prompt not in PROMPTS:
        raise UserError(f"--prompt {config.prompt} on photographs, one of {', '.join(PROMPTS)} expected")
    if config.split or config.sequences:
        raise UserError("--split and --sequence are for videos: leave them out for photographs")
    if config.workers or config.ray or config.fresh:
        raise UserError("--workers, --ray and --fresh are for videos: leave them out for photographs")
    if config.memory != MemoryOptions():
        raise UserError(f"{config.memory.words()} on photographs, which use no memory: leave it out")
    if config.baselines and (config.baselines != ("grabcut",) or config.prompt != "box"):
        raise UserError(
            f"baselines {', '.join(config.baselines)} with --prompt {config.prompt} on photographs: "
            "only grabcut with --prompt box expected"
        )
    if config.out is None:
        return _run(config, None, on_progress, on_note)
    inputs = [("the dataset", config.dataset)]
    with ResultFolder(config.out, "eval", ("summary.json",), inputs, config.overwrite) as folder:
        return _run(config, folder, on_progress, on_note)


def _run(
    config: EvalConfig, folder: ResultFolder | None, on_progress: OnProgress, on_note: OnNote
) -> EvalResult:
    photographs = open_photographs(config.dataset)
    folders = _folder_names(photographs)
    if folder is not None:
        for name in folders.values():
            folder.target(f"{name}/")
    on_progress("loading the model", 0, None)
    segmenter = ImageSegmenter(open_model(config.model_options))
    warm_up(segmenter.model)
    scores: list[InstanceScore] = []
    failed: dict[str, str] = {}
    encode_ms = []
    for number, photograph in enumerate(photographs):
        on_progress("segmenting", number, len(photographs))
        try:
            image, known = photograph.image(), photograph.masks()
        except SourceError as error:
            failed[photograph.name] = str(error)
            on_note(f"{photograph.name} failed: {error}")
            continue
        start_s = time.perf_counter()
        segmenter.set_image(image)
        encode_ms.append((time.perf_counter() - start_s) * 1e3)
        truths = [mask for mask in known if mask.sum() > LEAST_PX]
        answers = [_segment(segmenter, truth, config.prompt) for truth in truths]
        for truth, (answer, answer_ms) in zip(truths, answers, strict=True):
            iou = {"model": mask_iou(answer, truth)}
            if config.baselines:
                iou["grabcut"] = mask_iou(grabcut(image, tight_box(truth)), truth)
            scores.append(InstanceScore(photograph.name, int(truth.sum()), iou, answer_ms))
        if folder is not None:
            _write(folder, folders[photograph.name], image, [answer for answer, _ in answers])
    if not scores and failed:
        raise SourceError(
            f"no photograph of '{config.dataset}' can be used; the first: {next(iter(failed.values()))}"
        )
    if not scores:
        raise SourceError(f"'{config.dataset}' has no instance larger than 32 x 32 px, at least one expected")
    report = {
        **_report(config, segmenter, len(photographs) - len(failed), scores, encode_ms),
        "failed": failed,
    }
    details = {
        "dataset": str(config.dataset),
        "device": str(segmenter.model.device),
        "precision": segmenter.model.precision_name,
        "image_size": segmenter.model.config.image_size,
        "of_instances": [one.record() for one in scores],
    }
    if folder is not None:
        write_json(folder.stage("summary.json"), report | details)
        folder.commit(("summary.json", *(f"{name}/" for name in folders.values())))
    return EvalResult(report, details)


def _segment(segmenter: ImageSegmenter, truth_hw: np.ndarray, prompt: str) -> tuple[np.ndarray, float]:
    """The mask ``[H, W]`` for a prompt, and the milliseconds of the last answer.

    First click: the candidate with the highest predicted IoU of three. Each further click is decoded together with the
    logits of the previous answer, as in SAM's evaluation; a box and several clicks have one answer.
    """
    start_s = time.perf_counter()
    if prompt not in CLICKS:
        found = segmenter.answer(Prompt("instance", box=tight_box(truth_hw)).validated(*truth_hw.shape))
        return found.masks[0], (time.perf_counter() - start_s) * 1e3
    clicks, answer, logits, answer_ms = Clicks(), np.zeros_like(truth_hw), None, 0.0
    for _ in range(CLICKS[prompt]):
        if not clicks.add_on_error(answer, truth_hw):
            break
        start_s = time.perf_counter()
        asked = Prompt("instance", points=np.array(clicks.points), labels=np.array(clicks.labels))
        asked = asked.validated(*truth_hw.shape)
        found = segmenter.predict(asked.points, asked.labels, mask=logits, multimask=logits is None)
        found = segmenter.zoom_in(asked, found)
        answer_ms = (time.perf_counter() - start_s) * 1e3
        answer, logits = found.masks[0], found.logits[0]
    return answer, answer_ms


def _report(
    config: EvalConfig,
    segmenter: ImageSegmenter,
    photographs: int,
    scores: list[InstanceScore],
    encode_ms: list[float],
) -> dict[str, Any]:
    times = spread(one.answer_ms for one in scores)
    report: dict[str, Any] = {
        "model": segmenter.model.config.name,
        "prompt": config.prompt,
        "photographs": photographs,
        "instances": len(scores),
        **_ious(scores, "model"),
        "encode_ms": {"p50": round(spread(encode_ms).p50, 2), "p95": round(spread(encode_ms).p95, 2)},
        "latency_ms": {"p50": round(times.p50, 2), "p95": round(times.p95, 2)},
    }
    if config.baselines:
        report["baselines"] = {name: _ious(scores, name) for name in config.baselines}
    return report


def _ious(scores: list[InstanceScore], method: str) -> dict[str, float | None]:
    """Mean IoU in percent over all instances, over those up to 96 x 96 px, and over larger ones."""

    return {
        "IoU": in_percent(mean(one.iou[method] for one in scores)),
        "IoU_medium": in_percent(mean(one.iou[method] for one in scores if one.area_px <= LARGE_PX)),
        "IoU_large": in_percent(mean(one.iou[method] for one in scores if one.area_px > LARGE_PX)),
    }


def _folder_names(photographs: Sequence[Photograph]) -> dict[str, str]:
    """File name -> its result folder: the stem, or the whole path with `_` for `/` if two files share a stem."""
    stems = [Path(one.name).stem for one in photographs]
    names: dict[str, str] = {}
    for one, stem in zip(photographs, stems, strict=True):
        name = stem if stems.count(stem) == 1 else Path(one.name).as_posix().replace("/", "_")
        name = name if is_safe_name(name) and name != "summary.json" else f"photograph_{len(names)}"
        while name in names.values():
            name += "_"
        names[one.name] = name
    return names


def _write(folder: ResultFolder, name: str, image_hw3: np.ndarray, masks: list[np.ndarray]) -> None:
    """Writes labels.png (value k = the k-th scored instance) and overlay.png."""
    parted = disjoint({str(number): mask for number, mask in enumerate(masks, start=1)})
    labels = np.zeros(image_hw3.shape[:2], np.uint16)
    for number, mask in parted.items():
        labels[mask] = int(number)
    write_label_png(folder.stage(f"{name}/labels.png"), labels)
    overlay = draw_masks(image_hw3, list(parted.values()))
    write_png(folder.stage(f"{name}/overlay.png"), overlay)
