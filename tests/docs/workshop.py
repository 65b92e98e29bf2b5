"""Where the commands of the documentation are run: what ``make demo`` starts, and a folder with what the pages speak of.

``kubectl`` is one that can give the run and nothing else: what needs more of a cluster is marked so.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import io
import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import yaml

from listener import cli
from listener.assembly import read_settings
from listener.demo.stage import NAMESPACE, PASSWORD, USER, stage
from listener.demo.story import COMMITS, chapters
from listener.demo.teller import tell
from listener.service import Service
from tests.docs.markdown import Block, page

SHA: Final = "4f1c2d3e5a6b7c8d9e0f1a2b3c4d5e6f7a8b9c0d"
_TIMEOUT: Final = 60
#: The run that the README asks about.
RUN: Final = {
    "apiVersion": "tekton.dev/v1",
    "kind": "PipelineRun",
    "metadata": {
        "name": "service-xyz-run-abc12",
        "namespace": "ci",
        "uid": "5c3a2f6e-0000-4000-8000-000000000001",
        "creationTimestamp": "2026-01-01T10:00:00Z",
        "labels": {"tekton.dev/pipeline": "build"},
    },
    "spec": {"pipelineRef": {"name": "build"}, "params": [{"name": "revision", "value": SHA}]},
    "status": {
        "startTime": "2026-01-01T10:00:00Z",
        "completionTime": "2026-01-01T10:02:14Z",
        "conditions": [
            {
                "type": "Succeeded",
                "status": "True",
                "reason": "Succeeded",
                "message": "Tasks Completed: 5 (Failed: 0, Cancelled 0), Skipped: 0",
            }
        ],
        "childReferences": [
            {"kind": "TaskRun", "name": f"service-xyz-run-abc12-{task}", "pipelineTaskName": task}
            for task in ("clone", "build", "lint", "unit", "push")
        ],
    },
}


@dataclass(frozen=True, slots=True)
class Done:
    """What came of a command."""

    code: int
    output: str
    errors: str


@dataclass(frozen=True, slots=True)
class Workshop:
    """Where the demo's servers are, by the ports that they have in the pages, and the folder that commands are run in."""

    ports: Mapping[int, int]
    folder: Path

    @property
    def env(self) -> dict[str, str]:
        """What the pages take for given."""
        return {
            "PATH": f"{self.folder / 'bin'}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(self.folder),
            "TEKTON_LISTENER": f"http://127.0.0.1:{self.ports[8080]}",
            "TEKTON_EVENT_LISTENER": f"http://127.0.0.1:{self.ports[8084]}",
            "TEKTON_LISTENER_USER": USER,
            "TEKTON_LISTENER_PASSWORD": PASSWORD,
            "RUN": chapters(0, namespace=NAMESPACE)[0].runs[0].name,
            "CI_JOB_ID": "77",
            "CI_COMMIT_SHA": next(iter(COMMITS)),
        }

    def run(self, script: str, *, strict: bool) -> Done:
        """A script, as it is written but for the servers' ports. ``strict``: the first command that fails ends it."""
        for port, actual in self.ports.items():
            script = re.sub(rf"(127\.0\.0\.1|localhost):{port}\b", f"127.0.0.1:{actual}", script)
        words = shlex.split(script)
        if words[0].rpartition("/")[2] == "tekton-listener":
            return self._ask_the_listener(words[1:])
        done = subprocess.run(
            ["bash", "-c", f"{'set -e -o pipefail' if strict else ''}\n{script}"],
            cwd=self.folder,
            env=self.env,
            capture_output=True,  # apart: curl's progress goes to stderr
            timeout=_TIMEOUT,
            check=False,
            text=True,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def _ask_the_listener(self, words: list[str]) -> Done:
        """The command in this process: to start another one costs seconds."""
        said, errors = io.StringIO(), io.StringIO()
        with contextlib.chdir(self.folder), contextlib.redirect_stdout(said), contextlib.redirect_stderr(errors):
            arguments = cli._parser().parse_args(words)
            code = int(arguments.command(arguments))
        return Done(code, said.getvalue(), errors.getvalue())


def listener_yaml() -> str:
    """The README's whole configuration."""
    (block,) = (block for block in page("README.md").blocks if block.language == "yaml")
    return block.text


@contextlib.contextmanager
def workshop(folder: Path) -> Iterator[Workshop]:
    """What ``make demo`` starts, in a thread, and the files that the pages' reader has by then."""
    (folder / "listener.yaml").write_text(listener_yaml())
    (folder / "gitlab-token").write_text("glpat-not-a-token\n")
    for name in ("run.yaml", "the-run.yaml"):
        (folder / name).write_text(yaml.safe_dump(RUN))
    (folder / "bin").mkdir()
    kubectl = folder / "bin" / "kubectl"
    given = f'*"get pipelinerun "*"-o yaml") cat {folder / "the-run.yaml"};;'
    kubectl.write_text(f'#!/bin/sh\ncase "$*" in {given} *) echo "this needs a cluster: $*" >&2; exit 97;; esac\n')
    kubectl.chmod(0o755)
    (folder / "demo").mkdir()
    with ThreadPoolExecutor(1) as thread:
        loop = asyncio.new_event_loop()
        stop = asyncio.Event()
        started: Future[dict[int, int]] = Future()
        playing = thread.submit(lambda: loop.run_until_complete(_play(folder / "demo", started, stop)))
        playing.add_done_callback(lambda _: started.cancel())
        try:
            yield Workshop(started.result(_TIMEOUT), folder)
        finally:
            loop.call_soon_threadsafe(stop.set)
            playing.result(_TIMEOUT)
            loop.close()


async def _play(folder: Path, started: Future[dict[int, int]], stop: asyncio.Event) -> None:
    """The demo with the first chapter of its story."""
    async with stage(folder, port=0) as around:
        settings = read_settings(around.config, {"KUBECONFIG": str(around.kubeconfig)})
        async with Service(dataclasses.replace(settings, host="127.0.0.1", port=0, grace=5.0)) as service:
            urls = {8081: around.gitlab.url, 8082: around.github.url, 8084: around.triggers.url, 8085: around.chat.url}
            ports = {number: urlsplit(url).port or 0 for number, url in urls.items()}
            story = asyncio.create_task(tell(around.cluster, chapters(0, namespace=NAMESPACE)[0]))
            started.set_result({8080: service.port, **ports})
            await stop.wait()
            story.cancel()
            await asyncio.gather(story, return_exceptions=True)


def commands_of(block: Block) -> list[tuple[str, list[str]]]:
    """Of a ``console`` block each command with the lines that it is said to print; of the others the whole as one, without any."""
    if block.language != "console":
        return [(block.text, [])]
    found: list[tuple[str, list[str]]] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        else:
            found[-1][1].append(line)
    return found


_VARIES: Final = re.compile(r"\d+m \d+s|\d+(?:\.\d+)? ?s\b")  # how long something took
_COLOR: Final = re.compile(r"\x1b\[[0-9;]*m")


def prints(output: str, lines: list[str]) -> str | None:
    """The first of ``lines`` that ``output`` does not have; None when all are there. ``…`` is anything. Parallel tasks print in any order."""
    there = [_VARIES.sub("TIME", _COLOR.sub("", line)).strip() for line in output.splitlines()]
    for line in lines:
        parts = _VARIES.sub("TIME", line).strip().split("…")
        pattern = re.compile(".*".join(map(re.escape, parts)))
        if line.strip() != "…" and not any(pattern.fullmatch(one) for one in there):
            return line
    return None
