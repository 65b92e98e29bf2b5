"""The Git hosts in memory keep the real ones' rules: what is refused there is refused here, in the same words."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest
import yarl
from multidict import CIMultiDict

from listener.demo.github import GitHub
from listener.demo.gitlab import GitLab
from tests.contract import openapi
from tests.scene import GITHUB_PATH, GITLAB_PATH, SHA

OTHER = "0" * 40
GITLAB_HEADERS = {"PRIVATE-TOKEN": "secret-token"}


async def post_gitlab(
    gitlab: GitLab,
    body: dict[str, Any],
    *,
    path: str = GITLAB_PATH,
    sha: str = SHA,
    headers: dict[str, str] | None = None,
) -> tuple[int, Any]:
    url = f"{gitlab.url}/api/v4/projects/{path.replace('/', '%2F')}/statuses/{sha}"
    async with aiohttp.ClientSession() as session:
        target = yarl.URL(url, encoded=True)
        async with session.post(target, json=body, headers=GITLAB_HEADERS if headers is None else headers) as response:
            return response.status, await response.json()


async def post_github(
    github: GitHub, body: dict[str, Any], *, path: str = GITHUB_PATH, sha: str = SHA, token: str = "secret-token"
) -> tuple[int, Any, CIMultiDict[str]]:
    async with aiohttp.ClientSession(github.url) as session:
        headers = {"Authorization": f"token {token}"}
        async with session.post(f"/api/v3/repos/{path}/statuses/{sha}", json=body, headers=headers) as response:
            return response.status, await response.json(), response.headers.copy()


@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        ({"headers": {}}, 401, "401 Unauthorized"),
        ({"headers": {"PRIVATE-TOKEN": "wrong"}}, 401, "401 Unauthorized"),
        ({"path": "group/other"}, 404, "404 Project Not Found"),
        ({"sha": OTHER}, 404, "404 Commit Not Found"),
    ],
)
async def test_gitlab_refuses_strangers_and_what_it_does_not_know(
    gitlab: GitLab, change: dict[str, Any], status: int, message: str
) -> None:
    assert await post_gitlab(gitlab, {"state": "running"}, **change) == (status, {"message": message})


@pytest.mark.parametrize("field", ["name", "description", "target_url", "ref"])
async def test_gitlab_rejects_the_whole_status_for_one_long_field(gitlab: GitLab, field: str) -> None:
    long = "https://x.example.com/" + "x" * 234
    status, body = await post_gitlab(gitlab, {"state": "running", field: long})
    assert (status, body) == (400, {"message": {field: ["is too long (maximum is 255 characters)"]}})
    assert (await post_gitlab(gitlab, {"state": "running", field: long[:255]}))[0] == 201


@pytest.mark.parametrize(
    ("states", "refused"),
    [
        (["pending", "pending"], "Cannot transition status via :enqueue from :pending"),
        (["running", "running"], "Cannot transition status via :run from :running"),
        (["running", "pending"], "Cannot transition status via :enqueue from :running"),
        (["pending", "running", "success"], None),
        (["failed"], None),
        (["success", "running", "failed"], None),  # a finished one is followed by a new one
    ],
)
async def test_gitlab_does_not_enter_a_state_twice(gitlab: GitLab, states: list[str], refused: str | None) -> None:
    answers = [await post_gitlab(gitlab, {"state": state, "name": "tekton/build"}) for state in states]
    assert [status for status, _ in answers[:-1]] == [201] * (len(states) - 1)
    status, body = answers[-1]
    if refused is None:
        assert status == 201
        assert len({answer["pipeline_id"] for _, answer in answers}) == 1
    else:
        assert status == 400
        assert body["message"].startswith(refused)


async def test_gitlab_where_a_finished_status_refuses_everything(gitlab: GitLab) -> None:
    gitlab.strict_finished = True
    await post_gitlab(gitlab, {"state": "success"})
    status, body = await post_gitlab(gitlab, {"state": "running"})
    assert status == 400
    assert body["message"].startswith("Cannot transition status via :run from :success")


async def test_gitlab_knows_a_pipeline_only_for_its_commit(gitlab: GitLab) -> None:
    _, first = await post_gitlab(gitlab, {"state": "running"})
    again = await post_gitlab(gitlab, {"state": "success", "pipeline_id": first["pipeline_id"]})
    assert again[1]["pipeline_id"] == first["pipeline_id"]
    status, body = await post_gitlab(gitlab, {"state": "success", "pipeline_id": 1})
    assert (status, body["message"]) == (404, "404 Pipeline for pipeline_id, sha and ref Not Found")


async def test_githubs_answer_is_one_that_its_description_knows(github: GitHub) -> None:
    status, body, headers = await post_github(github, {"state": "pending", "context": "tekton/build"})
    assert status == 201
    openapi.check_answer("POST", f"/repos/{GITHUB_PATH}/statuses/{SHA}", 201, body)
    assert int(headers["x-ratelimit-remaining"]) == int(headers["x-ratelimit-limit"]) - 1


@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        ({"token": "wrong"}, 401, "Bad credentials"),
        ({"token": "weak"}, 403, "Resource not accessible by personal access token"),
        ({"path": "acme/other"}, 404, "Not Found"),
        ({"sha": OTHER}, 422, f"No commit found for SHA: {OTHER}"),
    ],
)
async def test_github_refuses_strangers_and_what_it_does_not_know(
    github: GitHub, change: dict[str, Any], status: int, message: str
) -> None:
    github.weak_tokens.add("weak")
    answer = await post_github(github, {"state": "pending"}, **change)
    assert (answer[0], answer[1]["message"]) == (status, message)


@pytest.mark.parametrize(
    "body",
    [
        {"state": "running"},
        {"state": "pending", "description": "x" * 141},
        {"state": "pending", "target_url": "ftp://x"},
    ],
)
async def test_github_does_not_validate_what_is_too_long_or_of_another_kind(
    github: GitHub, body: dict[str, Any]
) -> None:
    status, answer, _ = await post_github(github, body)
    assert (status, answer["message"]) == (422, "Validation Failed")


async def test_github_takes_a_thousand_statuses_per_commit_and_context_whatever_its_case(github: GitHub) -> None:
    for number in range(1000):
        assert (await post_github(github, {"state": "pending", "context": ("a", "A")[number % 2]}))[0] == 201
    status, answer, _ = await post_github(github, {"state": "success", "context": "A"})
    assert status == 422
    assert "maximum number of statuses" in answer["errors"][0]["message"]
    assert (await post_github(github, {"state": "success", "context": "b"}))[0] == 201


async def test_github_stops_at_its_limits_and_says_until_when(github: GitHub) -> None:
    github.write_gap = 3600.0
    assert (await post_github(github, {"state": "pending"}))[0] == 201
    status, answer, headers = await post_github(github, {"state": "success"})
    assert status == 403
    assert "secondary rate limit" in answer["message"]
    assert headers["Retry-After"] == "60"
    github.used = github.limit
    status, answer, headers = await post_github(github, {"state": "success"})
    assert status == 403
    assert headers["x-ratelimit-remaining"] == "0"
    assert int(headers["x-ratelimit-reset"]) == github.reset


@pytest.mark.parametrize("host", ["gitlab", "github"])
async def test_the_page_of_a_commit_shows_its_statuses_and_escapes_them(
    gitlab: GitLab, github: GitHub, host: str
) -> None:
    body = {"state": "failed", "name": "tekton/<b>", "description": "<script>", "target_url": "https://l.example.com/x"}
    if host == "gitlab":
        await post_gitlab(gitlab, body)
        url = f"{gitlab.url}/{GITLAB_PATH}/-/commit/{SHA}"
    else:
        await post_github(github, body | {"state": "failure", "context": "tekton/<b>"})
        url = f"{github.url}/{GITHUB_PATH}/commit/{SHA}"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        text = await response.text()
    assert "<script>" not in text
    assert "tekton/&lt;b&gt;" in text
    assert 'href="https://l.example.com/x"' in text
