"""What every notifier does with every kind of answer: exactly one request, and an error that says what to do."""

from __future__ import annotations

import pytest
import requests

from notifiers.base import Notifier, NotifierError, PermanentError, Receipt, RetryableError
from tests.unit.notifiers.host import Answer, Host
from tests.unit.notifiers.scene import PACKED, SHA, TOKEN, Connect, status, token_of
from tests.unit.notifiers.subjects import KINDS


def failure(code: int, message: str = "no") -> Answer:
    return Answer(code, {"message": message})


# Statuses without a word of their own are in test_contract.
MEANINGS: list[tuple[Answer, type[NotifierError]]] = [
    (failure(413), PermanentError),
    (failure(520), RetryableError),
    *((Answer(code, b"", {"Location": "https://elsewhere.example.com/x"}), PermanentError) for code in (300, 303)),
    (Answer(302, b""), PermanentError),
    (Answer(301, b"", {"Location": "http://[broken"}), PermanentError),
    (Answer(502, b"<html><title>502 Bad Gateway</title></html>"), RetryableError),
    (Answer(404, b"<html>nothing</html>"), PermanentError),
    (Answer(200, b"<html><title>Sign in</title></html>"), RetryableError),
    (Answer(200, b"", {"Content-Type": "application/json"}), RetryableError),
    (Answer(200, ["a", "list"]), RetryableError),
    (Answer(422, b"{not json", {"Content-Type": "application/json"}), PermanentError),
    (Answer(422, ["a", "list"]), PermanentError),
    (Answer(422, 7), PermanentError),
    (Answer(422, {"message": {"name": ["is bad", 7]}, "errors": "odd"}), PermanentError),
    (Answer(403, {"message": None, "errors": [None, 3, {"code": None}]}), PermanentError),
    (Answer(500, "text"), RetryableError),
    (Answer(422, b"\xff\xfe\x00", {"Content-Type": "application/json; charset=nonsense"}), PermanentError),
    (Answer(400, b"zipped?", {"Content-Encoding": "gzip"}), RetryableError),
    (Answer(200, b"x" * (2 << 20)), RetryableError),
    (Answer(how="reset"), RetryableError),
    (Answer(200, how="cut"), RetryableError),
]


async def test_no_content_is_delivered_only_where_the_host_says_so(host: Host, notifier: Notifier) -> None:
    host.default = Answer(204, b"")
    if type(notifier) in {subject.notifier for subject in KINDS if subject.takes_no_content}:
        await notifier.deliver(status())
    else:
        with pytest.raises(RetryableError):
            await notifier.deliver(status())
    assert len(host.asked) == 1


@pytest.mark.parametrize(("answer", "error"), MEANINGS, ids=lambda value: repr(value)[:60])
async def test_one_request_and_the_right_error(
    host: Host, notifier: Notifier, answer: Answer, error: type[NotifierError]
) -> None:
    host.default = answer
    with pytest.raises(NotifierError) as raised:
        await notifier.deliver(status(), memo="12")
    assert type(raised.value) is error
    assert len(host.asked) == 1
    assert "localhost" in str(raised.value)
    assert "\n" not in str(raised.value)


async def test_one_request_and_a_retryable_error_when_nothing_comes(
    host: Host, connect: Connect, kind: type[Notifier]
) -> None:
    host.default = Answer(how="hang")
    notifier = connect(kind, request_timeout=0.2)
    with pytest.raises(RetryableError, match=r"localhost:\d+: no answer in time"):
        await notifier.deliver(status())
    assert len(host.asked) == 1


@pytest.mark.parametrize(
    "answer",
    [
        Answer(),
        Answer(body=b""),
        Answer(body=b"<html>"),
        Answer(body=[1]),
        Answer(body=b"{cut", headers={"Content-Type": "application/json"}),
        Answer(how="cut"),
        Answer(headers={"x-ratelimit-remaining": "many", "x-ratelimit-limit": "?", "x-ratelimit-reset": "soon"}),
        Answer(headers={"Transfer-Encoding": "chunked", "Content-Length": ""}, body=b"2\r\n{}\r\n0\r\n\r\n"),
    ],
    ids=repr,
)
async def test_created_is_delivered_whatever_comes_with_it(host: Host, notifier: Notifier, answer: Answer) -> None:
    host.default = answer
    receipt = await notifier.deliver(status())
    assert not receipt.already_there
    assert len(host.asked) == 1


async def test_a_failure_after_a_success_is_not_taken_for_one(host: Host, notifier: Notifier) -> None:
    await notifier.deliver(status())
    host.default = Answer(how="reset")
    with pytest.raises(RetryableError):
        await notifier.deliver(status())


async def test_a_failure_before_the_request_is_not_taken_for_the_success_before(
    host: Host, notifier: Notifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    await notifier.deliver(status())

    def stumble(*_: object) -> None:
        raise KeyError("the library's own defect")

    monkeypatch.setattr(requests.Session, "prepare_request", stumble)
    with pytest.raises(RetryableError, match=r"could not be made \(KeyError\)"):
        await notifier.deliver(status())
    assert len(host.asked) == 1


@pytest.mark.parametrize(
    ("code", "headers", "seconds"),
    [
        (429, {"Retry-After": "17"}, 17.0),
        (503, {"Retry-After": "0"}, 0.0),
        (503, {"Retry-After": "-5"}, 0.0),
        (429, {"Retry-After": "999999999"}, 3600.0),
        (429, {"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT"}, 3600.0),
        (503, {"Retry-After": "Sun, 06 Nov 1994 08:49:37 GMT"}, 0.0),
        (503, {"Retry-After": "soon"}, None),
        (503, {}, None),
    ],
)
async def test_the_host_says_how_long_to_wait(
    host: Host, notifier: Notifier, code: int, headers: dict[str, str], seconds: float | None
) -> None:
    host.default = Answer(code, {"message": "slow down"}, headers)
    with pytest.raises(RetryableError) as raised:
        await notifier.deliver(status())
    assert (raised.value.retry_after, raised.value.status) == (seconds, code)


async def test_a_redirect_is_refused_and_names_where_it_leads_without_path_and_query(
    host: Host, notifier: Notifier
) -> None:
    host.default = Answer(307, b"", {"Location": "https://user:pw@evil.example.com:8443/steal?token=abc"})
    with pytest.raises(PermanentError, match=r"https://evil\.example\.com:8443") as raised:
        await notifier.deliver(status())
    assert not any(part in str(raised.value) for part in ("steal", "abc", "pw"))
    assert raised.value.status == 307


async def test_no_token_goes_to_where_a_redirect_points(host: Host, notifier: Notifier) -> None:
    async with Host() as stranger:
        for code in (301, 302, 307, 308):
            host.default = Answer(code, b"", {"Location": f"{stranger.url}{'/api/v4/x'}"})
            with pytest.raises(PermanentError):
                await notifier.deliver(status())
        assert stranger.connections == 0
    assert len(host.asked) == 4


@pytest.mark.parametrize(
    "wrong",
    [
        {"repository": "group/../victim"},
        {"repository": "group/x?y"},
        {"repository": "one"},
        {"sha": "main"},
        {"sha": SHA.upper()},
        {"sha": SHA + "\n"},
        {"sha": f"{SHA[:-3]}/.."},
    ],
    ids=repr,
)
async def test_what_cannot_be_is_refused_without_a_request(
    host: Host, notifier: Notifier, wrong: dict[str, str]
) -> None:
    with pytest.raises(PermanentError):
        await notifier.deliver(status(**wrong))
    assert host.connections == 0


async def test_an_odd_memo_does_no_harm(host: Host, notifier: Notifier) -> None:
    for memo in ("", "x", "-1", "٣", "9" * 5000, "1 or 1"):
        assert isinstance(await notifier.deliver(status(), memo=memo), Receipt)
    assert all("pipeline_id" not in asked.json for asked in host.asked)


@pytest.mark.parametrize("kept", [True, False], ids=["keep-alive", "closed by the host"])
async def test_connections_are_used_again(host: Host, notifier: Notifier, *, kept: bool) -> None:
    if not kept:
        host.default = Answer(headers={"Connection": "close"})
    for _ in range(5):
        await notifier.deliver(status())
    assert {asked.connection for asked in host.asked} == ({1} if kept else {1, 2, 3, 4, 5})


async def test_an_error_keeps_the_connection(host: Host, notifier: Notifier) -> None:
    host.script.extend([failure(404), failure(500), Answer(302, b"moved")])
    for _ in range(3):
        with pytest.raises(NotifierError):
            await notifier.deliver(status())
    await notifier.deliver(status())
    assert host.connections == 1


async def test_nothing_is_said_to_a_host_that_is_not_there(connect: Connect, kind: type[Notifier]) -> None:
    async with Host() as gone:
        url = gone.url
    notifier = connect(kind, url=url)
    with pytest.raises(RetryableError, match="cannot be reached \\(Connection refused\\)"):
        await notifier.deliver(status())


async def test_a_name_that_does_not_resolve(connect: Connect, kind: type[Notifier]) -> None:
    notifier = connect(kind, url="https://no-such-host.invalid")
    with pytest.raises(RetryableError, match=r"no-such-host\.invalid: its name cannot be resolved"):
        await notifier.deliver(status())


async def test_the_token_travels_in_its_header_only(host: Host, notifier: Notifier) -> None:
    await notifier.deliver(status())
    asked = host.last
    assert token_of(asked) == TOKEN
    assert len({"private-token", "authorization"} & set(asked.headers)) == 1
    elsewhere = [value for name, value in asked.headers.items() if name not in ("private-token", "authorization")]
    assert not any(hidden in "".join([*elsewhere, asked.path, asked.body.decode()]) for hidden in (TOKEN, PACKED))
