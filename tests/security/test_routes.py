"""Points 1 to 5: where a run can be reported to, by somebody who may create any PipelineRun in one namespace."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from listener.cluster.names import is_name, is_namespace
from listener.template import Template
from notifiers.base import CommitStatus, HostSettings, Notifier, Outcome, PermanentError
from notifiers.registry import discover
from notifiers.text import one_line
from tests.faults.test_bad_objects import run
from tests.pipeline import Run
from tests.scene import GITLAB_PATH, SHA, Scene, client
from tests.security.wire import ask, request

VICTIM = "victim/repository"
KINDS = {name: kind for name, kind in discover().items() if CommitStatus in kind.reports}
FREE = f"""
services:
  - name: free
    runs: {{namespace: team-a}}
    repository: gitlab:$(params.repository)
    context: $(params.context)
  - name: of-team-b
    runs: {{namespace: team-b}}
    repository: gitlab:{VICTIM}
"""
SEGMENT = """
services:
  - name: segment
    runs: {namespace: team-a}
    repository: gitlab:group/$(params.repository)
"""


def with_params(name: str, **params: str) -> dict[str, Any]:
    return run(name, spec={"params": [{"name": key, "value": value} for key, value in params.items()]})


@functools.cache
def made(kind: str) -> Notifier:
    """A notifier whose host cannot be reached."""
    url = "https://127.0.0.1:9/x" if kind == "azure-devops" else "https://127.0.0.1:9"
    return KINDS[kind](HostSettings(name="x", url=url, token="t" * 20))


async def posts(scene: Scene, *bodies: dict[str, Any], routable: int | None = None) -> list[str]:
    """Of ``bodies`` just ``routable`` lead anywhere, where that is given. What reaches the host when these runs and then a good one are there: the paths of all requests but the good one's."""
    for path in (VICTIM, "group/sub/project"):
        scene.gitlab.add_project(path, {SHA: "Not yours"})
    async with scene.serve() as service:
        await service.runs.synced()
        for body in bodies:
            scene.cluster.store.create("pipelineruns", body["metadata"].get("namespace", "team-a"), body)
        await service.runs.relist()
        good = with_params("good", revision=SHA, repository=GITLAB_PATH, context="good")
        if scene.services == SEGMENT:
            good = with_params("good", revision=SHA, repository="service-xyz")
        scene.cluster.store.create("pipelineruns", "team-a", good)
        await scene.gitlab.wait_for(lambda posted: any(p.path == GITLAB_PATH for p in posted))
        assert await service.reporter.lanes.drained(within=10)
        assert service.failure is None
        assert service.reporter.seen == len(bodies) + 1, "all of them were looked at"
        if routable is not None:
            assert len(service.reporter.unroutable) == len(bodies) - routable, "and told why not"
        async with client(service) as session:  # no page stumbles over them
            for body in bodies:
                namespace = body["metadata"].get("namespace", "team-a")
                async with session.get(f"/runs/{namespace}/{body['metadata']['name']}") as response:
                    assert response.status == (200 if namespace == "team-a" else 404)
    return [
        asked.path
        for asked in scene.gitlab.asked
        if "group%2Fservice-xyz" not in asked.path and GITLAB_PATH not in asked.path
    ]


async def test_point_01_metadata_selects_only_among_what_the_configuration_allows(scene: Scene) -> None:
    claims = {
        "tekton.dev/repository": VICTIM,
        "pipelinesascode.tekton.dev/repo-url": f"{scene.gitlab.url}/{VICTIM}",
        "pipelinesascode.tekton.dev/url-repository": VICTIM,
        "tekton-listener.dev/repository": f"gitlab:{VICTIM}",
        "tekton-listener.dev/service": "of-team-b",
        "tekton.dev/namespace": "team-b",
    }
    attack = run("attack", annotations={**claims, "tier": "prod"}, labels={**claims, "namespace": "team-b"})
    scene.services = f"""
services:
  - name: of-team-b
    runs: {{namespace: team-b, labels: {{namespace: team-b}}}}
    repository: gitlab:{VICTIM}
  - name: production
    runs: {{namespace: team-a, labels: {{tier: prod}}}}
    repository: gitlab:{VICTIM}
  - name: service-xyz
    runs: {{namespace: team-a, name: service-xyz-run-*}}
    repository: gitlab:{GITLAB_PATH}
"""
    other = {"metadata": {"name": "unclaimed", "namespace": "team-c", "annotations": claims}}
    other = run("other") | other
    assert await posts(scene, attack, other) == []
    assert {posted.path for posted in scene.gitlab.posted} == {GITLAB_PATH}


URLS = [
    "https://evil.example.com/group/service-xyz",
    "{host}@evil.example.com/group/service-xyz",
    "http://user:pass@{netloc}/victim/repository",
    "http://{netloc}.evil.example.com/victim/repository",
    "https://{netloc}/victim/repository",
    "http://{hostname}:1/victim/repository",
    "http://{netloc}:80/victim/repository",
    "http://{netloc}\\@evil.example.com/victim/repository",
    "http://[x/victim/repository",
    "http://\u2100/victim/repository",
    "//{netloc}/victim/repository",
    "file:///etc/passwd",
]


async def test_point_02_a_repository_on_another_host_gets_no_token(scene: Scene) -> None:
    scene.services = FREE
    netloc = scene.gitlab.url.removeprefix("http://")
    parts = {"host": scene.gitlab.url, "netloc": netloc, "hostname": netloc.partition(":")[0]}
    urls = [url.format(**parts) for url in URLS]
    bodies = [with_params(f"bad-{n}", revision=SHA, repository=url, context="x") for n, url in enumerate(urls)]
    assert await posts(scene, *bodies, routable=0) == []
    assert not scene.github.asked


async def test_point_02_a_redirect_is_refused(scene: Scene) -> None:
    from listener.demo.githost import HostFault

    async with type(scene.github)() as stranger:
        target = f"{stranger.url}/steal"
        scene.gitlab.faults.append(HostFault(when=lambda _: True, status=307, headers={"Location": target}))
        scene.github.faults.append(HostFault(when=lambda _: True, status=301, headers={"Location": target}))
        scene.cluster.create("pipelineruns", run("a"))
        async with scene.serve():
            await scene.gitlab.wait_asked(1)
            await scene.github.wait_asked(1)
            events = await scene.cluster.requests.wait_for(lambda seen: sum(s.resource == "events" for s in seen) >= 2)
        assert events
        assert not stranger.asked


PATHS = [
    "../victim/repository",
    "group/../victim/repository",
    "group/service-xyz/../../victim/repository",
    "group%2F..%2F..%2Fvictim%2Frepository",
    "./victim/repository",
    "victim/repository?x=",
    "victim/repository#",
    "victim/repository/statuses/" + SHA,
    "victim//repository",
    "/victim/repository",
    "victim/repository\r\nX-Evil: 1",
    "victim\\repository",
    "victim/repository\x00",
    "\u2025/\u2024\u2024/victim",
    "",
    ".",
    "..",
]


@pytest.mark.parametrize("services", [FREE, SEGMENT], ids=["whole", "segment"])
async def test_point_03_a_value_leads_nowhere_but_to_a_repository(scene: Scene, services: str) -> None:
    scene.services = services
    bodies = [with_params(f"bad-{n}", revision=SHA, repository=path, context="x") for n, path in enumerate(PATHS)]
    if services == SEGMENT:
        bodies.append(with_params("slash", revision=SHA, repository="sub/project"))
    shas = ["main", SHA[:39], SHA + "0", f"../{SHA[3:]}", f"{SHA}\n", f"{SHA}/../x", "０" * 40, ""]
    good = GITLAB_PATH if services == FREE else "service-xyz"
    bodies += [
        with_params(f"sha-{n}", revision=sha, repository=good, context="sha")
        for n, sha in enumerate(shas)
        if sha.strip() != SHA
    ]
    reached = await posts(scene, *bodies, routable=int(services == FREE))
    # "victim/repository/statuses/SHA" is a path that a project could have, so it may be asked for; nothing else may.
    assert {
        path
        for path in reached
        if VICTIM in path and f"{VICTIM}/statuses/{SHA}/statuses/" not in path.replace("%2F", "/")
    } == set()
    assert not any(".." in path or "%2e" in path.lower() for path in reached)
    assert {p.path for p in scene.gitlab.posted} == {GITLAB_PATH}
    assert {p.sha for p in scene.gitlab.posted} == {SHA}


@pytest.mark.parametrize("kind", sorted(KINDS))
@given(
    repository=st.one_of(
        st.sampled_from(PATHS),
        st.lists(
            st.sampled_from(["..", ".", "o", "%2e", "/", "?", "#", "\\", "@", ":", " ", "\n", "é", ".git"]), max_size=6
        ).map("".join),
    ),
    sha=st.sampled_from([SHA, "../x", SHA.upper(), SHA + "\n", "main"]),
)
@settings(max_examples=60, derandomize=True)
def test_point_03_no_notifier_takes_a_path_that_leads_elsewhere(kind: str, repository: str, sha: str) -> None:
    notifier = made(kind)
    if notifier.check_repository(repository) is None:
        segments = repository.split("/")
        assert all(segment.strip(".") for segment in segments)
        assert not set(repository) & set("?#\\%@: \n\r\0")
        assert repository.isprintable()


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize(
    ("repository", "sha"), [("o/r/../../victim/repo", SHA), ("o/..", SHA), ("o/r", "../x"), ("o/r", SHA + "\n")]
)
async def test_point_03_a_notifier_itself_refuses_before_any_request(kind: str, repository: str, sha: str) -> None:
    notifier = made.__wrapped__(kind)
    status = CommitStatus(repository=repository, sha=sha, context="c", outcome=Outcome.SUCCEEDED, description="d")
    with pytest.raises(PermanentError):
        await notifier.deliver(status)
    await notifier.close()


NAMES = [
    "..",
    "a/../../../secrets/x",
    "%2e%2e",
    "a%2fb",
    "A",
    "a_b",
    "-a",
    "a-",
    "a\n",
    "a\x00",
    "é",
    "a..b",
    "",
    "x" * 254,
]


@pytest.mark.parametrize("name", NAMES)
def test_point_04_what_is_no_kubernetes_name_is_none(name: str) -> None:
    assert not is_name(name)
    assert not is_namespace(name)


async def test_point_04_no_path_is_built_from_a_hostile_name(scene: Scene) -> None:
    hostile = "../../../../api/v1/namespaces/kube-system/secrets"
    first = Run(scene.cluster)
    first.refer("TaskRun", hostile, "build")
    first.refer("PipelineRun", f"x/{hostile}", "nested")
    task = first.task("lint", "s")
    scene.cluster.patch("taskruns", "team-a", task.name, {"status": {"podName": f"{hostile}/x"}})
    first.succeed()
    async with scene.serve() as service, client(service) as session:
        await service.runs.synced()
        for path in (
            "/logs/team-a/service-xyz-run-a?follow=0",
            "/runs/team-a/service-xyz-run-a",
            "/status/team-a/service-xyz-run-a",
        ):
            async with session.get(path) as response:
                assert response.status == 200
                await response.read()
        credentials = f"Authorization: {session.headers['Authorization']}".encode()
        for name in (b"..%2f..%2fsecrets", b"x%2f..%2f..", b"%2e%2e", b"a%00", b"a%0ab", b"%ff"):
            for start in (b"/logs/", b"/logs/team-a/", b"/status/team-a/", b"/runs/team-a/"):
                assert (await ask(service.port, request(start + name, credentials)))[0] in (400, 404)
    asked = [seen.path for seen in scene.cluster.requests]
    assert asked
    assert not [path for path in asked if ".." in path or "secrets" in path or "kube-system" in path]


@pytest.mark.parametrize(
    "text", ["$(params.a.__class__)", "${x}", "{{ 7*7 }}", "{0.__class__}", "%(x)s", "$(params.b)", "`id`"]
)
async def test_point_05_a_value_stays_text(text: str) -> None:
    template = Template.parse("tekton/$(params.a)")
    assert template.render(lambda reference: {"a": text}.get(reference.name)) == f"tekton/{text}"
    for bad in (
        "$(params.a.__class__.__init__)x$(self)",
        "$(run.__class__)",
        "$(config.users)",
        "$(env.HOME)",
        "$(params)",
    ):
        with pytest.raises(ValueError, match=r"unknown|write"):
            Template.parse(bad)


async def test_point_05_what_a_run_brings_is_one_short_line_without_control_characters(scene: Scene) -> None:
    scene.services = FREE
    nasty = "a\r\nb\x1b[31m\x9b\u202eevil\u2066\u2028c\x00" + "x" * 600
    body = with_params("nasty", revision=SHA, repository=GITLAB_PATH, context=nasty)
    body["status"] = {"conditions": [{"type": "Succeeded", "status": "False", "reason": "Failed", "message": nasty}]}
    await posts(scene, body)
    texts = [text or "" for p in scene.gitlab.posted if p.context != "good" for text in (p.context, p.description)]
    assert texts
    for text in texts:
        assert len(text) <= 255
        assert text.isprintable(), ascii(text)


@given(st.text(max_size=40))
@settings(max_examples=100, derandomize=True)
def test_point_05_no_text_is_more_than_a_line(text: str) -> None:
    assert one_line(one_line(text)) == one_line(text)
    assert len(one_line(text).splitlines()) <= 1
