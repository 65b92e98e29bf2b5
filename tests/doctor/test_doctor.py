"""``tekton-listener doctor`` against real servers: what is well is said to be, what is not is named with what to do, and one hides no other."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from listener.assembly import Settings
from listener.config import Config
from listener.demo.githost import HostFault
from listener.doctor.command import examine
from listener.doctor.hosts import examine_host
from notifiers.base import Channel, CommitStatus, Finding, HostSettings, Receipt
from tests.app_key import APP, key
from tests.scene import GITHUB_PATH, GITLAB_PATH, Scene, client
from tests.unit.test_command_line import listener


@dataclass(frozen=True, slots=True)
class Report:
    code: int
    findings: list[dict[str, str]]
    text: str

    def states(self, area: str, what: str) -> list[str]:
        return [f["state"] for f in self.findings if f["area"] == area and f["what"] == what]

    def said(self, area: str, state: str) -> str:
        """All that is said in an area with this state, and the advice."""
        return "\n".join(
            f"{f['said']} -> {f['advice']}" for f in self.findings if (f["area"], f["state"]) == (area, state)
        )

    def problems(self) -> set[tuple[str, str]]:
        return {(f["area"], f["what"]) for f in self.findings if f["state"] == "problem"}


async def doctor(scene: Scene, *, path: Path | None = None, env: dict[str, str] | None = None) -> Report:
    said: list[str] = []
    given = path or scene.write_config()
    code = await examine(given, env or scene.env(), json=True, say=said.append)
    text = "\n".join(said)
    assert "secret-token" not in text
    return Report(code, json.loads(text)["findings"], text)


@pytest.fixture
def quick(scene: Scene) -> Scene:
    """Without a public URL that could be looked up."""
    scene.public_url = "http://127.0.0.1:9"
    return scene


async def test_a_healthy_installation_is_well(quick: Scene) -> None:
    quick.github.scopes["secret-token"] = "repo"
    quick.more = "logs: {record: true, archive: archive}\n"
    report = await doctor(quick)
    assert report.code == 0, report.text
    assert report.problems() == set()
    for area, what in (
        ("cluster", "reachable"),
        ("cluster", "tekton"),
        ("cluster", "permission pipelineruns"),
        ("cluster", "permission pods/log"),
        ("host gitlab", "reachable"),
        ("host gitlab", f"repository {GITLAB_PATH}"),
        ("host github", f"repository {GITHUB_PATH}"),
        ("archive", "list"),
        ("archive", "write"),
    ):
        assert report.states(area, what) == ["ok"], (area, what)
    assert report.states("host gitlab", "token") == ["ok", "ok"]
    assert "Kubernetes v1.36.2" in report.said("cluster", "ok")
    assert not list((quick.folder / "archive").rglob("*.part"))
    assert not [file for file in (quick.folder / "archive").rglob("*") if file.is_file()]
    assert quick.gitlab.posts() == quick.github.posts() == []


async def test_permissions_that_are_missing_are_named_with_the_rule_that_grants_them(quick: Scene) -> None:
    quick.more = "namespaces: [team-a]\nleases: {namespace: ops, shards: 2}\n"
    quick.cluster.access.forbidden = {
        ("watch", "pipelineruns"),
        ("get", "pods/log"),
        ("create", "events"),
        ("update", "leases"),
    }
    for reviews in (True, False):  # where they are refused, the calls themselves are tried
        quick.cluster.access.reviews = reviews
        report = await doctor(quick)
        assert report.code == 1
        told = report.said("cluster", "problem")
        assert "may not watch pipelineruns in the namespace team-a" in told
        assert '{apiGroups: ["tekton.dev"], resources: [pipelineruns], verbs: [watch]}' in told
        assert "may not get pods/log in the namespace team-a" in told
        assert "may not update leases in the namespace ops" in told
        assert "may not create events" in report.said("cluster", "warning")
        assert report.states("cluster", "permission taskruns") == ["ok"]
    for resource in ("events", "leases", "pipelineruns"):
        assert not quick.cluster.store.names(resource), "it asked, and changed nothing"


async def test_a_dead_cluster_hides_no_host_and_a_dead_host_no_other(quick: Scene) -> None:
    env = quick.env()
    config = quick.write_config()
    await quick.cluster.stop()
    await quick.github.stop()
    report = await doctor(quick, path=config, env=env)
    assert report.code == 1
    assert report.problems() == {("cluster", "reachable"), ("host github", "reachable")}
    assert report.states("host gitlab", f"repository {GITLAB_PATH}") == ["ok"]


async def test_no_cluster_at_all_and_no_tekton_in_it_are_told_apart(
    quick: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    from listener.demo.kubernetes import discovery

    report = await doctor(quick, env={"KUBECONFIG": "/nowhere"})
    assert "KUBECONFIG=/nowhere: no such file" in report.said("cluster", "problem")
    monkeypatch.delitem(discovery._ANSWERS, "/apis/tekton.dev/v1")
    report = await doctor(quick)
    assert report.problems() == {("cluster", "tekton")}


async def test_credentials_that_the_cluster_refuses_are_a_problem(quick: Scene) -> None:
    quick.cluster.tokens = ("another",)
    env = {"KUBECONFIG": str(quick.cluster.kubeconfig(quick.folder / "kubeconfig", token="outdated"))}
    report = await doctor(quick, env=env)
    assert report.code == 1
    assert "the credentials are refused" in report.said("cluster", "problem")
    assert "outdated" not in report.text


async def test_gitlab_tells_scope_role_archive_and_the_end_of_the_token(quick: Scene) -> None:
    quick.gitlab.expires_at = (datetime.now(UTC) + timedelta(days=3)).date().isoformat()
    quick.gitlab.levels[GITLAB_PATH] = 20
    report = await doctor(quick)
    assert report.problems() == {("host gitlab", f"repository {GITLAB_PATH}")}
    assert "as Reporter only" in report.said("host gitlab", "problem")
    assert "role Developer" in report.said("host gitlab", "problem")
    assert f"ends on {quick.gitlab.expires_at}" in report.said("host gitlab", "warning")
    quick.gitlab.levels[GITLAB_PATH], quick.gitlab.invited[GITLAB_PATH] = 0, 40
    report = await doctor(quick)
    assert "seen, as Maintainer" in report.said("host gitlab", "ok"), "through an invited group"
    quick.gitlab.read_only_tokens = {"secret-token"}
    quick.gitlab.projects[GITLAB_PATH].archived = True
    report = await doctor(quick)
    assert "its scopes are read_api; 'api' is missing" in report.said("host gitlab", "problem")
    assert "archived" in report.said("host gitlab", "problem")


async def test_github_tells_scopes_and_write_access_and_says_what_it_does_not_tell(quick: Scene) -> None:
    quick.github.scopes["secret-token"] = "read:org"
    assert "its scopes are read:org" in (await doctor(quick)).said("host github", "problem")
    quick.github.scopes["secret-token"] = "public_repo"
    assert "public repositories only" in (await doctor(quick)).said("host github", "warning")
    quick.github.scopes["secret-token"] = None
    assert "fine-grained" in (await doctor(quick)).said("host github", "unknown")
    quick.github.tokens, quick.github.weak_tokens = set(), {"secret-token"}
    assert "without write access" in (await doctor(quick)).said("host github", "problem")
    quick.github.tokens, quick.github.weak_tokens = {"secret-token"}, set()
    quick.github.scopes["secret-token"] = "repo:status"
    del quick.github.projects[GITHUB_PATH]
    report = await doctor(quick)
    assert report.code == 0, "a private repository may take statuses all the same"
    assert "shows no private repository" in report.said("host github", "unknown")
    quick.github.scopes["secret-token"] = "repo"
    assert "not there, or the token may not see it" in (await doctor(quick)).said("host github", "problem")


async def test_a_github_app_is_asked_for_its_permission_and_its_installations(quick: Scene) -> None:
    (quick.folder / "app.pem").write_text(key().private)
    quick.github_credentials = f"app_id: {APP}, private_key_file: app.pem"
    report = await doctor(quick)
    assert ("host github", "token") in report.problems(), "nobody knows the App"
    app = quick.github.add_app(APP, key().public, {"acme": 678})
    report = await doctor(quick)
    assert report.code == 0, report.text
    assert "the App is installed and may write statuses" in report.said("host github", "ok")
    app.installations.clear()
    report = await doctor(quick)
    assert report.problems() == {("host github", f"repository {GITHUB_PATH}")}
    assert "is not installed for acme/service-xyz" in report.said("host github", "problem")
    app.permissions = {"metadata": "read"}
    assert "'Commit statuses: write' is missing" in (await doctor(quick)).said("host github", "problem")
    assert "PRIVATE KEY" not in report.text


async def test_what_is_told_beyond_statuses_needs_more_rights_and_the_doctor_asks_for_just_these(quick: Scene) -> None:
    more = "    comment: on-failure\n    environment: production\n"
    quick.services = quick.services.rstrip() + "\n" + more
    quick.github.scopes["secret-token"] = "repo:status, repo_deployment"
    report = await doctor(quick)
    assert "comments and labels need the scope" in report.said("host github", "problem")
    assert "deployments" not in report.said("host github", "problem")
    (quick.folder / "app.pem").write_text(key().private)
    quick.github_credentials = f"app_id: {APP}, private_key_file: app.pem"
    app = quick.github.add_app(APP, key().public, {"acme": 678})
    quick.services += "    report: checks\n"
    assert "'Checks: write', 'Deployments: write', 'Pull requests: write'" in (await doctor(quick)).said(
        "host github", "ok"
    )
    app.permissions = {"metadata": "read", "statuses": "write", "deployments": "write"}
    report = await doctor(quick)
    assert "'Checks: write' and 'Pull requests: write' are missing" in report.said("host github", "problem")


async def test_a_refused_token_an_unknown_project_and_a_hanging_host(quick: Scene) -> None:
    quick.gitlab.tokens = {"another"}
    quick.github_options += ", timeout: 0.1"
    quick.github.faults.append(HostFault(when=lambda request: True, accept_then_hang=True))
    report = await doctor(quick)
    assert report.problems() == {("host gitlab", "token"), ("host github", "reachable")}
    assert report.states("host gitlab", "reachable") == ["ok"]
    assert "no answer in time" in report.said("host github", "problem")
    assert "may have arrived" not in report.text
    quick.gitlab.tokens = {"secret-token"}
    quick.gitlab.projects.clear()
    assert "not there, or the token may not see it" in (await doctor(quick)).said("host gitlab", "problem")


async def test_an_answer_that_repeats_the_token_is_shown_without_it(quick: Scene) -> None:
    body = '{"id": 1, "username": "you sent secret-token"}'
    quick.gitlab.faults.append(HostFault(when=lambda request: request.path.endswith("/user"), status=200, body=body))
    report = await doctor(quick)  # which looks for the token itself
    assert "you sent [token]" in report.said("host gitlab", "ok")


class Quiet(Channel):
    """A plug-in that has nothing to tell the doctor."""

    kind = "quiet"
    reports = Channel.reports | {CommitStatus}

    def __init__(self, settings: HostSettings) -> None:
        self.name = settings.name

    async def deliver(self, *_: object, **__: object) -> Receipt:
        raise AssertionError("the doctor sends nothing")

    async def close(self) -> None:
        pass


class Broken(Quiet):
    async def examine(
        self, repositories: Sequence[str], *, reports: frozenset[type[CommitStatus]] = frozenset()
    ) -> Sequence[Finding]:
        raise KeyError("secret-token")


async def test_a_notifier_that_cannot_tell_and_one_that_fails_are_said_to_be_and_a_channel_gets_no_message(
    tmp_path: Path,
) -> None:
    entries = {"hosts": {"git": {"kind": "quiet"}}, "channels": {"chat": {"kind": "quiet"}}}
    config = Config.model_validate(entries)
    for kind, said in ((Quiet, "its settings can be used"), (Broken, "the notifier quiet failed (KeyError)")):
        settings = Settings(config=config, folder=tmp_path, kinds={"quiet": kind}, env={})
        for name in ("git", "chat"):
            (finding,) = await examine_host(name, settings)
            assert finding.state == "unknown"
            assert said in finding.said
    (missing,) = await examine_host("chat", Settings(config=config, folder=tmp_path, kinds={}, env={}))
    assert missing.state == "problem"


async def test_leases_say_who_holds_them(quick: Scene) -> None:
    quick.more = "leases: {namespace: ops, shards: 1}\n"
    assert "nobody holds one now" in (await doctor(quick)).said("cluster", "ok")
    async with quick.serve() as service:
        leases = service.leases
        assert leases is not None
        await quick.cluster.requests.wait_for(lambda _: bool(leases.held))  # looked at with each request
        assert "1 of 1 are held, by" in (await doctor(quick)).said("cluster", "ok")
        quick.more = "leases: {namespace: ops, shards: 3}\n"
        path = quick.folder / "other.yaml"
        path.write_text(quick.write_config().read_text())
        assert "are at work, this configuration says 3" in (await doctor(quick, path=path)).said("cluster", "warning")


async def test_the_archive_that_cannot_be_written_and_a_spool_that_is_not_there(quick: Scene) -> None:
    (quick.folder / "file").write_text("in the way")
    quick.more = "logs: {archive: file/archive, spool_folder: nowhere}\n"
    report = await doctor(quick)
    assert report.problems() == {("archive", "write"), ("disk", "spool")}
    quick.more = "logs: {spool_total: 1000000GiB, spool_bytes: 1GiB}\n"
    assert "logs.spool_total is" in (await doctor(quick)).said("disk", "warning")


async def test_a_public_url_that_leads_here_is_told_from_one_that_does_not(quick: Scene) -> None:
    quick.public_url = quick.gitlab.url
    assert "is not answered by this service" in (await doctor(quick)).said("public_url", "warning")
    async with quick.serve() as service, client(service):
        quick.public_url = f"http://127.0.0.1:{service.port}"
        path = quick.folder / "other.yaml"
        path.write_text(quick.write_config().read_text())
        assert "leads to this service" in (await doctor(quick, path=path)).said("public_url", "ok")


async def test_a_wrong_configuration_is_exit_2_with_every_problem(quick: Scene) -> None:
    config = quick.write_config()
    config.write_text(config.read_text() + "oops: 1\n")
    (quick.folder / "gitlab-token").unlink()
    report = await doctor(quick, path=config)
    assert report.code == 2
    assert report.problems() == {("configuration", "oops"), ("configuration", "hosts.gitlab.token_file")}


async def test_the_command_prints_a_line_for_each_and_exits_by_what_it_found(quick: Scene) -> None:
    config = quick.write_config()
    quick.gitlab.tokens = {"another"}
    code, out, err = await listener("doctor", "--config", str(config), env=quick.env())
    assert code == 1
    assert "problem        host gitlab: token: " in out
    assert "-> " not in out.splitlines()[0]
    assert "ok             cluster: reachable: Kubernetes v1.36.2" in out
    assert "1 problem" in out.splitlines()[-1]
    assert "Traceback" not in err
    assert "secret-token" not in out + err


async def test_what_a_host_says_stays_on_its_line(quick: Scene) -> None:
    body: Any = json.dumps({"id": 1, "username": "a\nok  all: well\x1b[2J"})
    fault = HostFault(when=lambda request: request.path.endswith("/user"), status=200, body=body)
    fault.headers = {"Content-Type": "application/json"}
    quick.gitlab.faults.append(fault)
    said: list[str] = []
    await examine(quick.write_config(), quick.env(), json=False, say=said.append)
    assert not any("\n" in line or "\x1b" in line for line in said)
