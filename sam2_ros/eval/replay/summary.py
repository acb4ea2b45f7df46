# SPDX-License-Identifier: Apache-2.0
"""Summarizes the scores of a run for summary.json: per object and over all, for processed and for all images.

Does not know bags or models. docs/how-to/replay.md describes the keys and units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sam2_ros.eval.calibration import calibration
from sam2_ros.eval.metrics import in_percent, mean, rounded

from .measures import (
    Stability,
    identity_switches,
    share,
    stability,
    times_to_lost,
    times_to_recover,
)
from .score import ObjectAnswer, ObjectTrack


def summarize(tracks: Sequence[ObjectTrack], latency_ms: Mapping[int, float]) -> dict[str, Any]:
    """Scores of a run: overall, `processed_only` and `objects`, as in summary.json.

    `latency_ms`: index of a processed image -> its latency.
    """
    objects = {track.id: _object(track, latency_ms) for track in tracks}
    return {
        **_overall(tracks, list(objects.values()), False),
        "time_to_first_mask_s": _spread([entry["time_to_first_mask_s"] for entry in objects.values()]),
        "processed_only": _overall(tracks, [entry["processed_only"] for entry in objects.values()], True),
        "objects": objects,
    }


def _object(track: ObjectTrack, latency_ms: Mapping[int, float]) -> dict[str, Any]:
    answers = track.answers
    # Only answers of processed images count: an earlier image's answer is not a response to the prompt.
    masked = [index for index, answer in enumerate(answers) if answer.has_mask and answer.processed]
    first = next((index for index in masked if index >= track.prompted), None)
    first_s = None if first is None else answers[first].stamp_s - answers[track.prompted].stamp_s
    return {
        **_measures(track, False),
        "processed_only": _measures(track, True),
        "time_to_first_mask_s": rounded(first_s),
        "first_mask_latency_ms": None if first is None else rounded(latency_ms.get(first), 2),
        "curve": _curve(track),
    }


def _measures(track: ObjectTrack, processed_only: bool) -> dict[str, Any]:
    known = [answer for answer in track.answers if answer.scored]
    seen = _view(track, processed_only)
    truth_s, visible = [one.stamp_s for one in known], [one.visible for one in known]
    answer_s = [one.stamp_s for one in seen]
    lost = times_to_lost(truth_s, visible, answer_s, [one.tracking for one in seen])
    recovered = times_to_recover(truth_s, visible, answer_s, [one.found for one in seen])
    j, f = mean(one.j for one in seen), mean(one.f for one in seen)
    switches = identity_switches(track.id, [one.matched for one in seen])
    return {
        "J": in_percent(j),
        "F": in_percent(f),
        "JF": in_percent(None if j is None or f is None else (j + f) / 2),
        **_pooled([track], processed_only),
        "time_to_lost_s": [rounded(value) for value in lost],
        "time_to_recover_s": [rounded(value) for value in recovered],
        "identity_switches": switches if seen else None,
        "stability": _stability_json(_stability(seen, processed_only)),
    }


def _overall(
    tracks: Sequence[ObjectTrack], objects: Sequence[Mapping[str, Any]], processed_only: bool
) -> dict[str, Any]:
    """Means of J, F and stability over objects; shares and calibration over (image, object) pairs; sums."""
    steady = [entry["stability"] for entry in objects]
    pairs = sum(entry["pairs"] for entry in steady)
    joined = Stability(
        mean(entry["answers"] for entry in steady), mean(entry["truth"] for entry in steady), pairs
    )
    switches = [entry["identity_switches"] for entry in objects if entry["identity_switches"] is not None]
    return {
        **{key: rounded(mean(entry[key] for entry in objects), 2) for key in ("J", "F", "JF")},
        **_pooled(tracks, processed_only),
        **{
            key: _spread([value for entry in objects for value in entry[key]])
            for key in ("time_to_lost_s", "time_to_recover_s")
        },
        "identity_switches": sum(switches) if switches else None,
        "stability": _stability_json(joined),
    }


def _pooled(tracks: Sequence[ObjectTrack], processed_only: bool) -> dict[str, Any]:
    """The measures that are counted over (image, object) pairs."""
    pairs = [(track.id, one) for track in tracks for one in _view(track, processed_only)]
    seen = [one for _, one in pairs]
    visible, hidden = [one.visible for one in seen], [not one.visible for one in seen]
    elsewhere = [one.matched not in (None, own) for own, one in pairs]
    # A repeated answer adds no information: calibration uses processed images only, in both views.
    answered = [one for one in seen if one.processed]
    return {
        "frames": len(seen),
        "frames_visible": sum(visible),
        "frames_hidden": sum(hidden),
        "missed": rounded(share([not one.tracking for one in seen], visible)),
        "false_presence": rounded(share([one.tracking for one in seen], hidden)),
        "identity_wrong": rounded(share(elsewhere, visible)),
        "calibration": calibration(
            [one.presence for one in answered], [one.visible for one in answered], "count"
        ),
    }


def _view(track: ObjectTrack, processed_only: bool) -> list[ObjectAnswer]:
    return [one for one in track.answers if one.scored and (one.processed or not processed_only)]


def _stability(seen: Sequence[ObjectAnswer], processed_only: bool) -> Stability:
    if processed_only:
        return stability(
            [one.answer_iou_processed for one in seen], [one.truth_iou_processed for one in seen]
        )
    return stability([one.answer_iou for one in seen], [one.truth_iou for one in seen])


def _curve(track: ObjectTrack) -> dict[str, list[Any]]:
    seen = track.answers
    return {
        "stamp_s": [rounded(one.stamp_s) for one in seen],
        "J": [in_percent(one.j) for one in seen],
        "F": [in_percent(one.f) for one in seen],
        "presence": [rounded(one.presence) for one in seen],
        "state": [None if one.state is None else one.state.name for one in seen],
        "visible": [one.visible if one.scored else None for one in seen],
        "processed": [one.processed for one in seen],
    }


def _stability_json(found: Stability) -> dict[str, Any]:
    return {
        "answers": rounded(found.answers),
        "truth": rounded(found.truth),
        "difference": rounded(found.difference),
        "pairs": found.pairs,
    }


def _spread(times_s: Sequence[float | None]) -> dict[str, Any]:
    there = [value for value in times_s if value is not None]
    return {
        "count": len(times_s),
        "never": len(times_s) - len(there),
        "mean": rounded(mean(there)),
        "max": rounded(max(there)) if there else None,
    }
