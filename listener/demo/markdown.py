"""Markdown as the Git hosts in memory show it: as much of it as the listener writes, and no more.

Paragraphs, bold, emphasis, code, code blocks, tables, links to http(s), ``<details>``, ``<sub>``, hidden comments. Everything else stays text, so
nothing that a run brings can become HTML of this page.
"""

from __future__ import annotations

import re
from typing import Final

from markupsafe import Markup, escape

_COMMENT: Final = re.compile(r"<!--.*?-->\n?", re.DOTALL)
_FENCE: Final = re.compile(r" {0,3}(`{3,}|~{3,})[^`]*$")
_OPEN: Final = re.compile(r"<details><summary>(.*)</summary>")
_RULE: Final = re.compile(r"\|?(\s*:?-+:?\s*\|)+\s*(:?-+:?)?\s*")
_CELLS: Final = re.compile(r"(?<!\\)\|")
_TEXT: Final = r"(?:\\.|[^\\])"
_INLINE: Final = re.compile(
    rf"\\(?P<plain>[!-/:-@\[-`{{-~])|(?P<ticks>`+)(?P<code>.+?)(?<!`)(?P=ticks)(?!`)|\*\*(?P<bold>{_TEXT}+?)\*\*"
    rf"|\*(?P<italic>{_TEXT}+?)\*|\[(?P<text>(?:\\.|[^\]\\])*)\]\((?P<url>https?://[^\s()<>]+)\)"
    r"|<sub>(?P<sub>.*?)</sub>|&(?P<entity>amp|lt|gt|quot);",
    re.DOTALL,
)
_ENTITIES: Final = {"amp": "&", "lt": "<", "gt": ">", "quot": '"'}
_TAGS: Final = {"bold": "strong", "italic": "em", "sub": "sub", "code": "code"}


def render(text: str | None) -> Markup:
    """``text`` as HTML."""
    html, opened, block, fence = Markup(), 0, list[str](), ""
    for line in [*_COMMENT.sub("", text or "").split("\n"), ""]:
        word = line.strip()
        if fence and word != fence:
            block.append(line)
        elif fence:
            html, block, fence = html + _tag("pre", "\n".join(block)), [], ""
        elif word and word != "</details>" and not (found := _OPEN.fullmatch(word) or _FENCE.match(line)):
            block.append(line)
        else:
            html, block = html + _paragraph(block), []
            if word == "</details>":
                html, opened = html + Markup("</details>") * bool(opened), max(0, opened - 1)
            elif word and found and found.re is _OPEN:
                html, opened = html + Markup("<details>") + _tag("summary", _inline(found[1])), opened + 1
            elif word and found:
                fence = found[1]
    rest = _tag("pre", "\n".join(block).rstrip("\n")) if fence else Markup()
    return html + rest + Markup("</details>") * opened


def _tag(name: str, content: str) -> Markup:
    return Markup("<{0}>{1}</{0}>").format(name, content)


def _paragraph(lines: list[str]) -> Markup:
    if len(lines) < 2 or not _RULE.fullmatch(lines[1]):
        return _tag("p", Markup("<br>").join(map(_inline, lines))) if lines else Markup()
    rows = [
        _tag("tr", Markup().join(_tag("td" if number else "th", _inline(cell.strip())) for cell in _cells(line)))
        for number, line in enumerate((lines[0], *lines[2:]))
    ]
    return _tag("table", _tag("thead", rows[0]) + _tag("tbody", Markup().join(rows[1:])))


def _cells(line: str) -> list[str]:
    return _CELLS.split(line.strip().removeprefix("|").removesuffix("|"))


def _inline(text: str) -> Markup:
    html, position = Markup(), 0
    for found in _INLINE.finditer(text):
        html += escape(text[position : found.start()])
        position, kind = found.end(), found.lastgroup or ""
        if kind in ("plain", "entity"):
            html += escape(_ENTITIES.get(found[kind], found[kind]))
        elif kind == "url":
            html += Markup('<a href="{}">{}</a>').format(found["url"], _inline(found["text"]))
        else:
            html += _tag(_TAGS[kind], found["code"] if kind == "code" else _inline(found[kind]))
    return html + escape(text[position:])
