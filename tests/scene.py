"""The scene that most tests play in: a cluster, two Git hosts and the service, all real servers on real sockets."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import os
import sys
import textwrap
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from listener.assembly import Settings
from listener.config import load
from listener.demo.github import GitHub
from listener.demo.gitlab import GitLab
from listener.demo.kubernetes import KubernetesApi
from listener.demo.kubernetes.replay import Step
from listener.demo.kubernetes.replay import load as load_recording
from listener.service import Service
from notifiers.registry import discover

RECORDINGS = Path(__file__).parent / "recordings"
SHA = "4f1c2d3e5a6b7c8d9e0f1a2b3c4d5e6f7a8b9c0d"  # the commit of all recorded runs
GITLAB_PATH, GITHUB_PATH = "group/service-xyz", "acme/service-xyz"
USER, PASSWORD = "ci", "correct horse"

SERVICES = f"""
services:
  - name: service-xyz
    runs: {{namespace: team-a, name: service-xyz-run-*}}
    repository: [gitlab:{GITLAB_PATH}, github:{GITHUB_PATH}]
"""


def recording() -> list[Step]:
    """What the real cluster did, in order; read once, for the cluster in memory changes nothing of it."""
    return [*_recording()]


@functools.cache
def _recording() -> tuple[Step, ...]:
    return tuple(load_recording(RECORDINGS))


@dataclass(kw_only=True)
class Scene:
    """A place to run the service in. ``write_config`` makes its file, ``serve`` runs it in this process."""

    folder: Path
    cluster: KubernetesApi
    gitlab: GitLab
    github: GitHub
    services: str = SERVICES
    more: str = ""
    gitlab_options: str = ""  #: more keys of the host's entry, each with a comma before it
    github_credentials: str = "token_file: github-token"
    github_options: str = ", seconds_between_writes: 0"
    public_url: str = "https://listener.example.com"
    urls: dict[str, str] = field(default_factory=dict)  #: of hosts, instead of their own
    settings: dict[str, Any] = field(default_factory=dict)

    def write_config(self) -> Path:
        for name, secret in (
            ("gitlab-token", "secret-token"),
            ("github-token", "secret-token"),
            ("password", PASSWORD),
        ):
            (self.folder / name).write_text(f"{secret}\n")
        urls = {"gitlab": self.gitlab.url, "github": self.github.url, **self.urls}
        text = f"""
            public_url: {self.public_url}
            default_namespace: team-a
            users:
              - {{name: {USER}, password_file: password, namespaces: [team-a]}}
            hosts:
              gitlab: {{kind: gitlab, url: "{urls["gitlab"]}", token_file: gitlab-token{self.gitlab_options}}}
              github: {{kind: github, url: "{urls["github"]}", {self.github_credentials}{self.github_options}}}
        """
        path = self.folder / "listener.yaml"
        path.write_text(textwrap.dedent(text) + self.more + self.services)
        return path

    def env(self) -> dict[str, str]:
        return {"KUBECONFIG": str(self.cluster.kubeconfig(self.folder / "kubeconfig"))}

    @contextlib.asynccontextmanager
    async def serve(self, **settings: Any) -> AsyncIterator[Service]:
        env: Mapping[str, str] = self.env()
        kinds = discover()
        loaded = load(self.write_config(), known_kinds=kinds, env=env)
        options: dict[str, Any] = {"kinds": kinds, "env": env, "host": "127.0.0.1", "port": 0, "grace": 5.0}
        options |= {**self.settings, **settings}
        async with Service(Settings(config=loaded.config, folder=self.folder, path=loaded.path, **options)) as service:
            yield service


@contextlib.asynccontextmanager
async def listener_process(scene: Scene, **env: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """The service as a process of its own, its log as ``stderr``; killed at the end if it still runs."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "listener",
        "serve",
        "--config",
        str(scene.write_config()),
        env={**os.environ, **scene.env(), "PORT": "0", **env},
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def basic(user: str, password: str) -> str:
    """The Authorization header of HTTP Basic."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@contextlib.asynccontextmanager
async def client(
    service: Service | int, *, user: str = USER, password: str = PASSWORD
) -> AsyncIterator[aiohttp.ClientSession]:
    """Somebody who asks the service, with Basic authentication."""
    port = service if isinstance(service, int) else service.port
    headers = {"Authorization": basic(user, password)} if user else {}
    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", headers=headers, timeout=timeout) as session:
        yield session
