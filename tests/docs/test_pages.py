"""The pages fit together and speak of what there is: links, anchors, metrics, keys, options, targets, and the messages that are quoted."""

from __future__ import annotations

import ast
import contextlib
import functools
import io
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

from listener import cli
from listener.config_model import Config
from tests.chart import values_table
from tests.docs import reference
from tests.docs.markdown import ROOT, Page, anchor, page, pages

PAGES = pages()
ours = pytest.mark.parametrize("one", PAGES, ids=str)


@ours
def test_links_lead_somewhere(one: Page) -> None:
    wrong = []
    for link in one.links:
        if re.match(r"[a-z]+:", link):
            continue
        place, _, mark = unquote(link).partition("#")
        path = (one.path.parent / place).resolve() if place else one.path
        if not path.exists() or (mark and path.suffix == ".md" and mark not in Page(path).anchors):
            wrong.append(link)
    assert not wrong


def test_the_index_has_every_page() -> None:
    linked = {link.partition("#")[0] for link in page("docs/README.md").links}
    there = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert there <= linked


def test_anchors_are_those_of_the_hosts() -> None:
    assert anchor("Who may do what") == "who-may-do-what"
    assert anchor("`$(…)` in [texts](x.md), and so on") == "-in-texts-and-so-on"


@ours
def test_a_metric_that_is_named_exists(one: Page) -> None:
    # That the table is right is tested with the service at work, in tests/operations.
    known = set(re.findall(r"^\| `(tekton_listener_\w+)`", page("docs/operations.md").text, re.MULTILINE))
    named = set(re.findall(r"\btekton_listener_[a-z_]+[a-z]\b", one.text))
    assert named <= known


@ours
def test_a_command_line_that_is_named_is_understood(one: Page) -> None:
    wrong = [line for line in _command_lines(one) if not understood(line)]
    assert not wrong


def _command_lines(one: Page) -> Iterator[str]:
    code = [*one.spans, *(line for block in one.blocks for line in block.text.splitlines())]
    for text in code:
        for found in re.finditer(r"(?:^\s*(?:\$ )?|bin/|-- |=\S+ )tekton-listener ([a-z][^|;#`]*)", text):
            yield found[1].partition("…")[0].partition("<")[0].strip()


def understood(line: str) -> bool:
    """Whether ``tekton-listener`` takes these words. An option in brackets counts as given."""
    words = shlex.split(line.replace("[", "").replace("]", ""))
    with contextlib.redirect_stderr(io.StringIO()), contextlib.suppress(SystemExit):
        cli._parser().parse_args(words)
        return True
    return False


def test_a_wrong_command_line_is_noticed() -> None:
    assert understood("check-config FILE --run RUN.yaml")
    assert not understood("check-config FILE --runs RUN.yaml")
    assert not understood("check FILE")


@functools.cache
def _targets() -> frozenset[str]:
    return frozenset(re.findall(r"^([a-z0-9]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@ours
def test_a_make_target_that_is_named_exists(one: Page) -> None:
    code = [*one.spans, *(block.text for block in one.blocks)]
    named = {found for text in code for found in re.findall(r"\bmake ([a-z][a-z0-9]*)\b", text)}
    assert named <= _targets()


@functools.cache
def _keys() -> frozenset[str]:
    """Every key of the configuration, with and without those around it, and of the chart's values."""
    found = set()
    for _, kind, place in reference.SECTIONS:
        above = [part.strip(": ") for part in place.split(":") if part.strip(": ") and not part.strip().isupper()]
        for name in kind.model_fields:
            found |= {name, ".".join([*above, name])}
    found |= {f"config.{name}" for name in found}
    return frozenset(found | {entry.name for entry in values_table.entries()})


def _known(key: str) -> bool:
    return key in _keys() or key.startswith(tuple(f"{name}." for name in values_table.WHOLE))


@ours
def test_a_key_that_is_named_exists(one: Page) -> None:
    tops = {*Config.model_fields} | {entry.name.partition(".")[0] for entry in values_table.entries()}
    wrong = []
    for span in one.spans:
        dotted = re.fullmatch(r"([a-zA-Z_]+)((?:\.[a-zA-Z_]+)+)", span)
        if dotted and dotted[1] in tops and not span.endswith((".yaml", ".py", ".json", ".md")):
            wrong += [] if _known(span) else [span]
        key = re.fullmatch(r"([a-z]+(?:_[a-z]+)+): ?.*", span)  # with an underscore it can be nobody else's
        if key and key[1] not in _keys():
            wrong.append(span)
    assert not [span for span in wrong if span not in _ELSEWHERE]


_ELSEWHERE = {
    "auth.existing_secret", "tekton_pipelines.ns", "deployment.limits", "deployment.requests",  # the original chart's
    "rule_files:",  # Prometheus'
}  # fmt: skip


# Troubleshooting quotes what the code says: code spans with a space that are no command and no configuration.


@functools.cache
def _said() -> tuple[str, ...]:
    """Every text in the code, with … where a value is filled in."""
    found: list[str] = []
    for folder in ("listener", "notifiers"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            found += _texts(path)
    return tuple(found)


def _texts(path: Path) -> Iterator[str]:
    tree = ast.parse(path.read_text())
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if id(node) in docstrings:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield re.sub(r"%(\.\d)?[sdgr]|%[sdrgf]", "…", node.value)
        elif isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values)  # type: ignore[misc]  # its constants are texts


_NO_MESSAGE = re.compile(
    r"(tekton-listener|check-config|kubectl|curl|make|helm|docker|pip|htpasswd|openssl) |[a-z_.]+: \S|.*=|[a-z]+ `|--|-u |tkn |gitlab:"
)


def quoted() -> list[str]:
    """The messages that the page quotes."""
    spans = page("docs/troubleshooting.md").spans
    return [span for span in spans if " " in span and (not _NO_MESSAGE.match(span) or span.startswith("kind apprise"))]


def occurs(message: str) -> bool:
    """Whether a message stands in the code, with … for whatever is filled in."""
    pattern = re.compile(".*".join(re.escape(part.strip()) for part in message.split("…")), re.DOTALL)
    return any(pattern.search(said) for said in _said())


def test_messages_that_are_quoted_are_what_the_code_says() -> None:
    assert len(quoted()) > 30
    assert [message for message in quoted() if not occurs(message)] == []
    assert not occurs("the token was eaten by a grue")


def test_the_reference_is_what_the_types_say() -> None:
    assert reference.DOCUMENT.read_text() == reference.document(), "run: make schema"


def test_every_variable_that_is_read_is_in_the_reference() -> None:
    read = set()
    for path in (ROOT / "listener").rglob("*.py"):
        if "demo" not in path.relative_to(ROOT).parts:
            read |= set(re.findall(r"env(?:iron)?\.get\(\"([A-Z_]+)\"", path.read_text()))
    read -= {"KUBERNETES_SERVICE_HOST"}  # Kubernetes' own
    ours = {name for name in read if not name.startswith("OTEL_")}
    assert ours == {name for name in reference.VARIABLES if not name.startswith("OTEL_")}
    assert {name for name in read if name.startswith("OTEL_")} <= set(re.findall(r"OTEL_\w+", _all_text()))


def _all_text() -> str:
    return "".join(one.text for one in PAGES)
