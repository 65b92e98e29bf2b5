"""The comment on a merge/pull request, said by the notifiers to the hosts in memory over sockets, and what is asked for it."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import aiohttp
import pytest
from github import Auth, Github
from gitlab import Gitlab

from listener.demo.githost import GitHost, HostFault
from listener.demo.github import GitHub
from listener.demo.gitlab import GitLab
from notifiers import github_requests, gitlab_requests
from notifiers.base import HostSettings, Notifier, Outcome, PermanentError, Receipt, RetryableError
from notifiers.comment_text import HEAD
from notifiers.github import GitHubNotifier
from notifiers.gitlab import GitLabNotifier
from notifiers.open_requests import OpenRequest
from notifiers.reports import Comment, RunDetails
from tests.contract import openapi
from tests.scene import GITHUB_PATH, GITLAB_PATH, SHA

OTHER = "0" * 40


class Said(Protocol):
    """A comment on either host."""

    id: int
    body: str
    edits: int


@dataclass
class Place:
    """One host with one open request for ``SHA``, in the same words for both."""

    host: GitHost
    kind: type[Notifier]
    path: str
    open: Callable[..., Any]  #: (sha) → another request
    say: Callable[..., Said]  #: (request, login, body)
    request: Any
    said: Callable[[Any], list[Any]]
    closed: str
    trust: set[str]  #: tokens that may edit anybody's comments
    names: dict[str, str]  #: token → login

    def comments(self) -> list[Said]:
        return self.said(self.request)

    def body(self) -> str:
        (comment,) = self.comments()
        return comment.body

    def asked(self) -> list[str]:
        """The requests so far in short; then forgotten."""
        words = {"pulls": "find", "merge_requests": "find", "comments": "list", "notes": "list", "user": "who"}
        methods = {"POST": "create", "PATCH": "edit", "PUT": "edit"}
        short = [
            methods.get(asked.method, "") or words.get(asked.path.rpartition("/")[2], "read")
            for asked in self.host.asked
        ]
        self.host.asked.clear()
        return short


@pytest.fixture(params=["github", "gitlab"])
def place(request: pytest.FixtureRequest, github: GitHub, gitlab: GitLab) -> Place:
    if request.param == "github":
        pulls = github.pulls
        return Place(
            github, GitHubNotifier, GITHUB_PATH, lambda sha=SHA, **more: pulls.open(GITHUB_PATH, sha, **more), pulls.comment,
            pulls.open(GITHUB_PATH, SHA), lambda pull: pull.comments, "closed", pulls.moderators, pulls.logins,
        )  # fmt: skip
    requests = gitlab.merge_requests
    return Place(
        gitlab, GitLabNotifier, GITLAB_PATH, lambda sha=SHA, **more: requests.open(GITLAB_PATH, sha, **more), requests.comment,
        requests.open(GITLAB_PATH, SHA), lambda found: found.notes, "merged", requests.maintainers, requests.usernames,
    )  # fmt: skip


Connect = Callable[..., Notifier]


@pytest.fixture
async def connect(place: Place, request: pytest.FixtureRequest) -> AsyncIterator[Connect]:
    made: list[Notifier] = []

    def make(token: str | None = None, *, request_timeout: float = 5.0) -> Notifier:
        """By default with a token that no other test has, for a process remembers whose a token is."""
        token = token or f"token-{hashlib.sha256(request.node.nodeid.encode()).hexdigest()}"
        place.host.tokens.add(token)
        url = f"{place.host.url}/api/v3" if place.kind is GitHubNotifier else place.host.url
        made.append(place.kind(HostSettings(name="here", url=url, token=token, request_timeout=request_timeout)))
        return made[-1]

    yield make
    for notifier in made:
        await notifier.close()


@pytest.fixture
def notifier(connect: Connect) -> Notifier:
    return connect()


def report(place: Place, text: str, **fields: Any) -> Comment:
    details = RunDetails(created=fields.pop("created", "2026-01-31T12:00:00Z"), uid="u1")
    given: dict[str, Any] = {"context": "tekton/build", "outcome": Outcome.FAILED, "sha": SHA, **fields}
    return Comment(repository=place.path, description="", text=text, details=details, **given)


async def test_a_request_gets_one_comment_that_follows_the_run(place: Place, notifier: Notifier) -> None:
    first = await notifier.deliver(report(place, "Running", outcome=Outcome.RUNNING))
    assert (first.already_there, place.asked()) == (False, ["find", "list", "create"])
    second = await notifier.deliver(report(place, "**Failed**"), memo=first.memo)
    assert (second.already_there, place.asked()) == (False, ["read", "edit"])
    assert second.memo == first.memo == f"7:{place.comments()[0].id}"
    assert "**Failed**" in place.body()
    assert "Running" not in place.body()


async def test_the_same_again_writes_nothing(place: Place, notifier: Notifier) -> None:
    first = await notifier.deliver(report(place, "Failed"))
    again = await notifier.deliver(report(place, "Failed"), memo=first.memo)
    assert again == replace(first, already_there=True, rate_limit=again.rate_limit)
    assert place.asked() == ["find", "list", "create", "read"]


async def test_a_lost_answer_makes_no_second_comment(place: Place, connect: Connect) -> None:
    place.host.faults.append(HostFault(times=1, accept_then_hang=True))
    with pytest.raises(RetryableError, match="may have arrived"):
        await connect(request_timeout=1.0).deliver(report(place, "Failed"))
    assert len(place.comments()) == 1
    assert (await connect().deliver(report(place, "Failed"))).already_there
    assert len(place.comments()) == 1


async def test_other_contexts_and_people_keep_their_words(place: Place, notifier: Notifier) -> None:
    theirs = place.say(place.request, "alice", "Looks good")
    for context in ("tekton/build", "tekton/lint", "tekton/build"):
        await notifier.deliver(report(place, f"said of {context}", context=context))
    assert theirs.body == "Looks good"
    _, ours = place.comments()
    assert ours.body.count("said of tekton/build") == ours.body.count("said of tekton/lint") == 1


async def test_two_contexts_at_the_same_time_lose_nothing(place: Place, notifier: Notifier) -> None:
    contexts = [f"tekton/{number}" for number in range(6)]
    receipts = await asyncio.gather(*(notifier.deliver(report(place, f"of {c}.", context=c)) for c in contexts))
    assert all(f"of {context}." in place.body() for context in contexts)
    await asyncio.gather(
        *(
            notifier.deliver(report(place, f"now {c}.", context=c), memo=r.memo)
            for c, r in zip(contexts, receipts, strict=True)
        )
    )
    assert all(f"now {context}." in place.body() for context in contexts)


async def test_an_older_run_says_nothing_over_a_younger_one(place: Place, notifier: Notifier) -> None:
    await notifier.deliver(report(place, "young", created="2026-01-31T12:00:09Z"))
    late = await notifier.deliver(report(place, "old"))
    assert late.already_there
    assert "young" in place.body()


async def test_the_next_commit_goes_on_in_the_same_comment(place: Place, notifier: Notifier) -> None:
    await notifier.deliver(report(place, "first"))
    place.host.projects[place.path].commits[OTHER] = "Mend it"
    place.request.sha = OTHER
    await notifier.deliver(report(place, "second", sha=OTHER, created="2026-01-31T12:30:00Z"))
    assert "second" in place.body()
    assert place.asked() == ["find", "list", "create", "find", "list", "edit"]


async def test_an_update_is_said_only_where_there_is_something_to_correct(place: Place, notifier: Notifier) -> None:
    passes = report(place, "passes", outcome=Outcome.SUCCEEDED, only_update=True, created="2026-01-31T12:30:00Z")
    nothing = await notifier.deliver(passes)
    assert (nothing.already_there, nothing.memo, place.comments()) == (True, None, [])
    assert place.asked() == ["find", "list"]
    await notifier.deliver(report(place, "failed"))
    assert not (await notifier.deliver(passes)).already_there
    assert "passes" in place.body()


@pytest.mark.parametrize("why", ["none", "closed", "moved on"])
async def test_without_an_open_request_nothing_is_said(place: Place, notifier: Notifier, why: str) -> None:
    if why == "closed":
        place.request.state = place.closed
    else:
        place.host.projects[place.path].commits[OTHER] = "Mend it"
        place.request.sha = OTHER
        if why == "moved on" and isinstance(place.host, GitLab):
            place.request.older = (SHA,)
    receipt = await notifier.deliver(report(place, "Failed"))
    assert receipt == Receipt(already_there=True, rate_limit=receipt.rate_limit)
    assert set(place.asked()) == {"find"}
    assert place.comments() == []


async def test_each_open_request_is_told_but_not_more_than_three(place: Place, notifier: Notifier) -> None:
    others = [place.open() for _ in range(3)]
    first = await notifier.deliver(report(place, "Failed"))
    assert [len(place.said(request)) for request in (place.request, *others)] == [0, 1, 1, 1]
    place.asked()
    await notifier.deliver(report(place, "Failed again"), memo=first.memo)
    assert place.asked() == ["read", "edit"] * 3


async def test_a_deleted_comment_is_looked_for_again_and_written_anew(place: Place, notifier: Notifier) -> None:
    first = await notifier.deliver(report(place, "Failed"))
    place.comments().clear()
    place.asked()
    second = await notifier.deliver(report(place, "Passed", outcome=Outcome.SUCCEEDED), memo=first.memo)
    assert place.asked() == ["read", "find", "list", "create"]
    assert second.memo != first.memo
    assert "Passed" in place.body()


async def test_a_forged_memo_leads_nowhere(place: Place, notifier: Notifier) -> None:
    forged = ["", "7", "7:x", "7:1:2", "-7:1", "7:9999", "9:1,9:1,9:1,9:1", "../7:1", "٧:١", "7:1\n", "x" * 9999]
    for number, memo in enumerate(forged):
        await notifier.deliver(report(place, f"Failed {number}."), memo=memo)
        assert f"Failed {number}." in place.body()
        assert all(asked.path.isascii() and ".." not in asked.path for asked in place.host.asked)


async def test_a_memo_that_names_somebody_elses_comment_does_not_get_it_edited(place: Place, connect: Connect) -> None:
    place.trust.add("token")
    forged = place.say(place.request, "mallory", HEAD)
    await connect("token").deliver(report(place, "Failed"), memo=f"7:{forged.id}")
    assert forged.body == HEAD
    assert "Failed" in place.comments()[1].body


@pytest.mark.parametrize("mighty", [False, True], ids=["may not edit it", "may edit it"])
async def test_a_strangers_comment_with_our_marker_is_left_alone(
    place: Place, connect: Connect, *, mighty: bool
) -> None:
    token = f"{place.kind.kind}-{mighty}"
    if mighty:
        place.trust.add(token)
    forged = place.say(place.request, "mallory", HEAD)
    notifier = connect(token)
    await notifier.deliver(report(place, "Failed"))
    assert place.asked() == ["find", "list", "who", "create"]
    await notifier.deliver(report(place, "Passed", outcome=Outcome.SUCCEEDED))
    assert place.asked() == ["find", "list", "edit"]  # who we are is known by now
    assert (forged.body, forged.edits) == (HEAD, 0)
    assert "Passed" in place.comments()[1].body


async def test_after_a_restart_the_comment_is_known_by_its_author(place: Place, connect: Connect) -> None:
    await connect().deliver(report(place, "Failed"))
    place.asked()
    await connect(f"another-token-of-the-same-account-{place.kind.kind}").deliver(
        report(place, "Passed", outcome=Outcome.SUCCEEDED)
    )
    assert place.asked() == ["find", "list", "who", "edit"]
    assert "Passed" in place.body()


async def test_a_comment_of_another_account_is_followed_by_a_new_one(place: Place, connect: Connect) -> None:
    place.names[f"old-token-{place.kind.kind}"] = "former-bot"
    await connect(f"old-token-{place.kind.kind}").deliver(report(place, "Failed"))
    await connect().deliver(report(place, "Passed", outcome=Outcome.SUCCEEDED))
    assert ["Passed" in comment.body for comment in place.comments()] == [False, True]


async def test_ours_is_found_in_a_long_conversation_whether_it_is_old_or_new(place: Place, notifier: Notifier) -> None:
    place.say(place.request, "alice", "first")
    await notifier.deliver(report(place, "early"))
    for number in range(100):
        place.say(place.request, "alice", f"comment {number}")
    place.asked()
    await notifier.deliver(report(place, "late"))
    asked = place.asked()
    assert asked[-1] == "edit"
    assert asked.count("list") == (1 if place.kind is GitHubNotifier else 4)
    ours = [comment for comment in place.comments() if comment.body.startswith(HEAD)]
    assert len(ours) == 1


async def test_where_ours_is_not_found_within_bounds_a_new_one_is_written_and_found(
    place: Place, notifier: Notifier
) -> None:
    for number in range(300):
        place.say(place.request, "alice", f"comment {number}")
    await notifier.deliver(report(place, "early"))
    assert place.asked() == ["find", *["list"] * 6, "create"]
    await notifier.deliver(report(place, "late"))
    assert place.asked()[-1] == "edit"
    assert len(place.comments()) == 301


async def test_what_strangers_write_may_be_too_long_to_read(place: Place, notifier: Notifier) -> None:
    length = 60_000 if place.kind is GitHubNotifier else 900_000
    for letter in "abcdefghijklmnopqrst":
        place.say(place.request, "mallory", letter * length)
    await notifier.deliver(report(place, "early"))
    await notifier.deliver(report(place, "late"))
    assert len([comment for comment in place.comments() if comment.body.startswith(HEAD)]) == 1


async def test_a_text_of_any_length_fits(place: Place, notifier: Notifier) -> None:
    log = "Failed\n\n```\n" + "<é😀> some line\n" * 20_000 + "the last line\n```"
    for context in ("a", "b", "a"):
        await notifier.deliver(report(place, log, context=context))
    (comment,) = place.comments()
    assert len(comment.body) <= (65_536 if place.kind is GitHubNotifier else 100_000)
    assert comment.body.count("the last line\n```") == 2
    assert comment.edits >= 1


async def test_a_locked_conversation_is_a_refusal_that_says_so(place: Place, notifier: Notifier) -> None:
    place.request.locked = True
    with pytest.raises(PermanentError, match="locked"):
        await notifier.deliver(report(place, "Failed"))


async def test_a_host_that_fails_halfway_is_asked_again(place: Place, notifier: Notifier) -> None:
    place.host.faults.append(HostFault(times=1, status=502))
    with pytest.raises(RetryableError):
        await notifier.deliver(report(place, "Failed"))
    await notifier.deliver(report(place, "Failed"))
    assert "Failed" in place.body()


async def test_the_requests_page_shows_what_is_said(place: Place, notifier: Notifier) -> None:
    await notifier.deliver(report(place, "Failed in **41s** <script>"))
    path = "pull/7" if isinstance(place.host, GitHub) else "-/merge_requests/7"
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{place.host.url}/{place.path}/{path}") as response:
            text = await response.text()
        async with session.get(str(notifier.commit_url(place.path, SHA))) as response:
            assert "1 comment" in await response.text()
    assert "Failed in <strong>41s</strong> &lt;script&gt;" in text
    assert "tekton-listener begin" not in text


async def test_an_open_request_is_found_with_its_labels(place: Place) -> None:
    place.request.labels += ["bug", "ci::failed"]
    if isinstance(place.host, GitHub):
        client = Github(base_url=place.host.url, auth=Auth.Token("secret-token"))
        found = await asyncio.to_thread(github_requests.open_requests, client.requester, place.path, SHA)
    else:
        project = Gitlab(place.host.url, private_token="secret-token").projects.get(place.path, lazy=True)
        found = await asyncio.to_thread(gitlab_requests.open_requests, project, SHA)
    assert found == (OpenRequest(7, ("bug", "ci::failed")),)


# GitHub only


async def test_a_forks_request_is_found_in_the_base_repository_and_not_in_the_fork(github: GitHub) -> None:
    github.add_project("forker/service-xyz", {SHA: "Add a feature"})
    pull = github.pulls.open(GITHUB_PATH, SHA, fork="forker/service-xyz")
    namesake = github.pulls.open("forker/service-xyz", OTHER)
    notifier = GitHubNotifier(HostSettings(name="here", url=github.url, token="secret-token"))
    details = RunDetails(created="2026-01-31T12:00:00Z", uid="u1")
    fields: dict[str, Any] = {
        "sha": SHA,
        "context": "c",
        "outcome": Outcome.FAILED,
        "description": "",
        "text": "Failed",
    }
    try:
        await notifier.deliver(Comment(repository=GITHUB_PATH, details=details, **fields))
        assert len(pull.comments) == 1
        fork = await notifier.deliver(Comment(repository="forker/service-xyz", details=details, **fields))
        assert (fork.already_there, namesake.comments, len(pull.comments)) == (True, [], 1)
    finally:
        await notifier.close()


async def test_every_request_and_answer_is_one_that_githubs_description_knows(github: GitHub) -> None:
    pull = github.pulls.open(GITHUB_PATH, SHA, labels=["bug"])
    github.pulls.comment(pull, "mallory", HEAD)
    headers = {"Authorization": "token secret-token"}
    base = f"/repos/{GITHUB_PATH}"
    async with aiohttp.ClientSession(f"{github.url}/", headers=headers) as session:

        async def ask(method: str, path: str, body: Any = None) -> Any:
            if body is not None:
                openapi.check_request(method, path, json.dumps(body).encode())
            async with session.request(method, path, json=body) as response:
                answer = await response.json()
                openapi.check_answer(method, path, response.status, answer)
                return answer

        assert [found["number"] for found in await ask("GET", f"{base}/commits/{SHA}/pulls")] == [pull.number]
        assert [found["labels"][0]["name"] for found in await ask("GET", f"{base}/pulls")] == ["bug"]
        made = await ask("POST", f"{base}/issues/{pull.number}/comments", {"body": "words"})
        await ask("PATCH", f"{base}/issues/comments/{made['id']}", {"body": "other words"})
        assert (await ask("GET", f"{base}/issues/comments/{made['id']}"))["body"] == "other words"
        assert len(await ask("GET", f"{base}/issues/{pull.number}/comments")) == 2
        await ask("GET", "/user")
