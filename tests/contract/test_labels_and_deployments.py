"""Labels and deployments as the notifiers say them, to Git hosts in memory that keep the real ones' rules."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from listener.demo.githost import HostFault
from listener.demo.github import GitHub
from listener.demo.gitlab import GitLab
from notifiers.base import HostSettings, Notifier, Outcome, PermanentError, RetryableError
from notifiers.github import GitHubNotifier
from notifiers.gitlab import GitLabNotifier
from notifiers.reports import CommitStatus, Deployment, Labels, RunDetails
from tests.contract import openapi
from tests.scene import GITHUB_PATH, GITLAB_PATH, SHA

OTHER = "0" * 40
URL = "https://staging.example.com/"
LOG = "https://l.example.com/runs/ci/deploy-1"


@contextlib.asynccontextmanager
async def connected(kind: type[Notifier], url: str, **settings: Any) -> AsyncIterator[Notifier]:
    notifier = kind(HostSettings(**{"name": "here", "url": url, "token": "secret-token", **settings}))
    try:
        yield notifier
    finally:
        await notifier.close()


@pytest.fixture
async def to_github(github: GitHub) -> AsyncIterator[Notifier]:
    async with connected(GitHubNotifier, github.url) as notifier:
        yield notifier


@pytest.fixture
async def to_gitlab(gitlab: GitLab) -> AsyncIterator[Notifier]:
    async with connected(GitLabNotifier, gitlab.url) as notifier:
        yield notifier


def deployment(path: str, outcome: Outcome, **fields: Any) -> Deployment:
    given: dict[str, Any] = {
        "repository": path,
        "sha": SHA,
        "context": "tekton/deploy",
        "outcome": outcome,
        "description": "word " * 60,
        "target_url": LOG,
        "ref": "main",
        "environment": "staging",
        "environment_url": URL,
        "details": RunDetails(uid="run-1"),
        **fields,
    }
    return Deployment(**given)


def labels(path: str, **fields: Any) -> Labels:
    return Labels(
        repository=path, sha=SHA, context="tekton/build", outcome=Outcome.SUCCEEDED, description="Passed", **fields
    )


async def told(notifier: Notifier, *reports: CommitStatus) -> list[str | None]:
    """All reports, each with the memo of the one before it."""
    memo: str | None = None
    memos: list[str | None] = []
    for report in reports:
        memo = (await notifier.deliver(report, memo=memo)).memo
        memos.append(memo)
    return memos


STORY = (Outcome.QUEUED, Outcome.RUNNING, Outcome.SUCCEEDED)


def check_requests(github: GitHub) -> None:
    """Every request is one that GitHub knows."""
    for asked in github.asked:
        if asked.method == "POST":
            openapi.check_request(asked.method, asked.path, asked.body)
        elif "/pulls" not in asked.path:
            openapi.operation(asked.method, asked.path)


async def test_github_shows_the_states_of_one_deployment_although_the_runs_own_status_is_not_green(
    github: GitHub, to_github: Notifier
) -> None:
    status = CommitStatus(
        repository=GITHUB_PATH, sha=SHA, context="tekton/deploy", outcome=Outcome.RUNNING, description=""
    )
    await to_github.deliver(status)
    await told(to_github, *(deployment(GITHUB_PATH, outcome) for outcome in STORY))
    (deployed,) = github.deployments.of(GITHUB_PATH, SHA)
    assert [said.state for said in deployed.statuses] == ["queued", "in_progress", "success"]
    assert (deployed.environment, deployed.ref, deployed.production) == ("staging", SHA, False)
    last = deployed.statuses[-1]
    assert (last.log_url, last.environment_url, len(last.description)) == (LOG, URL, 140)
    check_requests(github)


async def test_github_retires_the_deployment_before_and_the_one_that_was_overtaken(
    github: GitHub, to_github: Notifier
) -> None:
    await told(
        to_github,
        *(deployment(GITHUB_PATH, outcome) for outcome in STORY),
        deployment(GITHUB_PATH, Outcome.RUNNING, details=RunDetails(uid="run-2")),
        deployment(GITHUB_PATH, Outcome.SUCCEEDED, details=RunDetails(uid="run-3")),
    )
    assert [deployed.state for deployed in github.deployments.all] == ["inactive", "inactive", "success"]
    check_requests(github)


async def test_githubs_answers_are_ones_that_its_documentation_knows(github: GitHub) -> None:
    pull = github.pulls.open(GITHUB_PATH, SHA)
    repository = f"/repos/{GITHUB_PATH}"
    made = {"ref": SHA, "auto_merge": False, "required_contexts": []}
    asked: list[tuple[str, str, Any, int]] = [
        ("POST", f"{repository}/deployments", made, 201),
        ("POST", f"{repository}/deployments", made | {"auto_merge": True}, 202),
        ("POST", f"{repository}/deployments", made | {"ref": OTHER}, 422),
        ("POST", f"{repository}/deployments/1/statuses", {"state": "success", "log_url": LOG}, 201),
        ("POST", f"{repository}/deployments/1/statuses", {"state": "cancelled"}, 422),
        ("POST", f"{repository}/deployments/1/statuses", {"state": "success", "description": "x" * 141}, 422),
        ("POST", f"{repository}/deployments/9/statuses", {"state": "success"}, 404),
        ("GET", f"{repository}/deployments/1/statuses", None, 200),
        ("GET", f"{repository}/deployments", None, 200),
        ("POST", f"{repository}/issues/{pull.number}/labels", {"labels": ["a", "b"]}, 200),
        ("POST", f"{repository}/issues/{pull.number}/labels", {"labels": ["x" * 51]}, 422),
        ("GET", f"{repository}/issues/{pull.number}/labels", None, 200),
        ("DELETE", f"{repository}/issues/{pull.number}/labels/a", None, 200),
        ("DELETE", f"{repository}/issues/{pull.number}/labels/a", None, 404),
        ("POST", f"{repository}/statuses/{SHA}", {"state": "pending"}, 201),
        ("POST", f"{repository}/deployments", {"ref": SHA, "auto_merge": False}, 409),
    ]
    headers = {"Authorization": "token secret-token"}
    async with aiohttp.ClientSession(github.url, headers=headers) as session:
        for method, path, body, status in asked:
            async with session.request(method, path, json=body) as response:
                answer = await response.json()
                assert response.status == status, (method, path, body, answer)
                openapi.check_answer(method, path, status, answer)


@pytest.mark.parametrize("lost", [HostFault(accept_then_hang=True, times=1), HostFault(status=502, times=1)])
async def test_a_deployment_is_not_made_twice_when_githubs_answer_is_lost(github: GitHub, lost: HostFault) -> None:
    github.faults.append(lost)
    async with connected(GitHubNotifier, github.url, request_timeout=0.3) as notifier:
        with pytest.raises(RetryableError):
            await notifier.deliver(deployment(GITHUB_PATH, Outcome.RUNNING))
        await notifier.deliver(deployment(GITHUB_PATH, Outcome.RUNNING))
    assert [deployed.state for deployed in github.deployments.all] == ["in_progress"]


async def test_gitlab_shows_the_states_of_one_deployment(gitlab: GitLab, to_gitlab: Notifier) -> None:
    memos = await told(to_gitlab, *(deployment(GITLAB_PATH, outcome) for outcome in STORY))
    (deployed,) = gitlab.deployments.of(GITLAB_PATH, SHA)
    assert (deployed.status, deployed.ref, deployed.tag, deployed.environment.name) == (
        "success",
        "main",
        False,
        "staging",
    )
    assert deployed.environment.external_url == URL
    assert memos[-1] == f"{deployed.number} done run-1"
    writes = [(asked.method, asked.status) for asked in gitlab.asked]
    assert writes == [("POST", 201), ("PUT", 400), ("PUT", 200), ("PUT", 200)]  # running twice is "there already"


async def test_gitlab_takes_the_commit_for_a_branch_that_is_gone(gitlab: GitLab, to_gitlab: Notifier) -> None:
    await to_gitlab.deliver(deployment(GITLAB_PATH, Outcome.CANCELLED, ref="feature/merged"))
    assert [(deployed.ref, deployed.status) for deployed in gitlab.deployments.all] == [(SHA, "canceled")]


async def test_gitlab_ends_the_deployment_that_was_overtaken(gitlab: GitLab, to_gitlab: Notifier) -> None:
    later = RunDetails(uid="run-2")
    await told(
        to_gitlab,
        deployment(GITLAB_PATH, Outcome.RUNNING),
        deployment(GITLAB_PATH, Outcome.FAILED, details=later),
    )
    assert [deployed.status for deployed in gitlab.deployments.all] == ["canceled", "failed"]


@pytest.mark.parametrize("lost", [HostFault(accept_then_hang=True, times=1), HostFault(status=502, times=1)])
async def test_a_deployment_is_not_made_twice_when_gitlabs_answer_is_lost(gitlab: GitLab, lost: HostFault) -> None:
    gitlab.faults.append(lost)
    async with connected(GitLabNotifier, gitlab.url, request_timeout=0.3) as notifier:
        with pytest.raises(RetryableError):
            await notifier.deliver(deployment(GITLAB_PATH, Outcome.RUNNING))
        await notifier.deliver(deployment(GITLAB_PATH, Outcome.RUNNING))
    assert [deployed.status for deployed in gitlab.deployments.all] == ["running"]


async def test_refusals_say_what_to_do(
    gitlab: GitLab, github: GitHub, to_gitlab: Notifier, to_github: Notifier
) -> None:
    gitlab.deployments.protected.add("staging")
    with pytest.raises(PermanentError, match=r"403 Forbidden; .*protected environment"):
        await to_gitlab.deliver(deployment(GITLAB_PATH, Outcome.RUNNING))
    with pytest.raises(PermanentError, match=r"The commit does not exist.*only to a fork"):
        await to_gitlab.deliver(deployment(GITLAB_PATH, Outcome.RUNNING, sha=OTHER, environment="qa"))
    with pytest.raises(PermanentError, match=r"No ref found.*only to a fork"):
        await to_github.deliver(deployment(GITHUB_PATH, Outcome.RUNNING, sha=OTHER))
    github.weak_tokens.add("weak")
    github.pulls.open(GITHUB_PATH, SHA)
    async with connected(GitHubNotifier, github.url, token="weak") as weak:
        with pytest.raises(PermanentError, match="'Deployments: write'"):
            await weak.deliver(deployment(GITHUB_PATH, Outcome.RUNNING))
        with pytest.raises(PermanentError, match="'Pull requests: write'"):
            await weak.deliver(labels(GITHUB_PATH, add=("passed",)))


NAMES = ("state::failed", "a/b", "is it? #1", "50%", "50%2F", "größe 🚀", "a+b&c=d", "~x'\"")


async def test_github_has_the_labels_that_were_asked_for_and_keeps_all_others(
    github: GitHub, to_github: Notifier
) -> None:
    pull = github.pulls.open(GITHUB_PATH, SHA, labels=["bug", "Running"])
    other = github.pulls.open(GITHUB_PATH, OTHER, labels=["running"])
    await to_github.deliver(labels(GITHUB_PATH, add=("passed",), remove=("running",)))
    assert (pull.labels, other.labels) == (["bug", "passed"], ["running"])
    check_requests(github)
    await to_github.deliver(labels(GITHUB_PATH, add=NAMES))
    assert pull.labels == ["bug", "passed", *NAMES]
    await to_github.deliver(labels(GITHUB_PATH, remove=NAMES))
    assert pull.labels == ["bug", "passed"]


@pytest.mark.parametrize("paid", [False, True])
async def test_gitlab_has_the_labels_that_were_asked_for_and_keeps_all_others(
    gitlab: GitLab, to_gitlab: Notifier, paid: bool
) -> None:
    gitlab.labels.paid = paid
    found = gitlab.merge_requests.open(GITLAB_PATH, SHA, labels=["bug", "ci::running"])
    await to_gitlab.deliver(labels(GITLAB_PATH, add=("ci::passed",), remove=("ci::running", "ci::failed")))
    assert found.labels == ["bug", "ci::passed"]
    names = [name for name in NAMES if "::" not in name]
    await to_gitlab.deliver(labels(GITLAB_PATH, add=tuple(names)))
    assert found.labels == ["bug", "ci::passed", *names]
    await to_gitlab.deliver(labels(GITLAB_PATH, remove=tuple(names)))
    assert found.labels == ["bug", "ci::passed"]
    assert [asked.method for asked in gitlab.asked].count("PUT") == 3


async def test_a_commits_page_shows_its_deployments_and_labels_and_escapes_them(
    gitlab: GitLab, github: GitHub, to_gitlab: Notifier, to_github: Notifier
) -> None:
    github.pulls.open(GITHUB_PATH, SHA, labels=["<b>"])
    gitlab.merge_requests.open(GITLAB_PATH, SHA, labels=["<b>"])
    await to_github.deliver(deployment(GITHUB_PATH, Outcome.SUCCEEDED, environment="<i>", description="<script>"))
    await to_gitlab.deliver(deployment(GITLAB_PATH, Outcome.SUCCEEDED))
    pages = [f"{github.url}/{GITHUB_PATH}/commit/{SHA}", f"{gitlab.url}/{GITLAB_PATH}/-/commit/{SHA}"]
    async with aiohttp.ClientSession() as session:
        for page in pages:
            async with session.get(page) as response:
                text = await response.text()
            assert "Deployments" in text
            assert "&lt;b&gt;" in text
            assert f'href="{URL}"' in text
            assert not [tag for tag in ("<b>", "<i>", "<script>") if tag in text]
