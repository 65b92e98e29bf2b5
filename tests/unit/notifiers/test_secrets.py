"""The token is in one header of one request, and nowhere else."""

from __future__ import annotations

import subprocess
import sys
import traceback
from pathlib import Path

import pytest

from notifiers.base import HostSettings, Notifier, NotifierError
from tests.unit.notifiers.host import Answer, Host
from tests.unit.notifiers.scene import PACKED, TOKEN, URL, Connect, status, token_of
from tests.unit.notifiers.subjects import KINDS

FAILURES = [
    *(Answer(code, how="echo") for code in (400, 401, 403, 404, 422, 429, 500, 502)),
    Answer(302, b"", {"Location": f"https://x.example.com/?private_token={TOKEN}"}),
    Answer(403, f"{'x' * 290}{TOKEN}"),
    Answer(how="reset"),
    Answer(200, b"<html>"),
    Answer(),
]


@pytest.mark.parametrize("answer", FAILURES, ids=lambda answer: repr(answer)[:40])
async def test_no_failure_tells_the_token(
    host: Host, notifier: Notifier, answer: Answer, everything_logged: pytest.LogCaptureFixture
) -> None:
    host.default = answer
    told = ""
    try:
        await notifier.deliver(status())
    except NotifierError as error:
        told = "".join([str(error), repr(error), *traceback.format_exception(error)])
    assert token_of(host.last) == TOKEN
    logged = everything_logged.text + "".join(repr(record.args) for record in everything_logged.records)
    for hidden in (TOKEN, PACKED):
        assert hidden[:8] not in told, "not even a part of it, where a message was cut"
        assert hidden not in logged


@pytest.mark.parametrize("how", ["hang", "drip"])
async def test_no_timeout_tells_the_token(
    host: Host, connect: Connect, kind: type[Notifier], how: str, everything_logged: pytest.LogCaptureFixture
) -> None:
    host.default = Answer(200, how=how)
    with pytest.raises(NotifierError) as raised:
        await connect(kind, request_timeout=0.2).deliver(status())
    assert TOKEN not in "".join(traceback.format_exception(raised.value)) + everything_logged.text


def test_repr_does_not_tell_the_token(kind: type[Notifier]) -> None:
    settings = HostSettings(name="x", url=URL, token=TOKEN)
    notifier = kind(settings)
    assert TOKEN not in f"{settings!r} {notifier!r} {[repr(value) for value in vars(notifier).values()]}"


def test_the_libraries_print_no_requests_at_debug() -> None:
    modules = ", ".join(sorted({kind.notifier.__module__ for kind in KINDS}))
    code = (
        "import logging; logging.basicConfig(level=logging.DEBUG); logging.getLogger('urllib3').setLevel('ERROR')\n"
        f"import {modules}\n"
        "print([logging.getLogger(n).getEffectiveLevel() for n in ('github.Requester', 'gitlab', 'urllib3.connectionpool')])"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3]
    )
    assert out.stdout.strip() == "[20, 20, 40]"
