"""``tekton-listener demo``: an in-memory cluster, an in-memory GitLab and GitHub, a story of PipelineRuns, and the real service.

The service is a process of its own, started as production starts it: ``tekton-listener serve --config FILE`` with a kubeconfig. Only
what is around it is made up.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import aiohttp
import yaml

from listener.demo.event_listener import EventListener
from listener.demo.github import GitHub
from listener.demo.gitlab import GitLab
from listener.demo.kubernetes import KubernetesApi
from listener.demo.story import COMMITS, GITHUB_PATH, GITLAB_PATH, Chapter, chapters, tell

USER: Final = "demo"
PASSWORD: Final = "demo"
TOKEN: Final = "demo-token"
NAMESPACE: Final = "ci"
_START: Final = 60.0  # seconds for the service to answer


async def play(*, port: int, once: bool, stop: asyncio.Event) -> int:
    """Start everything, tell the story, serve until ``stop`` (or the story's end with ``once``). Gives the exit code."""
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tekton-listener-demo-")))
        cluster = await stack.enter_async_context(KubernetesApi(port=port + 3 if port else 0, bookmark_interval=20))
        gitlab = await stack.enter_async_context(GitLab(port=port + 1 if port else 0, tokens=(TOKEN,)))
        github = await stack.enter_async_context(GitHub(port=port + 2 if port else 0, tokens=(TOKEN,)))
        triggers = await stack.enter_async_context(
            EventListener(cluster, namespace=NAMESPACE, port=port + 4 if port else 0)
        )
        gitlab.add_project(GITLAB_PATH, dict(COMMITS), any_commit=True)
        github.add_project(GITHUB_PATH, dict(COMMITS), any_commit=True)
        config = write_config(folder, gitlab=gitlab.url, github=github.url, public_url=f"http://127.0.0.1:{port}")
        cluster.kubeconfig(folder / "kubeconfig")
        service = await stack.enter_async_context(_service(config, folder / "kubeconfig", port))
        if not await _answers(port, service):
            return 1
        print(_welcome(port, gitlab, github, triggers), flush=True)
        story = asyncio.create_task(_tell_on(cluster, once=once))
        ended = asyncio.create_task(service.wait())
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait({story, ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
        code = 1 if ended.done() else 0
        for task in (story, ended, stopped):
            task.cancel()
        await asyncio.gather(story, ended, stopped, return_exceptions=True)
        return code


async def _tell_on(cluster: KubernetesApi, *, once: bool) -> None:
    """The story, again and again with other run names, so that there is always something to look at."""
    episode = 0
    while True:
        for chapter in chapters(episode, namespace=NAMESPACE):
            _announce(chapter)
            await tell(cluster, chapter)
        if once:
            return
        episode += 1
        await asyncio.sleep(20)


def _announce(chapter: Chapter) -> None:
    names = ", ".join(run.name for run in chapter.runs)
    print(f"  {chapter.title}: {names}", flush=True)


def write_config(folder: Path, *, gitlab: str, github: str, public_url: str) -> Path:
    """The service's configuration, as a user would write it."""
    (folder / "token").write_text(f"{TOKEN}\n")
    (folder / "password").write_text(f"{PASSWORD}\n")
    (folder / "link-key").write_text(f"{secrets.token_hex(32)}\n")
    config = {
        "public_url": public_url,
        "default_namespace": NAMESPACE,
        "users": [{"name": USER, "password_file": "password", "namespaces": ["*"]}],
        "hosts": {
            "gitlab": {"kind": "gitlab", "url": gitlab, "token_file": "token"},
            "github": {"kind": "github", "url": github, "token_file": "token"},
        },
        "links": "signed",  # so that "Details" opens without a password
        "signed_links": {"key_file": "link-key"},
        "logs": {"record": True, "archive": "logs"},  # so that the cancelled run keeps its log
        "services": [
            {
                "name": "service-xyz",
                "runs": {"namespace": NAMESPACE, "name": "service-xyz-run-*"},
                "repository": [f"gitlab:{GITLAB_PATH}", f"github:{GITHUB_PATH}"],
                "commit": "$(params.revision)",
            }
        ],
    }
    path = folder / "listener.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path


@contextlib.asynccontextmanager
async def _service(config: Path, kubeconfig: Path, port: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """The very service, as a process; told to stop at the end, killed if it will not."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("AUTH_", "KUBERNETES_"))}
    env |= {"KUBECONFIG": str(kubeconfig), "PORT": str(port), "LOG_LEVEL": env.get("LOG_LEVEL", "WARNING")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "listener", "serve", "--config", str(config), env=env
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(20):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()


async def _answers(port: int, service: asyncio.subprocess.Process) -> bool:
    """Wait until the service is ready; False when it ended instead (it has said why)."""
    timeout = aiohttp.ClientTimeout(total=2)
    async with aiohttp.ClientSession(timeout=timeout) as session, asyncio.timeout(_START):
        while service.returncode is None:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with session.get(f"http://127.0.0.1:{port}/readyz") as response:
                    if response.status == 200:
                        return True
            await asyncio.sleep(0.1)
    return False


def _welcome(port: int, gitlab: GitLab, github: GitHub, triggers: EventListener) -> str:
    sha = next(iter(COMMITS))
    run = chapters(0, namespace=NAMESPACE)[0].runs[0].name
    base = f"http://127.0.0.1:{port}"
    return f"""
Tekton Pipeline Listener, demo: everything is in memory, no account needed. Ctrl-C ends it.

  Look at a commit, and     {gitlab.url}/{GITLAB_PATH}/-/commit/{sha}
  from there at "Details"   {github.url}/{GITHUB_PATH}/commit/{sha}
  Follow a log, as CI does  curl -N -u {USER}:{PASSWORD} {base}/logs/{run}
  Take its verdict          curl -f -u {USER}:{PASSWORD} {base}/status/{run}?wait=2m ; echo "exit code $?"
  Start a run, as CI does   curl -d '{{"eventid":"42","revision":"{sha}","pipeline":"lint"}}' {triggers.url}
                            and follow it: curl -N -u {USER}:{PASSWORD} {base}/logs/service-xyz-run-42
  Its page                  {base}/runs/{NAMESPACE}/{run}   (user {USER}, password {PASSWORD})
  Health, metrics           {base}/readyz   {base}/metrics

The story:"""
