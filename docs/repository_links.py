# SPDX-License-Identifier: Apache-2.0
"""Lets pages link to files outside docs/: the same relative link works on a code host and on the built site.

A link to such a file leads to the repository's address, or to the page that includes the file. A link to a file or a
heading that does not exist is a warning, which the strict build turns into an error. Knows nothing of the pages.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from myst_parser.mdit_to_docutils.base import default_slugify
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx.util import logging

_log = logging.getLogger(__name__)
INCLUDES = re.compile(r"(?<=\{include\} )(?:\.\./)+(?=\w)")  # up to the root of the repository


class RepositoryLinks(SphinxTransform):
    """Replaces links that leave docs/; runs before Sphinx resolves links between pages."""

    default_priority = 1  # before downloads are collected

    def apply(self, **arguments: Any) -> None:
        for kind in (addnodes.download_reference, addnodes.pending_xref):
            for node in list(self.document.findall(kind)):
                if node.get("reftype") == "myst":
                    self._replace(node)

    def _replace(self, node: nodes.Element) -> None:
        target, _, heading = str(node["reftarget"]).partition("#")
        if node.get("refdomain") == "doc":
            if not target.startswith("/"):
                return  # a page of the site
            target, heading = (
                f"{target}.md",
                node.get("reftargetid") or "",
            )  # MyST's name of a page outside docs/
        path = self._in_repository(target)
        if path is None:
            return  # a heading of this page, or MyST warns
        name = path.relative_to(self.config.repository_root).as_posix()
        page = self.config.included_pages.get(name)
        if page is None and name.startswith("docs/"):
            page = name.removeprefix("docs/").removesuffix(".md") if path.suffix == ".md" else None
            if page is None:
                return  # a picture or another file for download
        if page is not None:
            self._lead_to_page(node, page, heading)
        else:
            self._lead_to_repository(node, path, name, heading)

    def _in_repository(self, target: str) -> Path | None:
        """The file or folder of a link, relative to the page or to the file that the page includes, or None."""
        root = Path(self.config.repository_root)
        bases = [(root / "docs" / self.env.docname).parent, Path(self.env.doc2path(self.env.docname)).parent]
        bases += [
            (root / name).parent
            for name, page in self.config.included_pages.items()
            if page == self.env.docname
        ]
        for base in bases if target else ():
            path = Path(os.path.normpath(base / target))
            if path.exists() and path != root and path.is_relative_to(root):
                return path
        return None

    def _lead_to_page(self, node: nodes.Element, docname: str, heading: str) -> None:
        link = addnodes.pending_xref(
            refdomain="doc",
            reftarget=docname,
            reftargetid=heading or None,
            refdoc=self.env.docname,
            reftype="myst",
            refexplicit=True,
        )
        link.line, link.source = node.line, node.source
        link += node.children
        node.replace_self(link)

    def _lead_to_repository(self, node: nodes.Element, path: Path, name: str, heading: str) -> None:
        if heading and heading not in headings(path):
            _log.warning(
                "no heading '#%s' in %s", heading, name, location=node, type="myst", subtype="xref_missing"
            )
        kind = "tree" if path.is_dir() else "blob"
        address = f"{self.config.repository_url}/{kind}/main/{name}"
        link = nodes.reference(refuri=f"{address}#{heading}" if heading else address)
        link += [child for inline in node.children for child in (inline.children or [inline])]
        node.replace_self(link)


def headings(markdown: Path) -> set[str]:
    """The anchors of a Markdown file's headings, as code hosts make them."""
    lines = re.sub(
        r"^```.*?^```", "", markdown.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL
    ).splitlines()
    return {default_slugify(line.lstrip("#").strip()) for line in lines if line.startswith("#")}


def resolve_includes(app: Sphinx, docname: str, source: list[str]) -> None:
    """Makes the paths of included files relative to the page in the repository, wherever the site is built."""
    folder = (Path(app.srcdir) / docname).parent
    source[0] = INCLUDES.sub(f"{os.path.relpath(app.config.repository_root, folder)}/", source[0])


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_config_value("repository_url", "", "env", str)
    app.add_config_value("repository_root", "", "env", str)
    app.add_config_value("included_pages", {}, "env", dict)
    app.add_transform(RepositoryLinks)
    app.connect("source-read", resolve_includes)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
