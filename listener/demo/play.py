"""``tekton-listener demo``: an in-memory cluster, Git hosts and chat, a story of PipelineRuns, and the real service.

The service is a process of its own, started as production starts it: ``tekton-listener serve --config FILE`` with a kubeconfig. Only
what is around it is made up.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import aiohttp

from listener.demo.kubernetes import KubernetesApi
from listener.demo.stage import NAMESPACE, PASSWORD, USER, Stage, stage
from listener.demo.story import COMMITS, GITHUB_PATH, GITLAB_PATH, WEB_PATH, chapters
from listener.demo.teller import Chapter, tell

_START: Final = 60.0  # seconds for the service to answer


async def play(*, port: int, once: bool, stop: asyncio.Event) -> int:
    """Start everything, tell the story, serve until ``stop`` (or the story's end with ``once``). Gives the exit code."""
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tekton-listener-demo-")))
        around = await stack.enter_async_context(stage(folder, port=port))
        service = await stack.enter_async_context(_service(around.config, around.kubeconfig, port))
        if not await _answers(port, service):
            return 1
        print(_welcome(port, around), flush=True)
        story = asyncio.create_task(_tell_on(around.cluster, once=once))
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


@contextlib.asynccontextmanager
async def _service(config: Path, kubeconfig: Path, port: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """The very service, as a process; told to stop at the end, killed if it will not."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("AUTH_", "KUBERNETES_"))}
    env |= {"KUBECONFIG": str(kubeconfig), "PORT": str(port)}
    env.setdefault("LOG_LEVEL", "ERROR")  # that nothing here is encrypted is no news
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


def _welcome(port: int, around: Stage) -> str:
    sha, run = next(iter(COMMITS)), chapters(0, namespace=NAMESPACE)[0].runs[0].name
    base, gitlab, github = f"http://127.0.0.1:{port}", around.gitlab.url, around.github.url
    return f"""
Tekton Pipeline Listener, demo: everything is in memory, no account needed. Ctrl-C ends it.

Look at (these pages follow what happens; "Details" leads to a run's page and its log)
  A commit, on GitLab       {gitlab}/{GITLAB_PATH}/-/commit/{sha}
    its merge request       {gitlab}/{GITLAB_PATH}/-/merge_requests/{around.merge_request.iid}
  The same, on GitHub       {github}/{GITHUB_PATH}/commit/{sha}
    its pull request        {github}/{GITHUB_PATH}/pull/{around.pull.number}
  Check runs of an App      {github}/{WEB_PATH}/pull/{around.web_pull.number}/checks
  Deployments of main       {gitlab}/{GITLAB_PATH}/-/environments
  Messages to a chat        {around.chat.url}
  All runs                  {base}/runs   (user {USER}, password {PASSWORD})

Try
  Follow a log, as CI does  curl -N -u {USER}:{PASSWORD} {base}/logs/{run}
  Take its verdict          curl -f -u {USER}:{PASSWORD} {base}/status/{run}?wait=2m ; echo "exit code $?"
  Start a run, as CI does   curl -d '{{"eventid":"42","revision":"{sha}","pipeline":"lint"}}' {around.triggers.url}
    and follow it           curl -N -u {USER}:{PASSWORD} {base}/logs/service-xyz-run-42
  Health, metrics           {base}/readyz   {base}/metrics

The story:"""
