# SPDX-License-Identifier: Apache-2.0
"""Compares two runs object by object and gives a verdict in one sentence.

Gets two summaries; does not know tables or exit statuses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sam2_ros.errors import UserError
from sam2_ros.text import counted

from .paired_bootstrap import LEAST_UNITS, LEVEL, PairedDifference, paired_difference
from .summaries import ObjectKey, RunSummary, read_summary, runs_of


@dataclass(frozen=True)
class Metric:
    """The title of a score, and whether higher is better. All are in percent or points."""

    title: str
    higher_is_better: bool = True


METRICS: Mapping[str, Metric] = {
    "JF": Metric("J&F"),
    "J": Metric("J"),
    "F": Metric("F"),
    "IoU": Metric("IoU"),
    "decay": Metric("decay", higher_is_better=False),
    "absent": Metric("absent"),
    "false_presence": Metric("false presence", higher_is_better=False),
    "missed": Metric("missed", higher_is_better=False),
}


@dataclass(frozen=True)
class ObjectPair:
    """The score of one object in both runs."""

    key: ObjectKey
    a: float
    b: float

    @property
    def difference(self) -> float:
        return self.b - self.a


@dataclass(frozen=True)
class Comparison:
    """Everything that `sam2-ros compare` shows.

    Attributes:
        pairs: the objects that both runs scored, in A's order.
        only_in_a, only_in_b: objects that only one run scored; they are left out.
        found: mean and interval of B - A over all pairs.
        unlike_task, unlike_setup: settings that differ -> (value in A, value in B).
    """

    a: RunSummary
    b: RunSummary
    metric: str
    pairs: tuple[ObjectPair, ...]
    only_in_a: tuple[ObjectKey, ...]
    only_in_b: tuple[ObjectKey, ...]
    found: PairedDifference
    unlike_task: Mapping[str, tuple[str, str]]
    unlike_setup: Mapping[str, tuple[str, str]]

    @property
    def sign(self) -> int:
        """1 if higher is better, else -1."""
        return 1 if METRICS[self.metric].higher_is_better else -1

    @property
    def worse_by(self) -> float:
        """Points by which B is worse than A on average; negative if it is better."""
        return round(-self.sign * self.found.mean, 6)

    @property
    def significantly_worse_by(self) -> float | None:
        """Least loss within the interval: B is worse by at least this many points. None without a usable interval."""
        if self.found.trusted is None:
            return None
        return round(min(-self.sign * bound for bound in self.found.trusted), 6)

    @property
    def failed_in_b(self) -> tuple[str, ...]:
        """Sequences that A scored and B failed on."""
        scored = {sequence for sequence, _ in self.a.scores}
        return tuple(name for name in self.b.failed if name in scored)

    def verdict(self) -> str:
        """Verdict on B: `same`, `better`, `worse`, or `unknown` (no significant difference)."""
        if not any(pair.difference for pair in self.pairs):
            return "same"
        if self.found.trusted is None or self.found.trusted[0] <= 0 <= self.found.trusted[1]:
            return "unknown"
        return "better" if self.sign * self.found.mean > 0 else "worse"

    def sentence(self) -> str:
        """The verdict as one sentence."""
        title, found, verdict = METRICS[self.metric].title, self.found, self.verdict()
        objects, groups = counted(found.pairs, "object"), len(self.by_sequence())
        if self.a.kind != "replay" and groups != found.pairs:
            objects += f" of {counted(groups, self.sequence_word())}"
        if verdict == "same":
            return f"A and B score the same {title}, {objects}."
        if verdict in ("better", "worse") and found.interval is not None:
            near, far = sorted(abs(bound) for bound in found.interval)
            return (
                f"B is {verdict} by {abs(found.mean):.1f} points {title} [{near:.1f}, {far:.1f}], {objects}."
            )
        interval = "" if found.interval is None else f" [{found.interval[0]:.1f}, {found.interval[1]:.1f}]"
        measured = f"B - A = {found.mean:+.1f} points {title}{interval}, {objects}"
        if found.trusted is not None:
            return f"No significant difference: {measured}."
        drawn = counted(found.units, self.sequence_word() if found.clustered else "object")
        return f"Too few to judge: {drawn}, at least {LEAST_UNITS} are needed: {measured}."

    def sequence_word(self) -> str:
        """The word for what contains the objects."""
        return {"photographs": "photograph", "bags": "bag"}.get(self.a.kind, "sequence")

    def method(self) -> str:
        """How the interval was computed, as a sentence; empty without an interval."""
        if self.found.interval is None:
            return ""
        drawn = counted(self.found.units, self.sequence_word() if self.found.clustered else "object")
        whole = " with all their objects" if self.found.clustered else ""
        return (
            f"{100 * LEVEL:.0f} % interval of the mean over objects: paired bootstrap, "
            f"{drawn}{whole} drawn with replacement."
        )

    def by_sequence(self) -> dict[str, list[ObjectPair]]:
        """The pairs of each sequence, in A's order."""
        grouped: dict[str, list[ObjectPair]] = {}
        for pair in self.pairs:
            grouped.setdefault(pair.key[0], []).append(pair)
        return grouped

    def by_group(self) -> dict[str, list[ObjectPair]]:
        """The pairs of each group of sequences; empty if the dataset has no groups."""
        grouped: dict[str, list[ObjectPair]] = {}
        for pair in self.pairs:
            if group := self.a.groups.get(pair.key[0]):
                grouped.setdefault(group, []).append(pair)
        return grouped

    def speed(self) -> dict[str, tuple[float, float]]:
        """The speeds that both runs measured: name -> (A's, B's)."""
        return {
            name: (value, self.b.speed[name]) for name, value in self.a.speed.items() if name in self.b.speed
        }

    def as_dict(self) -> dict[str, Any]:
        """The comparison as `--json` prints it."""
        return {
            "a": str(self.a.path),
            "b": str(self.b.path),
            "kind": self.a.kind,
            "metric": self.metric,
            **_means(self.pairs),
            "interval": self.found.interval and [round(bound, 3) for bound in self.found.interval],
            "resampled": f"{self.sequence_word()}s" if self.found.clustered else "objects",
            "units": self.found.units,
            "verdict": self.verdict(),
            "sentence": self.sentence(),
            "sequences": {
                name: {**_means(pairs), "per_object": {pair.key[1]: _means([pair]) for pair in pairs}}
                for name, pairs in self.by_sequence().items()
            },
            "groups": {name: _means(pairs) for name, pairs in self.by_group().items()},
            "only_in_a": ["/".join(key) for key in self.only_in_a],
            "only_in_b": ["/".join(key) for key in self.only_in_b],
            "failed_in_b": list(self.failed_in_b),
            "speed": {
                name: {"A": a, "B": b, "ratio": round(b / a, 4) if a else None}
                for name, (a, b) in self.speed().items()
            },
            "unlike_task": {name: list(both) for name, both in self.unlike_task.items()},
            "unlike_setup": {name: list(both) for name, both in self.unlike_setup.items()},
        }


def compare_files(path_a: Path, path_b: Path, metric: str = "", run: str = "") -> Comparison:
    """Reads two summaries and compares them. Raises UserError.

    `metric`: one of `METRICS`; empty = J&F (photographs: IoU). `run`: which run of two replays; empty = the first of
    `RUNS` that both have.
    """
    both_runs = [runs_of(path) for path in (path_a, path_b)]
    if not run and all(both_runs):
        shared = [name for name in both_runs[0] if name in both_runs[1]]
        if not shared:
            raise UserError(
                f"'{path_a}' has the runs {', '.join(both_runs[0])} and '{path_b}' {', '.join(both_runs[1])}: "
                "expected at least one in common"
            )
        run = shared[0]
    elif run and not all(both_runs):
        raise UserError(f"--run {run} is for two summaries of `sam2-ros replay`: leave it out")
    elif not run:
        run = next((runs[0] for runs in both_runs if runs), "")
    return compare_runs(read_summary(path_a, run), read_summary(path_b, run), metric)


def compare_runs(a: RunSummary, b: RunSummary, metric: str = "") -> Comparison:
    """Compares two summaries. Raises UserError if they have no scored object in common."""
    if a.kind != b.kind:
        raise UserError(
            f"'{a.path}' is {_NAMES[a.kind]} and '{b.path}' {_NAMES[b.kind]}: two of one kind expected"
        )
    metric = metric or ("IoU" if a.kind == "photographs" else "JF")
    if metric not in METRICS:
        raise UserError(f"--metric {metric} given, one of {', '.join(METRICS)} expected")
    scored_a, scored_b = _scored(a, metric), _scored(b, metric)
    pairs = tuple(ObjectPair(key, value, scored_b[key]) for key, value in scored_a.items() if key in scored_b)
    if not pairs:
        raise UserError(
            f"'{a.path}' and '{b.path}' have no object with {METRICS[metric].title} in common: runs over the same "
            "sequences expected"
        )
    return Comparison(
        a,
        b,
        metric,
        pairs,
        only_in_a=tuple(key for key in scored_a if key not in scored_b),
        only_in_b=tuple(key for key in scored_b if key not in scored_a),
        found=paired_difference([pair.difference for pair in pairs], [pair.key[0] for pair in pairs]),
        unlike_task=_unlike(a.task, b.task),
        unlike_setup=_unlike(a.setup, b.setup),
    )


_NAMES = {
    "eval": "an evaluation on videos",
    "photographs": "an evaluation on photographs",
    "replay": "a replay",
    "bags": "a replay of several bags",
}


def mean_of(pairs: Sequence[ObjectPair]) -> tuple[float, float]:
    """Means of A and of B."""
    return float(np.mean([pair.a for pair in pairs])), float(np.mean([pair.b for pair in pairs]))


def _scored(run: RunSummary, metric: str) -> dict[ObjectKey, float]:
    values = {key: one.get(metric) for key, one in run.scores.items()}
    return {key: float(value) for key, value in values.items() if value is not None}


def _unlike(a: Mapping[str, str], b: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    names = [*a, *(name for name in b if name not in a)]
    both = {name: (a.get(name, "not given"), b.get(name, "not given")) for name in names}
    return {name: (ours, theirs) for name, (ours, theirs) in both.items() if ours != theirs}


def _means(pairs: Sequence[ObjectPair]) -> dict[str, Any]:
    a, b = mean_of(pairs)
    return {"objects": len(pairs), "A": round(a, 3), "B": round(b, 3), "difference": round(b - a, 3)}
