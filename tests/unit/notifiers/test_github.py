"""What GitHub is told, what its answers mean, and that requests are as its own description wants them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import github as pygithub
import jsonschema
import pytest
from github.Requester import HTTPSRequestsConnectionClass
from hypothesis import given
from hypothesis import strategies as st

from notifiers.base import HostSettings, Notifier, NotifierError, Outcome, PermanentError, Receipt, RetryableError
from notifiers.github import STATES, GitHubNotifier, api_and_web, message_of, rate_limit_pause, refusal
from tests.unit.notifiers.host import Answer, Host
from tests.unit.notifiers.scene import SHA, TOKEN, Connect, status
from tests.unit.notifiers.subject import Subject, github_app

OPENAPI = Path(__file__).parents[2] / "contract" / "github-openapi-subset.json"
NOW = 1_700_000_000.0
SECONDARY = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."
STATUS: dict[str, Any] = {
    "notifier": GitHubNotifier,
    "states": frozenset({"error", "failure", "pending", "success"}),
    "success": "success",
    "limits": {"description": 140, "context": 255, "target_url": 2048},
}
SUBJECTS = [
    Subject(name="github", scope="'repo:status'", **STATUS),
    Subject(name="github app", scope="'Commit statuses: write'", settings=github_app, **STATUS),
]
EXPECTED = {
    Outcome.QUEUED: "pending",
    Outcome.RUNNING: "pending",
    Outcome.SUCCEEDED: "success",
    Outcome.FAILED: "failure",
    Outcome.TIMED_OUT: "failure",
    Outcome.CANCELLED: "error",
    Outcome.BROKEN: "error",
    Outcome.DELETED: "error",
}


@pytest.fixture(scope="module")
def body_schema() -> dict[str, Any]:
    paths = json.loads(OPENAPI.read_text())["paths"]
    post = paths["/repos/{owner}/{repo}/statuses/{sha}"]["post"]
    schema: dict[str, Any] = post["requestBody"]["content"]["application/json"]["schema"]
    return schema


@pytest.mark.parametrize("outcome", Outcome)
async def test_each_outcome_has_its_state(
    host: Host, github: Notifier, outcome: Outcome, body_schema: dict[str, Any]
) -> None:
    await github.deliver(status(outcome=outcome, description="d" * 500, context="c" * 300))
    sent = host.last.json
    assert sent["state"] == github.state(outcome) == EXPECTED[outcome]
    jsonschema.validate(sent, {**body_schema, "additionalProperties": False})


async def test_what_is_posted(host: Host, github: Notifier) -> None:
    assert await github.deliver(status(repository="acme/service.xyz", ref="main"), memo="7") == Receipt()
    asked = host.last
    assert (asked.method, asked.path) == ("POST", f"/api/v3/repos/acme/service.xyz/statuses/{SHA}")
    assert asked.headers["authorization"] in (f"token {TOKEN}", f"Bearer {TOKEN}")
    assert asked.json == {
        "state": "success",
        "context": "tekton/build",
        "description": "Passed in 2m 14s · 5 tasks",
        "target_url": "https://tekton.example.com/runs/ci/build-1",
    }


async def test_a_path_in_the_url_is_taken_as_it_is(host: Host, connect: Connect) -> None:
    await connect(GitHubNotifier, url=f"{host.url}/proxied/github/").deliver(status())
    assert host.last.path == f"/proxied/github/repos/group/service-xyz/statuses/{SHA}"


async def test_fields_are_cut_and_a_link_that_is_none_is_left_out(host: Host, github: Notifier) -> None:
    await github.deliver(status(context="c" * 300, description="wörd " * 80, target_url="javascript:alert(1)"))
    sent = host.last.json
    assert len(sent["context"]) == 255
    assert sent["description"] == "wörd " * 27 + "wörd…"
    assert "target_url" not in sent


@pytest.mark.parametrize(
    ("code", "headers", "message", "seconds"),
    [
        (403, {"Retry-After": "30"}, "You have triggered an abuse detection mechanism", 30.0),
        (403, {"Retry-After": "1e9"}, SECONDARY, 3600.0),
        (403, {}, SECONDARY, 60.0),
        (429, {}, "", 60.0),
        (429, {}, SECONDARY, 60.0),
        (403, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1"}, "API rate limit exceeded", 0.0),
        (403, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "99999999999"}, "API rate limit exceeded", 3600.0),
        (403, {"x-ratelimit-remaining": "0"}, "API rate limit exceeded", 60.0),
        (503, {"Retry-After": "3"}, "", 3.0),
    ],
)
async def test_a_rate_limit_says_how_long_to_wait(
    host: Host, github: Notifier, code: int, headers: dict[str, str], message: str, seconds: float
) -> None:
    host.default = Answer(code, {"message": message}, headers)
    with pytest.raises(RetryableError) as raised:
        await github.deliver(status())
    assert (raised.value.retry_after, raised.value.status) == (seconds, code)
    assert len(host.asked) == 1


def test_the_reset_time_counts_from_now() -> None:
    headers = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(NOW) + 120)}
    assert rate_limit_pause(403, headers, "", now=NOW) == 121.0
    assert rate_limit_pause(403, {**headers, "x-ratelimit-remaining": "12"}, "", now=NOW) is None
    assert rate_limit_pause(403, {**headers, "x-ratelimit-reset": "soon"}, "", now=NOW) == 60.0


@given(
    st.sampled_from([400, 401, 403, 404, 422, 429, 500]),
    st.dictionaries(
        st.sampled_from(["retry-after", "x-ratelimit-remaining", "x-ratelimit-reset"]), st.text() | st.just("0")
    ),
    st.text(),
)
def test_any_headers_may_come(status: int, headers: dict[str, str], message: str) -> None:
    error = refusal("github.com", status, message, headers, now=NOW)
    assert isinstance(error, NotifierError)
    if isinstance(error, RetryableError) and error.retry_after is not None:
        assert 0 <= error.retry_after <= 3600


@pytest.mark.parametrize(
    ("code", "message", "says"),
    [
        (
            403,
            "Resource not accessible by personal access token",
            r"not accessible.*'repo:status'.*Commit statuses: write",
        ),
        (404, "Not Found", r"Not Found.*'repo:status'.*Commit statuses: write"),
        (422, f"No commit found for SHA: {SHA}", r"No commit found.*pushed to this repository"),
    ],
)
async def test_a_refusal_says_what_to_do(host: Host, github: Notifier, code: int, message: str, says: str) -> None:
    host.default = Answer(code, {"message": message}, {"x-ratelimit-remaining": "4999"})
    with pytest.raises(PermanentError, match=says):
        await github.deliver(status())


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (None, ""),
        ({"data": "plain"}, "plain"),
        (
            {"message": "Validation Failed", "errors": [{"message": "too many"}, {"code": "custom"}, "x", {}]},
            "Validation Failed: too many; custom; x",
        ),
        ({"message": "m", "errors": "odd"}, "m: odd"),
        ({"errors": 7}, "7"),
        ([1], "[1]"),
    ],
)
def test_messages_are_put_together(data: object, text: str) -> None:
    assert message_of(data) == text


@pytest.mark.parametrize(
    ("url", "api", "web"),
    [
        ("https://api.github.com", "https://api.github.com", "https://github.com"),
        ("https://github.com", "https://api.github.com", "https://github.com"),
        ("https://ghe.example.com", "https://ghe.example.com/api/v3", "https://ghe.example.com"),
        ("https://ghe.example.com/api/v3", "https://ghe.example.com/api/v3", "https://ghe.example.com"),
        ("https://api.example.com", "https://api.example.com/api/v3", "https://api.example.com"),
        ("https://octo.ghe.com", "https://api.octo.ghe.com", "https://octo.ghe.com"),
        ("https://api.octo.ghe.com", "https://api.octo.ghe.com", "https://octo.ghe.com"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080/api/v3", "http://127.0.0.1:8080"),
        ("http://127.0.0.1:8080/gh", "http://127.0.0.1:8080/gh", "http://127.0.0.1:8080/gh"),
        ("https://notgithub.com", "https://notgithub.com/api/v3", "https://notgithub.com"),
    ],
)
def test_the_api_is_found_from_the_url(url: str, api: str, web: str) -> None:
    assert api_and_web(url) == (api, web)


def offline(url: str | None = None) -> GitHubNotifier:
    return GitHubNotifier(HostSettings(name="gh", url=url, token="x"))


def test_a_commit_has_its_page() -> None:
    assert offline().commit_url("o/r", "abc") == "https://github.com/o/r/commit/abc"
    assert offline("https://ghe.example.com").commit_url("o/r", "abc") == "https://ghe.example.com/o/r/commit/abc"


@pytest.mark.parametrize("path", ["acme/service", "a/b", "A-1/x.y_z-", "octo_cat/.github", "o/" + "r" * 100])
def test_paths_that_github_can_have(path: str) -> None:
    assert offline().check_repository(path) is None


@pytest.mark.parametrize(
    "path",
    ["", "acme", "acme/", "/x", "a/b/c", "a/..", "a/.", "../x", "-a/b", "a/b.git", "a b/c", "a/b c", "a/b%2e", "a/b?c", "a/b#c",
     "a\\b/c", "a/b\n", "a\n/b", "ü/b", "a/" + "r" * 101, "o/r/../../victim/repo", "a.b/c"],
)  # fmt: skip
def test_paths_that_github_cannot_have(path: str) -> None:
    assert offline().check_repository(path)


@given(st.text(alphabet=st.sampled_from("ab1._-/%?#\\ \n@:ü")))
def test_a_path_that_is_accepted_is_safe_in_a_url(path: str) -> None:
    if offline().check_repository(path) is None:
        owner, name = path.split("/")
        assert not set(path) & set("%?#\\ \n@:ü")
        assert not {"", ".", ".."} & {owner, name}


def test_every_outcome_is_mapped() -> None:
    assert STATES.keys() == set(Outcome)


async def test_others_who_use_pygithub_keep_its_own_connections(host: Host, github: Notifier) -> None:
    await github.deliver(status())
    client = pygithub.Github(base_url="https://example.com", lazy=True)
    assert client.requester._Requester__httpsConnectionClass is HTTPSRequestsConnectionClass  # type: ignore[attr-defined] # private, and what this is about
