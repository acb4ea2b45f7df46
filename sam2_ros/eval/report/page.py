"""The parts of a report that is one HTML file and loads nothing: document, tables, figures, the numbers that matter.

Knows HTML and how the reports look; does not know what they report.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sam2_ros.atomic_write import atomic_write
from sam2_ros.engine.text import readable

# Contrasts on the page's ground: ink 15:1, quiet text 6:1. Widths: text to 72 rem, wide tables scroll in a box of
# their own, with a shadow where there is more, so that the page itself never scrolls sideways.
_STYLE = """
:root { color-scheme: light; --ground: #fbfaf7; --ink: #1b222c; --quiet: #56606d; --line: #dcd8ce; --tint: #0b6171;
  --wash: #e3eef0; --bad: #9c2a1c; }
* { box-sizing: border-box; }
html { scroll-behavior: smooth; -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 16px/1.55 "Inter", "Segoe UI", system-ui,
  -apple-system, "Noto Sans", sans-serif; }
main, header { max-width: 72rem; margin: 0 auto; padding: 0 clamp(1rem, 4vw, 2.5rem); }
header { padding-top: clamp(1.75rem, 5vw, 3.5rem); }
h1, h2, .hero b { font-family: "Iowan Old Style", "Charter", "Source Serif 4", Georgia, "Noto Serif", serif;
  font-weight: 600; letter-spacing: -.01em; }
h1 { font-size: clamp(1.55rem, 4.5vw, 2.2rem); line-height: 1.2; margin: .2rem 0 .6rem; overflow-wrap: anywhere; }
h2 { font-size: 1.35rem; line-height: 1.3; margin: 0 0 .6rem; }
h3 { font-size: 1rem; font-weight: 650; margin: 1.6rem 0 .6rem; overflow-wrap: anywhere; }
section { margin-top: 3rem; padding-top: 1.4rem; border-top: 1px solid var(--line); }
p { margin: .4rem 0 .9rem; max-width: 46rem; overflow-wrap: anywhere; }
.over { color: var(--tint); font-size: .82rem; font-weight: 650; letter-spacing: .06em; margin: 0; }
.note, figcaption, .facts dt, .hero span { color: var(--quiet); font-size: .88rem; }
.hero { display: flex; flex-wrap: wrap; gap: 1.2rem 2.6rem; align-items: flex-end; margin: 1.6rem 0 0; padding: 0;
  list-style: none; }
.hero li { display: flex; flex-direction: column-reverse; }
.hero b { font-size: 1.5rem; line-height: 1.15; font-variant-numeric: tabular-nums lining-nums; }
.hero li.first b { font-size: clamp(3.4rem, 11vw, 5rem); line-height: .95; color: var(--tint); }
.hero li.first { margin-right: .6rem; }
.hero small { font-size: .55em; font-weight: 500; margin-left: .15em; }
nav ul { display: flex; flex-wrap: wrap; gap: .3rem 1.3rem; padding: 0; margin: 2rem 0 0; list-style: none;
  font-size: .92rem; }
a { color: var(--tint); text-underline-offset: .2em; }
a:focus-visible, .scroll:focus-visible { outline: 2px solid var(--tint); outline-offset: 3px; }
.scroll { overflow-x: auto; margin: .8rem 0; background:
  linear-gradient(to left, #fbfaf700, var(--ground) 70%) left / 2rem 100% no-repeat local,
  linear-gradient(to right, #fbfaf700, var(--ground) 70%) right / 2rem 100% no-repeat local,
  linear-gradient(to right, #1b222c33, #1b222c00) left / .7rem 100% no-repeat scroll,
  linear-gradient(to left, #1b222c33, #1b222c00) right / .7rem 100% no-repeat scroll; }
table { border-collapse: collapse; font-size: .92rem; min-width: 100%; }
caption { text-align: left; color: var(--quiet); font-size: .88rem; padding-bottom: .5rem; }
th, td { padding: .42rem .9rem .42rem 0; text-align: left; vertical-align: baseline; white-space: nowrap; }
th:last-child, td:last-child { padding-right: 0; }
td.long { white-space: normal; min-width: 16rem; overflow-wrap: anywhere; }
thead th { color: var(--quiet); font-weight: 600; font-size: .84rem; border-bottom: 1.5px solid var(--ink); }
tbody th { font-weight: 500; }
tbody tr { border-bottom: 1px solid var(--line); }
.number { text-align: right; font-variant-numeric: tabular-nums lining-nums; padding-left: 1.1rem; padding-right: 0; }
tr.part th { padding-left: 1.3rem; color: var(--quiet); font-weight: 400; }
tr.total { border-bottom: 0; } tr.total th, tr.total td { font-weight: 700; border-top: 1.5px solid var(--ink); }
th.bar { padding-right: .45rem; }
.number + :not(.number) { padding-left: 1.4rem; }
td.bar { background: linear-gradient(to left, var(--wash) var(--share), transparent var(--share)) no-repeat right
  center / 100% 72%; padding-right: .45rem; min-width: 6.5rem; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, var(--least)), 1fr)); gap: 1.6rem
  1.8rem; }
.curves { --least: 26rem; } .frames { --least: 20rem; } .frames.pairs { --least: 26rem; }
figure { margin: 0; min-width: 0; } img { display: block; max-width: 100%; height: auto; }
.frames img { width: 100%; border-radius: 3px; } .curves img { width: 100%; }
figcaption { margin-top: .4rem; overflow-wrap: anywhere; }
.key { display: flex; flex-wrap: wrap; gap: .3rem 1.3rem; padding: 0; margin: 0 0 1rem; list-style: none;
  font-size: .88rem; color: var(--quiet); }
.key i { display: inline-block; width: 1.5rem; height: .62rem; margin-right: .45rem; border-radius: 2px; }
.facts { display: grid; grid-template-columns: minmax(6rem, max-content) minmax(0, 1fr); gap: .35rem 1.4rem; }
.facts dt, .facts dd { margin: 0; } .facts dd { overflow-wrap: anywhere; }
code { font: .88em/1.6 ui-monospace, "SF Mono", "Cascadia Mono", "DejaVu Sans Mono", monospace;
  overflow-wrap: anywhere; }
.alarm { border-left: 4px solid var(--bad); padding: .1rem 0 .1rem 1rem; margin: 1.6rem 0 0; }
.alarm b { color: var(--bad); }
main { padding-bottom: 4rem; }
@media (max-width: 34rem) { td.bar { min-width: 4.6rem; } }
@media print { nav { display: none; } section { break-inside: avoid-page; } .scroll { overflow: visible; } }
"""


@dataclass(frozen=True)
class Cell:
    """One cell. `share`: 0..1 draws a bar behind a number. `long`: text that may wrap."""

    text: str
    number: bool = False
    share: float | None = None
    long: bool = False


@dataclass(frozen=True)
class Row:
    """`kind`: "part" of the row above it, the "total", or neither. The first cell is the row's heading."""

    cells: Sequence[Cell]
    kind: str = ""


@dataclass(frozen=True)
class Section:
    """A part of the page with its heading; `anchor` is what the contents link to."""

    anchor: str
    title: str
    body: str


@dataclass(frozen=True)
class Headline:
    """A number that matters, and what it is. `unit` is set smaller beside it."""

    value: str
    unit: str
    what: str


def text_html(text: str) -> str:
    """Any text as HTML, inside an element or between quotation marks; in one line, and always UTF-8."""
    return html.escape(readable(text))


def write_page(
    path: Path, over: str, title: str, lead: str, headlines: Sequence[Headline], sections: Sequence[Section]
) -> None:
    """Write the document at once, by renaming. `over` stands small above the title; `lead` is HTML below it.

    The first of the headlines is the one number that matters most.
    """
    links = "".join(f'<li><a href="#{part.anchor}">{text_html(part.title)}</a></li>' for part in sections)
    body = "\n".join(
        f'<section id="{part.anchor}" aria-labelledby="{part.anchor}-title">'
        f'<h2 id="{part.anchor}-title">{text_html(part.title)}</h2>\n{part.body}\n</section>'
        for part in sections
    )
    text = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{text_html(title)}</title><style>{_STYLE}</style></head><body>\n"
        f'<header><p class="over">{text_html(over)}</p><h1>{text_html(title)}</h1>\n{lead}\n{_hero(headlines)}\n'
        f'<nav aria-label="Contents"><ul>{links}</ul></nav></header>\n<main>\n{body}\n</main>\n'
        "</body></html>\n"
    )
    with atomic_write(path) as partial:
        partial.write_text(text, encoding="utf-8")


def table(header: Sequence[Cell], rows: Sequence[Row], label: str, caption: str = "") -> str:
    """A table that scrolls in its own box; `label` names the box for those who cannot see it."""
    head = "".join(f'<th{_classes(cell)} scope="col">{text_html(cell.text)}</th>' for cell in header)
    body = "".join(_row(row) for row in rows)
    told = f"<caption>{text_html(caption)}</caption>" if caption else ""
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{text_html(label)}"><table>{told}'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def facts(values: Mapping[str, str], code: Collection[str] = ()) -> str:
    """Names and values, one pair a line; values of the names in `code` are set as commands."""

    def shown(key: str, value: str) -> str:
        return f"<code>{text_html(value)}</code>" if key in code else text_html(value)

    return (
        '<dl class="facts">'
        + "".join(f"<dt>{text_html(key)}</dt><dd>{shown(key, value)}</dd>" for key, value in values.items())
        + "</dl>"
    )


def image(media_type: str, content: bytes, alt: str, caption: str = "") -> str:
    """A figure with the picture inside the file; without a caption the text is for those who cannot see it only."""
    encoded = base64.b64encode(content).decode("ascii")
    told = f"<figcaption>{text_html(caption)}</figcaption>" if caption else ""
    return f'<figure><img alt="{text_html(alt)}" src="data:{media_type};base64,{encoded}">{told}</figure>'


def paragraph(text: str, kind: str = "") -> str:
    """`kind`: "note" for quiet text."""
    return f"<p{_class(kind)}>{text_html(text)}</p>"


def grid(kind: str, figures: Iterable[str]) -> str:
    """`kind`: "curves" (wider) or "frames"."""
    return f'<div class="grid {kind}">' + "\n".join(figures) + "</div>"


def colour_key(colours: Mapping[str, str]) -> str:
    """What each colour means; names -> CSS colours."""
    entries = "".join(
        f'<li><i style="background:{colour}"></i>{text_html(name)}</li>' for name, colour in colours.items()
    )
    return f'<ul class="key">{entries}</ul>'


def number(value: float | None, digits: int = 1, bar: bool = False) -> Cell:
    """A number, right-aligned; `bar`: a percentage with a bar behind it. None: an empty cell."""
    if value is None:
        return Cell("", number=True)
    share = min(max(value / 100, 0.0), 1.0) if bar else None
    rounded = round(value, digits) + 0.0  # no -0.0
    return Cell(f"{rounded:.{digits}f}", number=True, share=share)


def heading(text: str, bar: bool = False) -> Cell:
    """The heading of a column of numbers."""
    return Cell(text, number=True, share=0.0 if bar else None)


def _hero(headlines: Sequence[Headline]) -> str:
    entries = [
        f"<li{_class('' if place else 'first')}><b>{text_html(one.value)}"
        f"<small>{text_html(one.unit)}</small></b><span>{text_html(one.what)}</span></li>"
        for place, one in enumerate(headlines)
    ]
    return f'<ul class="hero">{"".join(entries)}</ul>'


def _row(row: Row) -> str:
    first, *rest = row.cells
    cells = "".join(f"<td{_classes(cell)}>{text_html(cell.text)}</td>" for cell in rest)
    return f'<tr{_class(row.kind)}><th scope="row">{text_html(first.text)}</th>{cells}</tr>'


def _classes(cell: Cell) -> str:
    names = [
        name
        for name, given in (("number", cell.number), ("bar", cell.share is not None), ("long", cell.long))
        if given
    ]
    style = "" if cell.share is None else f' style="--share:{100 * cell.share:.1f}%"'
    return _class(" ".join(names)) + style


def _class(names: str) -> str:
    return f' class="{names}"' if names else ""
