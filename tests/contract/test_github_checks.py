"""Check runs between the notifier and the GitHub in memory, which keeps the real one's rules, and both within GitHub's description."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from listener.demo.github import GitHub
from notifiers.base import HostSettings, Outcome, PermanentError
from notifiers.github import GitHubNotifier
from notifiers.reports import CheckRun, Comment, CommitStatus, Deployment, Labels, RunDetails
from tests.app_key import APP, key
from tests.contract import openapi
from tests.scene import RECORDINGS, SHA

ACME = "acme/service"
LOG = (RECORDINGS / "logs" / "service-xyz-run-fail1-build-pod.step-compile.log").read_text()
REPORT = CheckRun(
    repository=ACME,
    sha=SHA,
    context="tekton/build",
    outcome=Outcome.QUEUED,
    description="Waiting",
    target_url="https://tekton.example.com/runs/ci/build-1",
    text="| task | took |\n|---|---|\n| build | 41s |\n",
    details=RunDetails(uid="one", started="2026-01-02T03:04:05Z", completed="2026-01-02T03:05:00Z", log_tail=LOG),
)
SAID: dict[str, Any] = {"repository": ACME, "sha": SHA, "context": "c", "outcome": Outcome.FAILED, "description": "d"}
OK: dict[str, Any] = {"name": "x", "head_sha": SHA}
ANNOTATION = {"path": "a.c", "start_line": 1, "end_line": 1, "annotation_level": "failure", "message": "m"}

REFUSED = [
    ({}, 'Invalid request.\n\n"name", "head_sha" weren\'t supplied.'),
    ({**OK, "head_sha": "0" * 40}, f"No commit found for SHA: {'0' * 40}"),
    ({**OK, "status": "done"}, '"done" is not a possible value'),
    ({**OK, "conclusion": "green"}, '"green" is not a possible value'),
    ({**OK, "status": "completed"}, '"conclusion" wasn\'t supplied'),
    ({**OK, "details_url": "javascript:x"}, "Validation Failed"),
    ({**OK, "output": {"title": "t"}}, '"summary" weren\'t supplied'),
    ({**OK, "output": {"title": "t", "summary": "💥" * 16_384}}, "maximum bytesize of 65535"),
    ({**OK, "output": {"title": "t", "summary": "s", "annotations": [ANNOTATION] * 51}}, "No more than 50 items"),
    *(
        ({**OK, "output": {"title": "t", "summary": "s", "annotations": [{**ANNOTATION, **odd}]}}, '"field": "annotations"')
        for odd in ({"start_line": 0}, {"start_column": 3}, {"start_column": 0, "end_column": 0}, {"path": ""}, {"message": ""})
    ),
]  # fmt: skip


@pytest.fixture
async def server() -> AsyncIterator[GitHub]:
    async with GitHub() as github:
        github.add_project(ACME, {SHA: "A commit"})
        github.add_app(APP, key().public, {"acme": 678})
        yield github


@pytest.fixture
async def notifier(server: GitHub, tmp_path: Path) -> AsyncIterator[GitHubNotifier]:
    file = tmp_path / "app.pem"
    file.write_text(key().private)
    notifier = GitHubNotifier(HostSettings(name="x", url=server.url, app_id=APP, private_key_file=file))
    yield notifier
    await notifier.close()


def about(report: CheckRun = REPORT, *, uid: str = "", **fields: Any) -> CheckRun:
    details = dataclasses.replace(report.details, uid=uid) if uid else report.details
    return dataclasses.replace(report, details=details, **fields)


def writes(server: GitHub) -> list[tuple[str, int]]:
    """What was asked for of check runs, each request as GitHub describes it."""
    asked = [entry for entry in server.asked if "/check-runs" in entry.path and entry.method != "GET"]
    for entry in asked:
        openapi.check_request(entry.method, entry.path, entry.body)
    return [(entry.method, entry.status) for entry in asked]


async def ask(server: GitHub, method: str, path: str, *, token: str, body: Any = None) -> tuple[int, Any]:
    """Somebody else asks."""
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        aiohttp.ClientSession(server.url, headers=headers) as session,
        session.request(method, f"/repos/{ACME}{path}", json=body) as answer,
    ):
        return answer.status, await answer.json()


def token(server: GitHub) -> str:
    """The one that the notifier was given last."""
    return next(e.headers["Authorization"] for e in reversed(server.asked) if "/check-runs" in e.path).split()[1]


async def test_a_run_from_beginning_to_end_and_its_rerun(server: GitHub, notifier: GitHubNotifier) -> None:
    memo = None
    for outcome in (Outcome.QUEUED, Outcome.RUNNING, Outcome.FAILED):
        memo = (await notifier.deliver(about(outcome=outcome), memo=memo)).memo
    (check,) = server.checks.all.values()
    assert (check.sha, check.name, check.status, check.conclusion) == (SHA, "tekton/build", "completed", "failure")
    assert (check.started_at, check.completed_at) == (REPORT.details.started, REPORT.details.completed)
    assert [(note["path"], note["start_line"]) for note in check.annotations] == [("src/main.c", 12)]
    memo = (await notifier.deliver(about(uid="two"), memo=memo)).memo
    await notifier.deliver(about(uid="two", outcome=Outcome.SUCCEEDED), memo=memo)
    assert [(c.external_id, c.conclusion) for c in server.checks.all.values()] == [
        ("one", "failure"),
        ("two", "success"),
    ]
    assert writes(server) == [("POST", 201), ("PATCH", 200), ("PATCH", 200), ("POST", 201), ("PATCH", 200)]
    assert [c.external_id for c in server.checks.latest(ACME, SHA)] == ["two"]


async def test_answers_are_as_githubs_description_says(server: GitHub, notifier: GitHubNotifier) -> None:
    memo = (await notifier.deliver(about(outcome=Outcome.FAILED))).memo
    number = (memo or "").split()[0]
    answers = {
        ("GET", f"/check-runs/{number}"): None,
        ("GET", f"/commits/{SHA}/check-runs"): None,
        ("POST", "/check-runs"): OK,
        ("PATCH", f"/check-runs/{number}"): {"status": "in_progress"},
    }
    for (method, path), body in answers.items():
        status, answer = await ask(server, method, path, token=token(server), body=body)
        openapi.check_answer(method, f"/repos/{ACME}{path}", status, answer)
    _, found = await ask(server, "GET", f"/commits/{SHA}/check-runs?check_name=tekton/build", token=token(server))
    assert [(c["name"], c["status"], c["conclusion"]) for c in found["check_runs"]] == [
        ("tekton/build", "in_progress", None)
    ]
    _, annotations = await ask(server, "GET", f"/check-runs/{number}/annotations", token=token(server))
    assert annotations[0]["message"] == "expected ; before }"


async def test_the_worst_that_a_run_can_say_is_taken(server: GitHub, notifier: GitHubNotifier) -> None:
    lines = [f"wörd/💥.c:{n}:{n}: error: {'💥' * 20_000}" for n in range(1, 9)] + ["a.c:1:0: note: x\x00"]
    worst = dataclasses.replace(
        REPORT,
        outcome=Outcome.BROKEN,
        text="💥\n" * 60_000,
        description="💥" * 999,
        context="💥" * 999,
        target_url="x:",
        details=RunDetails(uid="u" * 300, started="x", completed="0001-01-01T00:00:00Z", log_tail="\n".join(lines)),
    )
    memo = (await notifier.deliver(worst)).memo
    await notifier.deliver(worst, memo=memo)
    assert writes(server) == [("POST", 201), ("PATCH", 200)]
    (check,) = server.checks.all.values()
    assert (len(check.annotations), check.conclusion) == (8, "failure")
    assert (check.summary or "").endswith("4 of 9 messages are shown at their lines.\n")


async def test_a_check_run_that_is_gone_or_anothers_is_made_anew(server: GitHub, notifier: GitHubNotifier) -> None:
    memo = (await notifier.deliver(about())).memo
    (check,) = server.checks.all.values()
    check.app_id += 1
    memo = (await notifier.deliver(about(outcome=Outcome.RUNNING), memo=memo)).memo
    server.checks.all.clear()
    await notifier.deliver(about(outcome=Outcome.SUCCEEDED), memo=memo)
    assert writes(server) == [("POST", 201), ("PATCH", 403), ("POST", 201), ("PATCH", 404), ("POST", 201)]
    assert [c.conclusion for c in server.checks.all.values()] == ["success"]


async def test_a_token_is_refused_and_what_to_do_is_said(server: GitHub) -> None:
    notifier = GitHubNotifier(HostSettings(name="x", url=server.url, token="secret-token"))
    with pytest.raises(
        PermanentError, match=r"answered 403: You must authenticate via a GitHub App\.; .*'Checks: write'"
    ):
        await notifier.deliver(about())
    await notifier.close()


@pytest.mark.parametrize(
    ("report", "has", "lacks"),
    [
        (REPORT, {"checks": "write"}, "Checks: write"),
        (
            CommitStatus(**SAID),
            {"statuses": "write"},
            "Commit statuses: write",
        ),
        (
            Comment(**SAID, text="It broke", details=RunDetails(uid="one")),
            {"pull_requests": "write"},
            "Pull requests: write",
        ),
        (Labels(**SAID, add=("broken",)), {"pull_requests": "write"}, "Pull requests: write"),
        (Deployment(**SAID, environment="staging"), {"deployments": "write"}, "Deployments: write"),
    ],
    ids=["check run", "status", "comment", "labels", "deployment"],
)
async def test_an_app_needs_the_permission_for_what_it_says_and_no_other(
    server: GitHub, notifier: GitHubNotifier, report: CommitStatus, has: Mapping[str, str], lacks: str
) -> None:
    app = server.add_app(APP, key().public, {"acme": 678})
    server.pulls.open(ACME, SHA)
    app.permissions = {"metadata": "read", **has}
    await notifier.deliver(report)
    server.apps.expire_tokens()
    app.permissions = {"metadata": "read"}
    with pytest.raises(PermanentError, match=lacks):
        await notifier.deliver(report)


async def test_what_github_refuses(server: GitHub, notifier: GitHubNotifier) -> None:
    await notifier.deliver(about())
    for body, message in REFUSED:
        status, answer = await ask(server, "POST", "/check-runs", token=token(server), body=body)
        assert status == 422, body
        assert message in answer["message"] + json.dumps(answer.get("errors"), ensure_ascii=False)
    assert len(server.checks.all) == 1


async def test_it_is_shown_on_the_commits_page_and_on_one_of_its_own(server: GitHub, notifier: GitHubNotifier) -> None:
    await notifier.deliver(about(outcome=Outcome.FAILED, description="<b>Failed</b>", optional=False))
    await notifier.deliver(about(outcome=Outcome.FAILED, context="tekton/lint", optional=True))
    first = next(iter(server.checks.all))
    async with aiohttp.ClientSession(server.url) as session:
        pages = []
        for path in (
            f"/{ACME}",
            f"/{ACME}/commit/{SHA}",
            f"/{ACME}/runs/{first}",
            f"/{ACME}/runs/1",
            f"/acme/x/runs/{first}",
        ):
            async with session.get(path) as answer:
                pages.append((answer.status, await answer.text()))
    assert [status for status, _ in pages] == [200, 200, 200, 404, 404]
    assert "Some checks were not successful" in pages[1][1]
    assert "tekton/lint" in pages[1][1]
    assert "src/main.c:12:5" in pages[2][1]
    assert "<b>Failed" not in pages[1][1] + pages[2][1]
