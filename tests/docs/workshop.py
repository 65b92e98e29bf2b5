"""Where the commands of the documentation are run: the demo as it is started by ``make demo``, and a folder with what the pages speak of.

``kubectl`` is one that can give the run and nothing else: what needs more of a cluster is marked so.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

from listener.demo.story import COMMITS, chapters
from tests.docs.markdown import ROOT, Block, page
from tests.e2e.test_examples import free_ports

SHA: Final = "4f1c2d3e5a6b7c8d9e0f1a2b3c4d5e6f7a8b9c0d"
_PORTS: Final = (8080, 8081, 8082, 8083, 8084)  #: of make demo
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
    """The demo's first port, and the folder that commands are run in."""

    port: int
    folder: Path

    @property
    def env(self) -> dict[str, str]:
        """What the pages take for given."""
        return {
            "PATH": f"{self.folder / 'bin'}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(self.folder),
            "PYTHONPATH": str(ROOT),
            "TEKTON_LISTENER": f"http://127.0.0.1:{self.port}",
            "TEKTON_EVENT_LISTENER": f"http://127.0.0.1:{self.port + 4}",
            "TEKTON_LISTENER_USER": "demo",
            "TEKTON_LISTENER_PASSWORD": "demo",
            "RUN": chapters(0, namespace="ci")[0].runs[0].name,
            "CI_JOB_ID": "77",
            "CI_COMMIT_SHA": next(iter(COMMITS)),
        }

    def run(self, script: str) -> Done:
        """A script, as it is written but for the demo's ports and where programs are installed."""
        for number, port in enumerate(_PORTS):
            script = re.sub(rf"(127\.0\.0\.1|localhost):{port}\b", rf"127.0.0.1:{self.port + number}", script)
        script = script.replace(".venv/bin/", "")
        done = subprocess.run(
            ["bash", "-c", f"set -e -o pipefail\n{script}"],
            cwd=self.folder,
            env=self.env,
            capture_output=True,  # apart: curl's progress goes to stderr
            timeout=_TIMEOUT,
            check=False,
            text=True,
        )
        return Done(done.returncode, done.stdout, done.stderr)


def listener_yaml() -> str:
    """The README's whole configuration."""
    (block,) = (block for block in page("README.md").blocks if block.language == "yaml")
    return block.text


@contextmanager
def workshop(folder: Path) -> Iterator[Workshop]:
    """The demo, and the files that the pages' reader has by then."""
    (folder / "listener.yaml").write_text(listener_yaml())
    (folder / "gitlab-token").write_text("glpat-not-a-token\n")
    (folder / "run.yaml").write_text(yaml.safe_dump(RUN))
    (folder / "bin").mkdir()
    _program(folder / "bin" / "tekton-listener", f'exec {sys.executable} -m listener "$@"')
    _program(
        folder / "bin" / "kubectl",
        f'case "$*" in *"get pipelinerun "*"-o yaml") cat {folder / "the-run.yaml"};; *) echo "this needs a cluster: $*"; exit 97;; esac',
    )
    (folder / "the-run.yaml").write_text(yaml.safe_dump(RUN))
    port = free_ports(5)
    demo = subprocess.Popen(
        [sys.executable, "-m", "listener", "demo", "--port", str(port)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert demo.stdout is not None
        assert any("The story:" in line for line in demo.stdout), "the demo ended"
        yield Workshop(port, folder)
    finally:
        demo.terminate()
        demo.communicate(timeout=_TIMEOUT)


def _program(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


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
