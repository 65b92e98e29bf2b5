"""What a run tells beyond its status: to whom, on which lane, and when there is something to tell."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from listener.cluster.decode import decode_pipeline_run
from listener.config import Config
from listener.reporting.aspects import labels_of, rule_for, speaks, task_target
from listener.reporting.history import Branch, History
from listener.reporting.routing import Router, Unroutable
from listener.reporting.target import Target
from notifiers.base import HostSettings, Outcome
from notifiers.bitbucket import BitbucketNotifier
from notifiers.github import GitHubNotifier
from notifiers.reports import CheckRun, Comment, CommitStatus, Deployment, Labels
from tests.unit.reporting.test_routing import HOSTS, NOTIFIERS, SHA, run, service

EVERYTHING = {
    "comment": "on-failure",
    "labels": {"running": "ci::running", "failed": "ci::failed"},
    "environment": "prod-$(params.region)",
    "notify": [{"channel": "chat"}, {"channel": "chat", "on": "finished"}, {"channel": "hook", "on": ["started"]}],
}
REGION = {"revision": SHA, "region": "eu"}
FINALS = [outcome for outcome in Outcome if outcome.final]
nothing = lambda: None  # noqa: E731 - how the run before ended
passed = lambda: Outcome.SUCCEEDED  # noqa: E731
failed = lambda: Outcome.TIMED_OUT  # noqa: E731


class All(GitHubNotifier):
    reports = frozenset({CommitStatus, CheckRun, Comment, Labels, Deployment})


def encoded(body: dict[str, Any]) -> bytes:
    return json.dumps(body).encode()


def targets(*services: dict[str, Any], runs: dict[str, Any] | None = None) -> tuple[Target, ...]:
    notifiers = {
        **NOTIFIERS,
        "github": All(HostSettings(name="github", url=None, token="t", threads=1)),
        "bitbucket": BitbucketNotifier(HostSettings(name="bitbucket", url=None, token="t", threads=1)),
    }
    channels = {"chat": {"kind": "apprise"}, "hook": {"kind": "webhook"}}
    hosts = {**HOSTS, "bitbucket": {"kind": "bitbucket", "token_env": "T"}}
    config = Config.model_validate({"hosts": hosts, "channels": channels, "services": list(services)})
    routed = Router(config, notifiers).route(decode_pipeline_run(encoded(runs or run(params=REGION))))
    assert not isinstance(routed, Unroutable), routed.reason
    return routed


def only(aspect: str, **fields: Any) -> Target:
    (found,) = [t for t in targets(service(repository="github:acme/xyz", **fields)) if t.aspect == aspect]
    return found


def test_each_thing_that_is_told_has_a_lane_of_its_own() -> None:
    found = targets(service(repository="github:acme/xyz", **EVERYTHING))
    assert [target.aspect for target in found] == ["", "comment", "labels", "deployment", "message", "message"]
    assert len({target.lane for target in found}) == len({target.lane.digest for target in found}) == 6


def test_a_statuss_lane_is_written_on_runs_as_it_always_was() -> None:
    (target,) = targets(service())
    parts = ("gitlab", "group/service-xyz", SHA, target.context)
    assert target.lane == (*parts, "")
    assert target.lane.digest == hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def test_a_message_is_about_one_run_and_a_deployment_about_one_environment() -> None:
    found = {
        t.aspect: t
        for t in targets(service(repository="github:acme/xyz", **EVERYTHING), runs=run(params=REGION, uid="u1"))
    }
    assert found["message"].lane.context == "u1"
    assert found["deployment"].lane.context == found["deployment"].place == "prod-eu"


def test_an_environment_that_the_run_does_not_name_is_no_deployment() -> None:
    found = targets(service(repository="github:acme/xyz", **EVERYTHING), runs=run())
    assert "deployment" not in {target.aspect for target in found}


def test_a_host_is_asked_only_for_what_it_has() -> None:
    found = targets(service(repository=["bitbucket:acme/xyz", "github:acme/xyz"], report="checks", **EVERYTHING))
    assert [(t.host, t.aspect) for t in found if t.aspect != "message"] == [
        ("bitbucket", ""), ("github", "check"), ("github", "comment"), ("github", "labels"), ("github", "deployment"),
    ]  # fmt: skip


def test_a_channel_is_told_once_however_many_repositories_there_are() -> None:
    found = targets(service(repository=["bitbucket:acme/xyz", "github:acme/xyz"], **EVERYTHING))
    assert [(t.host, t.repository) for t in found if t.aspect == "message"] == [
        ("chat", "acme/xyz"),
        ("hook", "acme/xyz"),
    ]


def test_a_task_has_a_context_below_the_runs_and_the_place_on_its_page() -> None:
    (target,) = targets(service(report=["run", "tasks"]))
    found = task_target(target, "build", label="build-linux")
    assert (found.context, found.aspect, found.url) == ("tekton/service-xyz-run-1/build", "task", None)
    check = task_target(only("check", report="checks"), "build", label="build")
    assert (check.aspect, check.task) == ("task-check", "build")


@pytest.mark.parametrize("outcome", FINALS)
def test_a_comment_on_failure_speaks_of_failures_and_once_more_when_all_is_well_again(outcome: Outcome) -> None:
    target = only("comment", comment="on-failure")
    assert speaks(target, outcome, passed) is outcome.failure
    assert speaks(target, outcome, failed) is (outcome.failure or outcome is Outcome.SUCCEEDED)
    assert speaks(target, outcome, nothing) is (outcome.failure or outcome is Outcome.SUCCEEDED)
    assert speaks(only("comment", comment="always"), outcome, passed)
    assert not speaks(only("comment", comment="always"), Outcome.RUNNING, passed)


def test_labels_follow_the_state_and_leave_all_others_alone() -> None:
    target = only("labels", labels={"running": "r", "failed": "f", "succeeded": "s"})
    assert labels_of(target, Outcome.RUNNING) == (("r",), ("f", "s"))
    assert labels_of(target, Outcome.BROKEN) == (("f",), ("r", "s"))
    assert labels_of(target, Outcome.CANCELLED) == ((), ("r", "f", "s"))
    assert not speaks(target, Outcome.QUEUED, nothing)


def test_one_label_for_two_states_is_not_taken_off() -> None:
    assert labels_of(only("labels", labels={"failed": "bad", "cancelled": "bad"}), Outcome.FAILED) == (("bad",), ())


@pytest.mark.parametrize(
    ("on", "outcome", "before", "event"),
    [
        ("failed", Outcome.FAILED, failed, "failed"),
        ("failed", Outcome.TIMED_OUT, passed, "failed"),
        ("broken", Outcome.FAILED, passed, "broken"),
        ("broken", Outcome.BROKEN, nothing, "broken"),
        ("broken", Outcome.FAILED, failed, None),
        ("fixed", Outcome.SUCCEEDED, failed, "fixed"),
        ("fixed", Outcome.SUCCEEDED, passed, None),
        ("fixed", Outcome.SUCCEEDED, nothing, None),
        ("finished", Outcome.SUCCEEDED, failed, "succeeded"),
        ("finished", Outcome.CANCELLED, failed, "cancelled"),
        ("cancelled", Outcome.DELETED, nothing, "cancelled"),
        ("started", Outcome.RUNNING, nothing, "started"),
        ("started", Outcome.QUEUED, nothing, None),
        (["failed", "broken"], Outcome.FAILED, passed, "broken"),
    ],
)
def test_a_rule_hears_of_its_events_and_no_others(on: Any, outcome: Outcome, before: Any, event: str | None) -> None:
    target = only("message", notify=[{"channel": "chat", "on": on}])
    found = rule_for(target, outcome, before)
    assert (found[1] if found else None) == event
    assert speaks(target, outcome, before) is (event is not None)


def test_of_several_rules_for_one_channel_the_first_that_fits_counts() -> None:
    rules = [{"channel": "chat", "on": "fixed", "text": "hooray"}, {"channel": "chat", "on": "finished"}]
    target = only("message", notify=rules)
    first, second = rule_for(target, Outcome.SUCCEEDED, failed), rule_for(target, Outcome.SUCCEEDED, passed)
    assert first is not None
    assert first[0].text is not None
    assert str(first[0].text) == "hooray"
    assert second is not None
    assert second[0].text is None


def test_the_run_before_is_the_youngest_older_one_that_said_something_about_the_code() -> None:
    history, (target,) = History(), targets(service())

    def made(name: str, created: str) -> Any:
        return decode_pipeline_run(encoded(run(f"service-xyz-run-{name}", creationTimestamp=created, uid=name)))

    old, mid, new = (
        made("a", "2026-01-01T00:00:01Z"),
        made("b", "2026-01-01T00:00:02Z"),
        made("c", "2026-01-01T00:00:03Z"),
    )
    branch = Branch.of(new, target)
    assert history.before(branch, new) is None
    history.note(branch, old, Outcome.FAILED)
    history.note(branch, mid, Outcome.CANCELLED)
    history.note(branch, new, Outcome.SUCCEEDED)
    assert history.before(branch, new) is Outcome.FAILED
    assert history.before(branch, old) is None
    assert history.before(branch._replace(ref="other"), new) is None


def test_history_is_bounded() -> None:
    history, (target,) = History(), targets(service())
    branch = Branch.of(decode_pipeline_run(encoded(run())), target)
    for number in range(100):
        made = run(creationTimestamp=f"2026-01-01T00:{number // 60:02d}:{number % 60:02d}Z", uid=str(number))
        history.note(branch, decode_pipeline_run(encoded(made)), Outcome.FAILED)
    assert len(history._branches[branch]) == 32
    assert {"99", "68"} <= history._branches[branch].keys()
