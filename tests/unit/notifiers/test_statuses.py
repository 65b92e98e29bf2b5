"""What the contract says of commit statuses, held against every Git host, with a token and, on GitHub, as an App.

What holds for every report is in ``test_contract``. Odd cases are beside it and run for every host: odd answers in ``test_deliveries``, threads, deadlines and
rotated tokens in ``test_blocking``, TLS, proxies and cookies in ``test_session``, what may be told in ``test_secrets``. What only one host does is in
that host's own file.
"""

from __future__ import annotations

import pytest

from notifiers.base import Notifier, Outcome, RateLimit
from tests.unit.notifiers.host import Answer, Host
from tests.unit.notifiers.scene import DATE, status
from tests.unit.notifiers.subject import Subject
from tests.unit.notifiers.subjects import STATUSES

LONG = "https://tekton.example.com/" + "x" * 2100


@pytest.fixture(params=STATUSES, ids=lambda subject: subject.name)
def subject(request: pytest.FixtureRequest) -> Subject:
    """Only those that are statuses."""
    found: Subject = request.param
    return found


# What is said


async def test_every_outcome_is_a_state_that_the_host_knows(host: Host, subject: Subject, reporter: Notifier) -> None:
    for outcome in Outcome:
        await reporter.deliver(status(outcome=outcome))
        assert host.last.json["state"] == reporter.state(outcome)
    words = {outcome: reporter.state(outcome) for outcome in Outcome}
    assert set(words.values()) <= subject.states
    assert [outcome for outcome, word in words.items() if word == subject.success] == [Outcome.SUCCEEDED]
    final = {word for outcome, word in words.items() if outcome.final}
    assert not final & {words[Outcome.QUEUED], words[Outcome.RUNNING]}


async def test_a_link_is_whole_or_not_there(host: Host, subject: Subject, reporter: Notifier) -> None:
    limit = subject.limits[subject.link]
    for link in (LONG[:limit], LONG[: limit + 1], "javascript:alert(1)", None):
        await reporter.deliver(status(target_url=link))
    first, *others = [asked.json.get(subject.link) for asked in host.asked]
    assert first == LONG[:limit]
    page = reporter.commit_url("group/service-xyz", status().sha)
    assert others == [page if subject.needs_link else None] * 3


async def test_a_commit_and_a_repository_have_their_pages(host: Host, reporter: Notifier) -> None:
    repository, sha = "group/service-xyz", status().sha
    page, commit = reporter.repository_url(repository), reporter.commit_url(repository, sha)
    assert page is not None
    assert commit is not None
    assert page.startswith(f"{host.url}/")
    assert commit.startswith(f"{page}/")
    assert sha in commit


# What an answer means


async def test_a_count_of_what_is_left_is_passed_on_where_it_is_one(
    host: Host, subject: Subject, reporter: Notifier
) -> None:
    left = {"X-RateLimit-Limit": "100", "X-RateLimit-Remaining": "7", "X-RateLimit-Reset": "978307230"}
    host.default = Answer(headers={**left, **DATE})
    receipt = await reporter.deliver(status())
    expected = RateLimit(limit=100, remaining=7, resets_in=30.0) if subject.counts_requests else None
    assert receipt.rate_limit == expected
