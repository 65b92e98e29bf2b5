"""What was asked for as text for a reviewer: Markdown, a section for each run.

Of each thing that a run tells (its status, a task's, the comment, …) its states stand in one line, and below it the last request: the
method and path, the fields as YAML, and the texts as what they are. Left out is what another time would be another: ports, ids.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import yaml

from listener.demo.githost import Asked
from notifiers.comment_text import HEAD
from tests.golden.telling import RUNS, Told, writes
from tests.scene import SHA

_PORT = re.compile(r"http://127\.0\.0\.1:\d+")
_NUMBER = re.compile(r"/(check-runs|deployments|merge_requests|notes|issues|comments|issues/comments)/\d+")
_SECTION = re.compile(
    r"<!-- tekton-listener begin (\w+) .*? -->\n\n(.*?)\n\n<!-- tekton-listener end \1 -->", re.DOTALL
)
_LONG = 100  # columns of YAML

Body = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chapter:
    """One file."""

    file: str
    title: str
    place: str  #: by the name of ``telling.tell``
    about: str  #: a sentence for the reader
    belongs: Callable[[Asked], bool]
    thing: Callable[[Told, Asked, Body], str]  #: what a request is about, within a run
    state: Callable[[Body], str]
    sentence: str = ""  #: the field with the sentence: all that is shown of a task, but for what is Markdown
    markdown: tuple[str, ...] = ()  #: fields that are shown as what they are
    left_out: tuple[str, ...] = ()


def written(chapter: Chapter, told: Told) -> str:
    """The file's text."""
    parts = [f"# {chapter.title}", chapter.about]
    for run in RUNS:
        parts.append(f"## {run}")
        found = [asked for asked in writes(told.requests[run]) if chapter.belongs(asked)]
        parts += _things(chapter, told, run, found) or ["Nothing is told."]
    return "\n\n".join(parts) + "\n"


def _things(chapter: Chapter, told: Told, run: str, found: Iterable[Asked]) -> list[str]:
    things: dict[str, list[tuple[Asked, Body]]] = {}
    for asked in found:
        body = json.loads(_PORT.sub("https://git.example.com", asked.body.decode()) or "{}")
        things.setdefault(chapter.thing(told, asked, body), []).append((asked, body))
    parts = []
    for name in sorted(things):
        states = " → ".join(dict.fromkeys(filter(None, (chapter.state(body) for _, body in things[name]))))
        asked, body = things[name][-1]
        assert asked.status < 300, (run, asked)
        head = ": ".join(filter(None, (name, states)))
        if name.startswith("task ") and chapter.sentence:
            parts += [f"**{head}**: {_flat(body)[chapter.sentence]}", *_markdown(chapter, run, body)]
        else:
            parts += [*([f"**{head}**"] if head else []), _fields(chapter, asked, body), *_markdown(chapter, run, body)]
    return parts


def _fields(chapter: Chapter, asked: Asked, body: Body) -> str:
    shown = {name: value for name, value in _flat(body).items() if name not in (*chapter.markdown, *chapter.left_out)}
    path = _NUMBER.sub(r"/\1/{number}", unquote(asked.path)).replace(SHA, "{sha}")
    fields = yaml.safe_dump(shown, allow_unicode=True, sort_keys=False, width=_LONG) if shown else ""
    return f"```yaml\n{asked.method} {path}\n{fields.replace(SHA, '{sha}')}```"


def _markdown(chapter: Chapter, run: str, body: Body) -> list[str]:
    texts = [str(_flat(body).get(name) or "").replace("\r\n", "\n") for name in chapter.markdown]
    return [_section_of(text, run) if text.startswith(HEAD) else text for text in texts if text]


def _flat(body: Body) -> Body:
    """Objects in objects with dots."""
    flat: Body = {}
    for name, value in body.items():
        if isinstance(value, dict):
            flat |= {f"{name}.{inner}": found for inner, found in _flat(value).items()}
        else:
            flat[name] = value
    return flat


def _section_of(comment: str, run: str) -> str:
    """Of the one comment, what is said of ``run``."""
    (found,) = [text for _, text in _SECTION.findall(comment) if f"/service-xyz-run-{run}`" in text]
    return str(found)
