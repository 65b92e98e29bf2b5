"""Which run leads where, and why another does not."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from listener.cluster.decode import decode_pipeline_run
from listener.config import Config
from listener.reporting.routing import Router, Unroutable
from listener.reporting.target import Target
from notifiers.base import HostSettings
from notifiers.github import GitHubNotifier
from notifiers.gitlab import GitLabNotifier

SHA = "4f1c2d3e5a6b7c8d9e0f1a2b3c4d5e6f7a8b9c0d"
HOSTS = {
    "gitlab": {"kind": "gitlab", "url": "https://gitlab.example.com", "token_env": "T"},
    "github": {"kind": "github", "token_env": "T"},
}
NOTIFIERS = {
    "gitlab": GitLabNotifier(HostSettings(name="gitlab", url="https://gitlab.example.com", token="t", threads=1)),
    "github": GitHubNotifier(HostSettings(name="github", url=None, token="t", threads=1)),
}


def route(run: dict[str, Any], *services: dict[str, Any], **config: Any) -> tuple[Target, ...] | Unroutable:
    whole = Config.model_validate({"hosts": HOSTS, "services": list(services), **config})
    return Router(whole, NOTIFIERS).route(decode_pipeline_run(json.dumps(run).encode()))


def run(
    name: str = "service-xyz-run-1", *, params: dict[str, Any] | None = None, status: Any = None, **meta: Any
) -> dict[str, Any]:
    given_params = {"revision": SHA} if params is None else params
    return {
        "metadata": {"name": name, "namespace": "ci", **meta},
        "spec": {"params": [{"name": key, "value": value} for key, value in given_params.items()]},
        "status": status or {},
    }


def service(**fields: Any) -> dict[str, Any]:
    return {
        "name": "xyz",
        "runs": {"namespace": "ci", "name": "service-xyz-run-*"},
        "repository": "gitlab:group/service-xyz",
    } | fields


def one(routed: tuple[Target, ...] | Unroutable) -> Target:
    assert not isinstance(routed, Unroutable), routed.reason
    (target,) = routed
    return target


def why(routed: tuple[Target, ...] | Unroutable) -> str:
    assert isinstance(routed, Unroutable)
    return routed.reason


def test_a_run_leads_to_its_services_repository_commit_and_context() -> None:
    labels = {"tekton.dev/pipeline": "build"}
    target = one(route(run(labels=labels), service(), public_url="https://listener.example.com/"))
    assert (target.host, target.repository, target.sha, target.context) == (
        "gitlab",
        "group/service-xyz",
        SHA,
        "tekton/build",
    )
    assert target.url == "https://listener.example.com/runs/ci/service-xyz-run-1"


@pytest.mark.parametrize(
    "other",
    [
        run("other-run-1"),
        run("xservice-xyz-run-1"),
        run() | {"metadata": {"name": "service-xyz-run-1", "namespace": "team-b"}},
    ],
)
def test_a_run_that_no_service_claims_leads_nowhere(other: dict[str, Any]) -> None:
    assert route(other, service()) == ()


def test_labels_must_be_there_with_just_these_values() -> None:
    wants = service(runs={"namespace": "ci", "labels": {"app": "xyz"}})
    assert route(run(), wants) == ()
    assert route(run(labels={"app": "xy"}), wants) == ()
    assert one(route(run(labels={"app": "xyz"}), wants)).service == "xyz"


def test_the_first_service_that_matches_takes_the_run() -> None:
    routed = route(run(), service(name="first"), service(name="second", repository="github:acme/xyz"))
    assert one(routed).service == "first"


def test_a_family_captures_its_services_name_as_long_as_it_can() -> None:
    family = service(
        name="$(service)",
        runs={"namespace": "ci", "name": "$(service)-run-*"},
        repository=["github:acme/$(service)", "gitlab:group/$(service)"],
    )
    routed = route(run("my-run-thing-run-x1"), family)
    assert not isinstance(routed, Unroutable)
    assert [target.repository for target in routed] == ["acme/my-run-thing", "group/my-run-thing"]
    assert {target.service for target in routed} == {"my-run-thing"}


WELL_KNOWN: dict[str, dict[str, Any]] = {
    "params.git-revision": run(params={"git-revision": SHA}),
    "params.commit": run(params={"commit": SHA}),
    "params.sha": run(params={"sha": SHA}),
    "labels.pipelinesascode.tekton.dev/sha": run(params={}, labels={"pipelinesascode.tekton.dev/sha": SHA}),
    "annotations.pipelinesascode.tekton.dev/sha": run(params={}, annotations={"pipelinesascode.tekton.dev/sha": SHA}),
    "results.commit": run(params={}, status={"results": [{"name": "commit", "value": SHA}]}),
    "results.CHAINS-GIT_COMMIT": run(params={}, status={"results": [{"name": "CHAINS-GIT_COMMIT", "value": SHA}]}),
    "status.provenance": run(
        params={},
        status={
            "provenance": {
                "refSource": {"uri": "git+https://gitlab.example.com/group/service-xyz.git", "digest": {"sha1": SHA}}
            }
        },
    ),
}


@pytest.mark.parametrize(("place", "body"), WELL_KNOWN.items(), ids=WELL_KNOWN.keys())
def test_the_commit_is_found_in_the_well_known_places(place: str, body: dict[str, Any]) -> None:
    target = one(route(body, service()))
    assert (target.sha, target.commit_from) == (SHA, place)


def test_a_branch_in_revision_is_passed_over_for_a_commit_elsewhere() -> None:
    body = run(params={"revision": "main"}, labels={"pipelinesascode.tekton.dev/sha": SHA})
    assert one(route(body, service())).sha == SHA


def test_the_provenance_of_another_repository_is_not_the_commit() -> None:
    source = {"uri": "https://gitlab.example.com/tekton/catalog.git", "digest": {"sha1": SHA}}
    assert "no commit" in why(route(run(params={}, status={"provenance": {"refSource": source}}), service()))


@pytest.mark.parametrize(
    "text", ["main", "", SHA[:39], SHA + "0", SHA[:-1] + "g", f"refs/heads/{SHA}", "$(x)", "../" + SHA]
)
def test_what_is_no_commit_is_never_taken_for_one(text: str) -> None:
    assert "commit" in why(route(run(params={"revision": text}), service()))
    assert "commit" in why(route(run(params={"revision": text}), service(commit="$(params.revision)")))


def test_a_commit_in_capitals_is_the_same_commit_and_64_digits_are_one_too() -> None:
    assert one(route(run(params={"revision": SHA.upper()}), service())).sha == SHA
    assert one(route(run(params={"revision": "ab" * 32}), service())).sha == "ab" * 32


def test_a_parameter_that_is_no_text_is_no_commit() -> None:
    assert "no commit" in why(route(run(params={"revision": [SHA], "sha": True}), service()))


@pytest.mark.parametrize("value", ["../victim", "a/b", "..", ".", "a b", "a%2fb", "a?b", "x.git", "-x", "a\nb"])
@pytest.mark.parametrize("host", ["gitlab:group", "github:acme"])
def test_a_value_of_the_run_cannot_leave_its_segment_of_the_path(value: str, host: str) -> None:
    if value == "-x" and host.startswith("github"):
        return  # GitHub allows it
    routed = route(run(params={"revision": SHA, "repo": value}), service(repository=f"{host}/$(params.repo)"))
    assert isinstance(routed, Unroutable)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("https://gitlab.example.com/group/sub/xyz.git", "group/sub/xyz"),
        ("group/xyz", "group/xyz"),
        ("https://gitlab.example.com.evil.org/group/xyz", None),
        ("https://user@gitlab.example.com/group/xyz", None),
        ("http://gitlab.example.com/group/xyz", None),
        ("https://gitlab.example.com:444/group/xyz", None),
        ("https://gitlab.example.com/group/../../x", None),
        ("https://evil.org/?https://gitlab.example.com/group/xyz", None),
    ],
)
def test_a_url_of_the_run_must_be_of_exactly_the_configured_host(url: str, path: str | None) -> None:
    routed = route(run(params={"revision": SHA, "repo-url": url}), service(repository="gitlab:$(params.repo-url)"))
    if path is None:
        assert isinstance(routed, Unroutable)
    else:
        assert one(routed).repository == path


def test_a_missing_value_is_named() -> None:
    assert why(route(run(), service(commit="$(results.sha)"))) == "commit: the run has no $(results.sha)"


def test_the_context_is_the_same_for_every_run_of_one_pipeline() -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        (
            {"generateName": "service-xyz-run-", "labels": {"tekton.dev/pipeline": "service-xyz-run-1"}},
            "service-xyz-run",
        ),
        ({"labels": {"tekton.dev/pipeline": "build"}}, "build"),
        ({"labels": {"pipelinesascode.tekton.dev/original-prname": "on-push"}}, "on-push"),
        ({}, "service-xyz-run-1"),
    ]
    for meta, pipeline in cases:
        assert one(route(run(**meta), service())).context == f"tekton/{pipeline}"


def test_the_branch_is_told_where_it_is_known_and_left_out_where_not() -> None:
    assert one(route(run(), service())).ref is None
    assert one(route(run(params={"revision": SHA, "branch": "refs/heads/main"}), service())).ref == "main"
    assert one(route(run(), service(ref="$(params.nope)"))).ref is None


def test_values_in_a_link_of_ones_own_are_quoted() -> None:
    link = service(target_url="https://dash.example.com/#/$(run.namespace)/$(params.x)")
    target = one(route(run(params={"revision": SHA, "x": "a/b?c d"}), link))
    assert target.url == "https://dash.example.com/#/ci/a%2Fb%3Fc%20d"


def test_a_fallback_is_the_same_on_another_repository_of_its_host() -> None:
    both = service(repository=["gitlab:group/xyz", "github:acme/xyz"], fallback_repository="gitlab:$(params.fork)/xyz")
    routed = route(run(params={"revision": SHA, "fork": "someone"}), both)
    assert not isinstance(routed, Unroutable)
    first, second = routed
    assert first.fallback == dataclasses.replace(first, repository="someone/xyz", fallback=None)
    assert second.fallback is None
    assert second.no_fallback == ""


@pytest.mark.parametrize(
    ("fork", "said"),
    [
        (None, "the run has no $(params.fork)"),
        ("a/b", "the value of $(params.fork) holds a '/', it may fill one segment only"),
        ("..", "repository '../xyz': a GitLab path has no segment '.' or '..'"),
    ],
)
def test_a_fallback_that_cannot_be_is_left_out_with_the_reason(fork: str | None, said: str) -> None:
    params = {"revision": SHA} | ({"fork": fork} if fork is not None else {})
    target = one(route(run(params=params), service(fallback_repository="gitlab:$(params.fork)/xyz")))
    assert (target.repository, target.fallback, target.no_fallback) == ("group/service-xyz", None, said)


def test_a_fallback_that_is_a_repository_of_the_run_already_is_none() -> None:
    twice = service(repository=["gitlab:group/a", "gitlab:group/b"], fallback_repository="gitlab:group/$(params.x)")
    routed = route(run(params={"revision": SHA, "x": "b"}), twice)
    assert not isinstance(routed, Unroutable)
    assert [(target.repository, target.fallback) for target in routed] == [("group/a", None), ("group/b", None)]


def test_a_fallback_may_be_left_to_the_run_as_a_whole_and_then_a_url_must_be_of_its_host() -> None:
    free = service(fallback_repository="gitlab:$(params.source)")
    for given_source, path in (
        ("someone/deep/xyz", "someone/deep/xyz"),
        ("https://gitlab.example.com/someone/xyz.git", "someone/xyz"),
        ("https://evil.example.com/someone/xyz", None),
    ):
        target = one(route(run(params={"revision": SHA, "source": given_source}), free))
        assert (target.fallback.repository if target.fallback else None) == path


@given(value=st.text(max_size=60))
def test_whatever_a_run_says_a_repository_path_stays_below_what_was_configured(value: str) -> None:
    path = "github:acme/$(params.repo)"
    routed = route(run(params={"revision": SHA, "repo": value}), service(repository=path))
    fallen = route(
        run(params={"revision": SHA, "repo": value}), service(repository="github:acme/xyz", fallback_repository=path)
    )
    found = [] if isinstance(routed, Unroutable) else list(routed)
    assert not isinstance(fallen, Unroutable)
    found += [target.fallback for target in fallen if target.fallback is not None]
    for target in found:
        owner, _, name = target.repository.partition("/")
        assert owner == "acme"
        assert "/" not in name
        assert name not in (".", "..")
