"""What is right and what is not: pure functions from what was seen to the list of what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from e2e.catalogue import Expected, Source
from e2e.witness import Seen

_LINE: Final = re.compile(rb"\[([^\]]+) : ([^\]]+)\] (.*)", re.DOTALL)
#: What Tekton's entrypoint may print of its own accord where a step does not run.
_TEKTONS: Final = re.compile(rb"(?:\d{4}/\d\d/\d\d \d\d:\d\d:\d\d [^\n]*\n)*")
_SHORT: Final = 130  # characters of a description that every host shows
_LONG: Final = 5.0  # seconds


def status_problems(
    shown: Sequence[str], description: str, states: Sequence[str], sentence: str, *, took: float
) -> list[str]:
    """``shown``: the states that a host was given, in order; ``took``: seconds that the run went on for."""
    problems = []
    if not shown:
        return ["no status arrived"]
    if list(shown) != [state for state in states if state in shown]:
        problems.append(f"states came as {', '.join(shown)}; the order is {', '.join(states)}, each once")
    if shown[-1] != states[-1]:
        problems.append(f"the last state is {shown[-1]}, not {states[-1]}")
    if took >= _LONG and len(shown) < 2:
        problems.append(f"the run went on for {took:.0f} s, and nothing was shown before its end")
    if not _described(sentence, description):
        problems.append(f"the description is {description!r}, not like {sentence!r}")
    return problems


def _described(sentence: str, description: str) -> bool:
    """Whether it fits; one that was cut (it ends with an ellipsis) as far as it goes."""
    if re.fullmatch(sentence, description, re.DOTALL):
        return True
    return description.endswith("…") and len(description) >= _SHORT


def log_problems(expected: Expected, stream: bytes, witnessed: Mapping[Source, Sequence[Seen]]) -> list[str]:
    """A log from its first line to its verdict, against what the scripts print and what the witness read."""
    texts, notes, strange = take_apart(stream)
    problems = [f"a line with neither a prefix nor '# ': {line[:100]!r}" for line in strange]
    for source, text in expected.printed.items():
        if not _is(texts.get(source, b""), text):
            problems.append(f"{_name(source)} is {_short(texts.get(source, b''))}, not {_short(text)}")
    for source, parts in witnessed.items():
        problems += _against_witness(source, texts.get(source, b""), parts)
    for source, text in texts.items():
        if source not in expected.printed and source not in witnessed and not _TEKTONS.fullmatch(text):
            problems.append(f"{_name(source)} is in the log, and nobody printed it: {_short(text)}")
    problems += [f"no line '# {note}'" for note in expected.notes if not any(re.fullmatch(note, n) for n in notes)]
    verdict = notes[-1] if notes else ""
    if not verdict.startswith(f"verdict: {expected.ending[2]} ("):
        problems.append(f"the last line is {verdict!r}, not the verdict {expected.ending[2]}")
    return problems


def _against_witness(source: Source, text: bytes, parts: Sequence[Seen]) -> list[str]:
    if all(part.whole for part in parts):
        wanted = b"".join(_ended(part.data) for part in parts)
        if text != wanted:
            return [f"{_name(source)} is {_short(text)}, and the pod printed {_short(wanted)}"]
        return []
    missing = [part for part in parts if part.data and part.data not in text]
    return [f"{_name(source)} lacks what {part.pod} printed: {_short(part.data)}" for part in missing]


def same_log_problems(first: bytes, second: bytes) -> list[str]:
    """Two readings of one log: the same of each step, whatever order parallel ones came in, and the same verdict."""
    (one, notes, _), (other, others, _) = take_apart(first), take_apart(second)
    problems = [
        f"{_name(source)} was {_short(one.get(source, b''))}, and is {_short(other.get(source, b''))} now"
        for source in sorted({*one, *other})
        if one.get(source) != other.get(source)
    ]
    if notes[-1:] != others[-1:]:
        problems.append(f"the verdict was {notes[-1:]}, and is {others[-1:]} now")
    return problems


def take_apart(stream: bytes) -> tuple[dict[Source, bytes], list[str], list[bytes]]:
    """What each step printed; the listener's own lines that do not just pass the time, without ``# ``; what is neither."""
    texts: dict[Source, bytes] = {}
    notes, strange = [], []
    for line in stream.split(b"\n")[:-1]:
        if match := _LINE.fullmatch(line):
            source = match[1].decode(), match[2].decode()
            texts[source] = texts.get(source, b"") + match[3] + b"\n"
        elif not line.startswith(b"# "):
            strange.append(line)
        elif not line.startswith(b"# ... "):
            notes.append(line[2:].decode(errors="replace"))
    return texts, notes, strange


def _is(text: bytes, wanted: bytes | re.Pattern[bytes]) -> bool:
    return text == _ended(wanted) if isinstance(wanted, bytes) else wanted.fullmatch(text) is not None


def _ended(text: bytes) -> bytes:
    """With a newline at its end, as the next prefix needs one."""
    return text if text.endswith(b"\n") or not text else text + b"\n"


def _name(source: Source) -> str:
    return f"[{source[0]} : {source[1]}]"


def _short(text: bytes | re.Pattern[bytes]) -> str:
    raw = text if isinstance(text, bytes) else text.pattern
    return repr(raw) if len(raw) < 120 else f"{raw[:60]!r} … {raw[-40:]!r} ({len(raw)} bytes)"
