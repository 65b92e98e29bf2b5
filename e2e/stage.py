"""The stage: Git hosts on loopback, the service beside them, the cluster around, and somebody who watches all of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import yaml

from e2e.api import Api, ApiError, Json
from e2e.catalogue import GUARANTEED, PREFIX, RECORD, SHA, Manifests
from e2e.listener_process import ListenerProcess, listener_process
from e2e.mirror import Mirror
from e2e.preflight import Facts
from e2e.reading import PASSWORD, USER
from e2e.rules import LEASES
from e2e.settings import DEFAULT_TIMEOUT, Settings
from e2e.witness import Witness
from listener.demo.githost import GitHost, Posted
from listener.demo.github import GitHub
from listener.demo.gitlab import GitLab

GITLAB_PATH, GITHUB_PATH = "group/service-xyz", "acme/service-xyz"
FINAL: Final = ("success", "failed", "failure", "canceled", "error")  #: the hosts' words for what is over
_TOKEN: Final = "e2e-token"
_SYNC: Final = 60.0  # seconds


@dataclass(kw_only=True)
class Stage:
    """Everything that a test may look at."""

    settings: Settings
    facts: Facts
    api: Api
    namespace: str
    manifests: Manifests
    folder: Path
    gitlab: GitLab
    github: GitHub
    runs: Mirror
    pods: Mirror
    witness: Witness
    kubeconfig: str  #: the service's
    restricted: bool  #: it is that of a service account with the chart's rules
    port: int  #: of the first replica, whoever it is at the moment
    subject: str = ""  #: the run that a test is about, for reports
    replicas: list[ListenerProcess] = field(default_factory=list)  #: all there were
    processes: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)

    @property
    def public_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def listener(self) -> ListenerProcess:
        """The replica that was started last."""
        return self.replicas[-1]

    def path(self, kind: str, run: str) -> str:
        return f"/{kind}/{self.namespace}/{run}"

    async def start(self, name: str, *, port: int | None = None) -> ListenerProcess:
        """Start a replica, at the public address unless told otherwise, and wait until it is ready."""
        made = listener_process(
            self.folder / "listener.yaml",
            kubeconfig=self.kubeconfig,
            name=name,
            port=self.port if port is None else port,
        )
        self.replicas.append(await self.processes.enter_async_context(made))
        await self.listener.until_ready()
        return self.listener

    async def create(self, body: Json) -> Json:
        return await self.api.create("pipelineruns", self.namespace, body)

    async def leased_by(self, name: str) -> None:
        """Wait until the replica ``name`` holds the Lease. Raises ``AssertionError`` that says who does."""
        holders: list[str] = []
        try:
            async with asyncio.timeout(self.settings.timeout):
                while not any(holder.startswith(f"{name}_") for holder in holders):
                    leases = await self.api.list("leases", self.namespace)
                    holders = [str((lease.get("spec") or {}).get("holderIdentity") or "") for lease in leases]
                    await asyncio.sleep(0.2)
        except TimeoutError:
            raise AssertionError(f"the Lease is held by {holders}, not by {name}") from None

    # What the hosts show

    @property
    def hosts(self) -> tuple[tuple[GitHost, str], ...]:
        return (self.gitlab, GITLAB_PATH), (self.github, GITHUB_PATH)

    def shown(self, host: GitHost, path: str, run: str) -> list[Posted]:
        """The statuses of a run, in order."""
        return [posted for posted in host.statuses(path, SHA) if posted.context == f"tekton/{run}"]

    async def until_shown(self, run: str, *states: str, timeout: float | None = None) -> None:
        """Wait until GitLab and GitHub show one of ``states`` for it. Raises ``AssertionError``."""
        limit = timeout or self.settings.timeout
        for host, path in self.hosts:

            def met(_: list[Posted], host: GitHost = host, path: str = path) -> bool:
                return any(posted.state in states for posted in self.shown(host, path, run)[-1:])

            try:
                await host.wait_for(met, timeout=limit)
            except TimeoutError:
                now = [posted.state for posted in self.shown(host, path, run)]
                raise AssertionError(f"{host.name} shows {now} for {run} after {limit:g} s, not {states}") from None

    # Reports

    def report(self, run: str) -> list[tuple[str, str]]:
        """What to look at when something about ``run`` is wrong: titles and texts."""
        body = self.runs.last.get(run)
        events = [
            f"{host.name}: {_request(asked, run)}"
            for host, _ in self.hosts
            for asked in host.posts()
            if _about(asked.body, run)
        ]
        found = [("the cluster", str(self.facts)), ("requests to the Git hosts", "\n".join(events[-40:]) or "none")]
        if body is not None:
            found.append((f"PipelineRun {run}", yaml.safe_dump(_without_noise(body), sort_keys=False)))
        found += [(f"the log of replica {one.name}", one.tail()) for one in self.replicas[-2:]]
        return found


def _about(body: bytes, run: str) -> bool:
    return not run or run.encode() in body


def _request(asked: object, run: str) -> str:
    method, path, status = (getattr(asked, key) for key in ("method", "path", "status"))
    with contextlib.suppress(ValueError):
        fields = json.loads(getattr(asked, "body", b""))
        return f"{status} {method} {path} {fields.get('state')}: {fields.get('description')}"
    return f"{status} {method} {path}"


def _without_noise(body: Json) -> Json:
    meta = {key: value for key, value in body["metadata"].items() if key != "managedFields"}
    return {**body, "metadata": meta}


@contextlib.asynccontextmanager
async def set_stage(
    *, settings: Settings, facts: Facts, namespace: str, folder: Path, kubeconfig: str, restricted: bool
) -> AsyncIterator[Stage]:
    """Everything but the service, which ``Stage.start`` starts."""
    async with contextlib.AsyncExitStack() as stack:
        api = await stack.enter_async_context(Api.connect(settings.kubeconfig))
        gitlab = await stack.enter_async_context(GitLab(tokens=(_TOKEN,)))
        github = await stack.enter_async_context(GitHub(tokens=(_TOKEN,)))
        gitlab.add_project(GITLAB_PATH, {SHA: "The commit of all runs"})
        github.add_project(GITHUB_PATH, {SHA: "The commit of all runs"})
        runs, pods = Mirror(api, "pipelineruns", namespace), Mirror(api, "pods", namespace)
        witness = Witness(api, pods, namespace)
        stack.push_async_callback(witness.close)
        for mirror in (runs, pods):
            stack.push_async_callback(_cancel, asyncio.create_task(mirror.run()))
        async with asyncio.timeout(_SYNC):
            await runs.synced.wait()
            await pods.synced.wait()
        stage = Stage(
            settings=settings,
            facts=facts,
            api=api,
            namespace=namespace,
            manifests=Manifests(settings.runs, namespace=namespace, slower=settings.timeout / DEFAULT_TIMEOUT),
            folder=folder,
            gitlab=gitlab,
            github=github,
            runs=runs,
            pods=pods,
            witness=witness,
            kubeconfig=kubeconfig,
            restricted=restricted,
            port=_free_port(),
        )
        await stack.enter_async_context(stage.processes)
        write_config(stage)
        yield stage


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def write_config(stage: Stage) -> None:
    """The service's configuration, as a user writes it."""
    folder, lease = stage.folder, stage.settings.lease
    for name, secret in (("token", _TOKEN), ("password", PASSWORD), ("link-key", secrets.token_hex(32))):
        (folder / name).touch(mode=0o600)
        (folder / name).write_text(f"{secret}\n")
    repository = [f"gitlab:{GITLAB_PATH}", f"github:{GITHUB_PATH}"]
    common = {"repository": repository, "commit": "$(params.revision)"}
    mine = {"namespace": stage.namespace, "name": f"{PREFIX}*"}
    config = {
        "public_url": stage.public_url,
        "default_namespace": stage.namespace,
        "namespaces": [stage.namespace],
        "users": [{"name": USER, "password_file": "password", "namespaces": [stage.namespace]}],
        "hosts": {
            "gitlab": {"kind": "gitlab", "url": stage.gitlab.url, "token_file": "token"},
            "github": {"kind": "github", "url": stage.github.url, "token_file": "token", "seconds_between_writes": 0},
        },
        "links": "signed",
        "signed_links": {"key_file": "link-key"},
        "leases": {
            "namespace": stage.namespace,
            "name": LEASES,
            "duration": lease,
            "renew_deadline": round(lease * 2 / 3, 2),
            "retry_period": round(lease * 2 / 15, 2),
        },
        "logs": {"archive": "logs", "spool_folder": str(folder / "spool")},
        "services": [
            {
                "name": "kept",
                "runs": {**mine, "labels": {RECORD: "yes", GUARANTEED: "yes"}},
                **common,
                "logs": "record",
                "deliver": "guaranteed",
            },
            {"name": "recorded", "runs": {**mine, "labels": {RECORD: "yes"}}, **common, "logs": "record"},
            {"name": "service-xyz", "runs": mine, **common},
        ],
    }
    (folder / "spool").mkdir(exist_ok=True)
    (folder / "listener.yaml").write_text(yaml.safe_dump(config, sort_keys=False))


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


async def delivered(stage: Stage, run: str, *, timeout: float) -> Json:
    """What the ledger on the run says once it names both hosts' final states, or what it says when the time is over."""
    annotation = "tekton-listener.dev/delivered"

    def read() -> Json:
        text = ((stage.runs.last.get(run) or {}).get("metadata", {}).get("annotations") or {}).get(annotation)
        return dict(json.loads(text)) if text else {}

    def states() -> list[str]:
        return sorted(str(entry.get("state")) for entry in read().values())

    wanted = sorted(posted[-1].state for host, path in stage.hosts if (posted := stage.shown(host, path, run)))
    with contextlib.suppress(AssertionError):
        await stage.runs.until(lambda: states() == wanted, timeout=timeout, what="the ledger")
    return read()


async def events_on(stage: Stage, run: str, reason: str, *, timeout: float) -> list[Json]:
    """The Events on a run with ``reason``, once there are any, or the service says that it cannot write one."""
    found: list[Json] = []
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout):
            while True:
                with contextlib.suppress(ApiError):
                    events = await stage.api.list("events", stage.namespace)
                    found = [e for e in events if e["involvedObject"].get("name") == run and e.get("reason") == reason]
                if found or any(f"{run}: could not write the Event" in line for line in stage.listener.log):
                    break
                await asyncio.sleep(0.3)
    return found
