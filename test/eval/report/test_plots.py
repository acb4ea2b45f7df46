"""Names of any kind in the plots and pages of a report: shown as they are, and no name ends a report."""

from __future__ import annotations

import warnings
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from sam2_ros.eval.report import page, plots
from sam2_ros.eval.report.data import Curve

CURVE = Curve(
    at=[0.0, 1.0, 2.0],
    j=[50.0, None, 60.0],
    presence=[1.0, -1.0, 1.0],
    state=["TRACKING", "LOST", "TRACKING"],
    visible=[True, False, True],
)


def texts(svg: bytes) -> list[str]:
    """What a browser shows of a plot; fails for a file that is no XML."""
    return [
        (one.text or "").strip()
        for one in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")
    ]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("$\\frac$", "$\\frac$"),
        ("a$b$c_{", "a$b$c_{"),
        ("$x$", "$x$"),
        ("_hidden", "_hidden"),
        ("<script>alert(1)</script>", "<script>alert(1)</script>"),
        ("a\ud800", "a\\ud800"),
        ("c\udcff", "c\\xff"),
        ("\0", "\\x00"),
        ("a\nb", "a\\nb"),
        ("カップ", "カップ"),
        ("🦖", "🦖"),
        ("%s{}", "%s{}"),
    ],
)
def test_a_name_is_shown_as_it_is(name: str, shown: str, tmp_path: Path) -> None:
    series = [plots.Series(name, CURVE, "#123456"), plots.Series("other", CURVE, "#654321")]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = texts(plots.curve_svg(name, series, "s"))
        assert found.count(shown) == 3  # title, legend, band of states
        assert any(shown in one for one in texts(plots.histogram_svg([1.0, 2.0], {"p50": 1.5}, name)))
    body = page.paragraph(name) + page.facts({name: name}) + page.image("image/png", b"x", name, name)
    page.write_page(tmp_path / "a.html", name, name, body, [], [])
    text = (tmp_path / "a.html").read_text("utf-8")
    assert "<script" not in text
    assert page.text_html(name) in text
