"""The chart's RBAC rules are the exact set that the service uses: no request without its rule, and no rule without its request.

The service plays everything it can do against the in-memory cluster: it watches, reports, keeps a run by a finalizer, tells an Event and counts it
up, records logs, keeps Leases, loses one to somebody else, and gives them back. What it asked for is compared with what the rendered
chart allows, for the whole cluster and for listed namespaces.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import yaml

from listener.service import Service
from tests.chart.access import Access, allowed, asked
from tests.chart.combinations import AUTH
from tests.chart.rendering import NAME, NAMESPACE, Rendered, render
from tests.pipeline import Run
from tests.scene import GITLAB_PATH, SHA, Scene, client

SERVICES = f"""
services:
  - name: broken
    runs: {{namespace: "team-*", name: broken-run-*}}
    repository: gitlab:group/not-there
    commit: {SHA}
  - name: service-xyz
    runs: {{namespace: "team-*", name: service-xyz-run-*}}
    repository: gitlab:{GITLAB_PATH}
    commit: {SHA}
    deliver: guaranteed
    logs: record
"""
LEASES = {"duration": 3, "renew_deadline": 2, "retry_period": 0.1}
VALUES = {**AUTH, "deployment": {"replicas": 2}, "config": {"leases": LEASES}}
LISTED = ["team-a", "team-b"]


@pytest.mark.parametrize("namespaces", [[], LISTED], ids=["the whole cluster", "listed namespaces"])
async def test_the_rules_are_what_the_service_uses(scene: Scene, namespaces: list[str]) -> None:
    release = render({**VALUES, "namespaces": namespaces})
    await play(scene, release)
    used, rules = set(asked(scene.cluster.requests)), allowed(release)
    refused = {request for request in used if not any(rule.covers(request) for rule in rules)}
    assert not refused, "Kubernetes would refuse what the chart has no rule for"
    spare = {rule.what for rule in rules} - {request.what for request in used}
    assert not spare, "rules that nothing needs"
    spare_rules = {rule for rule in rules if rule.verb == "update" and not any(rule.covers(r) for r in used)}
    assert not spare_rules, "names that nothing needs"
    assert {r.namespace for r in used if r.resource == "leases"} == {NAMESPACE}
    assert {r.name for r in rules if r.resource == "leases"} == {"", f"{NAME}-00", f"{NAME}-01"}
    watched = {r.namespace for r in used if r.verb == "watch"}
    assert watched == (set(namespaces) or {""})
    assert {r.namespace for r in rules if r.resource != "leases"} == watched
    if namespaces:
        assert "" not in {r.namespace for r in used}


def test_nothing_is_allowed_that_security_point_10_forbids() -> None:
    for values in (VALUES, {**VALUES, "namespaces": LISTED}):
        rules = allowed(render(values))
        assert "secrets" not in {rule.resource for rule in rules}
        assert not {rule for rule in rules if "*" in (rule.group, rule.resource, rule.verb)}
        assert not {
            rule.what
            for rule in rules
            if rule.verb in ("delete", "deletecollection", "escalate", "bind", "impersonate")
        }


def test_without_leases_there_is_no_rule_for_them_and_without_rbac_none_at_all() -> None:
    assert not {r for r in allowed(render({**AUTH, "leases": {"enabled": False}})) if r.resource == "leases"}
    assert not allowed(render({**AUTH, "rbac": {"create": False}}))


def test_leases_elsewhere_get_their_role_there() -> None:
    values: Any = {**AUTH, "config": {"leases": {"namespace": "locks", "name": "ci", "shards": 2}}}
    leases = {rule for rule in allowed(render(values)) if rule.resource == "leases"}
    assert {rule.namespace for rule in leases} == {"locks"}
    assert {rule.name for rule in leases if rule.verb == "update"} == {"ci-00", "ci-01"}


def test_a_request_without_a_rule_is_seen() -> None:
    rule = Access("", "pods", "list", "team-a")
    assert rule.covers(Access("", "pods", "list", "team-a"))
    assert not rule.covers(Access("", "pods", "list"))
    assert not rule.covers(Access("", "pods", "list", "team-b"))
    assert not rule.covers(Access("", "pods/log", "list", "team-a"))
    assert not Access("x", "leases", "update", "a", "one").covers(Access("x", "leases", "update", "a", "two"))


async def play(scene: Scene, release: Rendered) -> None:
    """Have the service do everything, as the release's ConfigMap and Deployment set it up."""
    config = yaml.safe_load(release.config_text)
    scene.services = SERVICES
    scene.more = "\n" + yaml.safe_dump({"namespaces": config.get("namespaces", []), "leases": config["leases"]})
    scene.more += "logs: {archive: archive}\n"
    pod = {"POD_NAMESPACE": NAMESPACE, "POD_NAME": "listener-0"}
    env = {**scene.env(), **pod}
    for namespace in LISTED:
        Run(scene.cluster, "broken-run-a", namespace=namespace)
    async with scene.serve(env=env) as service:
        await leading(scene, service)
        await contested(scene)
        await asyncio.gather(*(reported(scene, service, namespace) for namespace in LISTED))
        await scene.cluster.requests.wait_for(lambda _: scene.cluster.requests.count("create", "events") >= 1)
    scene.cluster.streaming_lists = False  # as on an older cluster
    async with scene.serve(env=env) as service:  # which tells the same Event again
        await leading(scene, service)
        await scene.cluster.requests.wait_for(lambda _: scene.cluster.requests.count("patch", "events") >= 1)


async def leading(scene: Scene, service: Service) -> None:
    """Wait until it holds all Leases."""
    assert service.leases is not None
    await scene.cluster.requests.wait_for(lambda _: service.leases is not None and len(service.leases.held) == 2)


async def contested(scene: Scene) -> None:
    """Somebody else writes one of its Leases."""
    scene.cluster.patch("leases", NAMESPACE, f"{NAME}-01", {"metadata": {"labels": {"seen": "by-somebody"}}})
    await scene.cluster.requests.wait_for(lambda _: scene.cluster.requests.count("get", "leases") >= 1)


async def reported(scene: Scene, service: Service, namespace: str) -> None:
    """A run from its beginning to its end: its statuses arrive, its log is recorded and read, and it may be deleted."""
    run = Run(scene.cluster, f"service-xyz-run-{namespace}", namespace=namespace)
    task = run.task("build")
    task.say("s", "hello\n")
    async with client(service, user="", password="") as session, session.get("/readyz") as answer:
        assert answer.status == 200

    def finalizers() -> list[str]:
        found: list[str] = scene.cluster.get("pipelineruns", namespace, run.name)["metadata"].get("finalizers", [])
        return found

    await scene.cluster.requests.wait_for(lambda _: finalizers() != [])
    await scene.cluster.requests.wait_for(
        lambda seen: any(s.verb == "log" and f"/{namespace}/" in s.path for s in seen)
    )
    task.exit("s", 1)
    task.fail()
    run.fail()
    await scene.cluster.requests.wait_for(lambda _: finalizers() == [])
