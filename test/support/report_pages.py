# SPDX-License-Identifier: Apache-2.0
"""Parses a report: tags, headings, tables, links, pictures."""

from __future__ import annotations

import base64
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np

EMPTY = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """One report.

    Attributes:
        rows: cells of every table row, by the label of its box.
        pictures: alt text -> media type and bytes.
        captions: of the figures, in order.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.unbalanced: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.sources: list[str] = []
        self.headings: list[str] = []
        self.headers_without_scope = 0
        self.rows: dict[str, list[list[str]]] = {}
        self.pictures: dict[str, tuple[str, bytes]] = {}
        self.captions: list[str] = []
        self.text = ""
        self._into: list[str] | None = None
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if tag not in EMPTY:
            self.open.append(tag)
        if "id" in given:
            self.ids.append(given["id"])
        self.links += [given["href"]] if "href" in given else []
        self.sources += [given[name] for name in ("src", "srcset", "data", "poster") if name in given]
        if tag == "div" and given.get("role") == "region":
            self.rows[given["aria-label"]] = []
        if tag == "th":
            self.headers_without_scope += given.get("scope") not in ("row", "col")
        if tag == "tr":
            list(self.rows.values())[-1].append([])
        if tag in ("th", "td"):
            self._begin(list(self.rows.values())[-1][-1])
        if tag in ("h1", "h2", "h3"):
            self._begin(self.headings)
        if tag == "figcaption":
            self._begin(self.captions)
        if tag == "img":
            head, _, content = given["src"].partition(";base64,")
            assert given["alt"] not in self.pictures, "two pictures have one text"
            self.pictures[given["alt"]] = (head.removeprefix("data:"), base64.b64decode(content))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.unbalanced.append(tag)
        if tag in ("th", "td", "h1", "h2", "h3", "figcaption"):
            self._into = None

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text += data
        if self._into is not None:
            self._into[-1] += data.replace("\u00a0", " ")

    def _begin(self, into: list[str]) -> None:
        into.append("")
        self._into = into


def check(path: Path) -> Page:
    """Asserts what holds for every report, and returns the parsed page."""
    page = Page(path)
    assert page.open == []
    assert page.unbalanced == []
    assert len(page.ids) == len(set(page.ids))
    assert all(link[0] == "#" and link[1:] in page.ids for link in page.links)
    assert all(source.startswith("data:") for source in page.sources)
    style = path.read_text(encoding="utf-8").partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style
    assert page.headers_without_scope == 0
    assert all(page.pictures)  # none without a text
    for kind, content in page.pictures.values():
        if kind == "image/svg+xml":
            assert ElementTree.fromstring(content).tag.endswith("svg")
        else:
            assert cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) is not None
    assert path.stat().st_size < 10e6
    return page
