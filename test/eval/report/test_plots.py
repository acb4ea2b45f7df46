# SPDX-License-Identifier: Apache-2.0
"""Names with any characters in the plots and pages of a report are shown unchanged."""

from __future__ import annotations

import html
import warnings
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from report_pages import check

from sam2_ros.eval.report import plots
from sam2_ros.eval.report.data import (
    Curve,
    EvalReport,
    ReplayReport,
    ReportedObject,
    ReportedRun,
    ReportedSequence,
)
from sam2_ros.eval.report.eval_page import write_eval_page
from sam2_ros.eval.report.replay_page import write_replay_page
from sam2_ros.eval.report.worst_frames import FrameMasks
from sam2_ros.text import readable

CURVE = Curve(
    at=[0.0, 1.0, 2.0],
    j=[50.0, None, 60.0],
    presence=[1.0, -1.0, 1.0],
    state=["TRACKING", "LOST", "TRACKING"],
    visible=[True, False, True],
)


def texts(svg: bytes) -> list[str]:
    """The texts of a plot; raises for a file that is not XML."""
    return [
        (one.text or "").strip()
        for one in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")
    ]


NAMES = [
    ("$\\frac$", "$\\frac$"),
    ("a$b$c_{", "a$b$c_{"),
    ("$x$", "$x$"),
    ("_hidden", "_hidden"),
    ("<script>alert(1)</script>", "<script>alert(1)</script>"),
    ("\"'><img src=x onerror=alert(2)>", "\"'><img src=x onerror=alert(2)>"),
    ("{{ 7 * 7 }}{% raw %}", "{{ 7 * 7 }}{% raw %}"),
    ("a\ud800", "a\\ud800"),
    ("c\udcff", "c\\xff"),
    ("\0", "\\x00"),
    ("a\nb", "a\\nb"),
    ("カップ", "カップ"),
    ("🦖", "🦖"),
    ("%s{}", "%s{}"),
]
HOSTILE = [name for name, _ in NAMES[4:10]]


@pytest.mark.parametrize(("name", "shown"), NAMES)
def test_a_plot_shows_a_name_as_it_is(name: str, shown: str) -> None:
    series = [plots.Series(name, CURVE, "#123456"), plots.Series("other", CURVE, "#654321")]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = texts(plots.curve_svg(name, series, "s"))
        assert found.count(shown) == 3  # title, legend, band of states
        assert any(shown in one for one in texts(plots.histogram_svg([1.0, 2.0], {"p50": 1.5}, name)))


def frames(wanted):
    mask = np.ones((4, 4), bool)
    return {key: FrameMasks(np.zeros((4, 4, 3), np.uint8), {key[0]: mask}, {}) for key in wanted}


def check_page(path: Path, name: str) -> None:
    """Checks that tags in a name are escaped, and that the name is readable on the page."""
    page = check(path)
    text = path.read_text("utf-8")
    assert "<script" not in text
    assert "<img src" not in text
    assert html.escape(readable(name)) in text.replace("&#34;", "&quot;").replace("&#39;", "&#x27;")
    assert readable(name) in page.text


@pytest.mark.parametrize("name", HOSTILE)
def test_the_page_of_an_evaluation_shows_names_as_they_are(name: str, tmp_path: Path) -> None:
    scores = {"J": 50.0, "F": 50.0, "JF": 50.0, "frames": 3}
    objects = [ReportedObject(name, key, 1, scores, CURVE) for key in (name, "other")]
    bins = [{"from": 0.0, "to": 1.0, "frames": 3, "presence": 0.5, "visible": 0.5}]
    summary = {
        **dict.fromkeys(("model", "dataset", "prompt", "device", "split", "precision", "created"), name),
        **scores,
        "fps": 1.0,
        "latency_ms": {},
        "command": [name],
        "versions": {name: name},
        "failed": {name: name},
        "groups": {name: scores, "other": scores},
        "baselines": {name: {**scores, "groups": {name: scores, "other": scores}}},
        "calibration": {"ece": 0.1, "frames": 3, "bins": bins},
    }
    sequence = ReportedSequence(name, name, scores, objects, [1.0, 2.0], {name: 1.0}, {name: {name: 1.0}})
    write_eval_page(tmp_path / "a.html", EvalReport(summary, [sequence]), frames)
    check_page(tmp_path / "a.html", name)


@pytest.mark.parametrize("name", HOSTILE)
def test_the_page_of_a_replay_shows_names_as_they_are(name: str, tmp_path: Path) -> None:
    measures = {
        "JF": 50.0,
        "processed": 3,
        "images_in": 3,
        "latency_ms": {"p50": 1.0, "p95": 1.0, "p99": 1.0},
        "latencies_ms": [1.0, 2.0],
        "latency_meaning": name,
    }
    one = ReportedObject("node", name, 1, {"JF": 50.0}, CURVE, {"curve": {"processed": [True] * 3}})
    summary = {
        **dict.fromkeys(("model", "bag", "topic", "transport", "command", "created", "device"), name),
        "images": 3,
        "duration_s": 1.0,
        "prompts": {"file": name, "objects": {name: {"frame": 0}}},
        "truth": {"source": name, "topic": name},
        "notes": [name],
    }
    write_replay_page(
        tmp_path / "a.html", ReplayReport(summary, [ReportedRun("node", measures, [one])]), frames
    )
    check_page(tmp_path / "a.html", name)
