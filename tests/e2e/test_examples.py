"""The examples, word for word, against the demo: real processes, real ``curl``."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from listener.check_config import explain, read_run
from listener.config import load
from listener.demo.stage import PORTS
from listener.demo.story import COMMITS
from notifiers.registry import discover

EXAMPLES = Path(__file__).parents[2] / "config" / "examples"
pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")


@dataclass(frozen=True)
class Demo:
    port: int
    output: str

    @property
    def variables(self) -> dict[str, str]:
        return {
            "TEKTON_LISTENER": f"http://127.0.0.1:{self.port}",
            "TEKTON_EVENT_LISTENER": f"http://127.0.0.1:{self.port + 4}",
            "TEKTON_LISTENER_USER": "demo",
            "TEKTON_LISTENER_PASSWORD": "demo",
            "PATH": "/usr/local/bin:/usr/bin:/bin",
        }


def free_ports(number: int) -> int:
    """The first of ``number`` neighbouring ports that are free."""
    for first in range(20000 + os.getpid() * 10 % 20000, 60000, 10):  # tests run in several processes
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for offset in range(number):
                stack.enter_context(socket.create_server(("127.0.0.1", first + offset)))
            return first
    raise AssertionError("no free ports")


@pytest.fixture
async def demo() -> AsyncIterator[Demo]:
    port = free_ports(PORTS + 1)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "listener", "demo", "--port", str(port), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    output = ""
    async with asyncio.timeout(60):
        while "The story:" not in output:
            line = await process.stdout.readline()
            assert line, output
            output += line.decode()
    yield Demo(port, output)
    process.terminate()
    await process.communicate()
    assert process.returncode == 0


@dataclass(frozen=True)
class Result:
    code: int
    output: str


async def shell(script: str, env: dict[str, str]) -> Result:
    """Run a job's script as a runner does: one shell, the first failing line ends it."""
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", f"set -e\n{script}", env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(60):
        output, _ = await process.communicate()
    return Result(process.returncode or 0, output.decode())


def gitlab_script() -> str:
    job: dict[str, Any] = yaml.safe_load((EXAMPLES / "gitlab-ci.yml").read_text())["tekton"]
    return "\n".join(job["script"])


def github_script() -> str:
    job: dict[str, Any] = yaml.safe_load((EXAMPLES / "github-actions.yml").read_text())["jobs"]["tekton"]
    return "\n".join(step["run"] for step in job["steps"])


SHA = next(iter(COMMITS))


async def test_the_gitlab_job_starts_a_run_shows_its_log_live_and_takes_its_verdict(demo: Demo) -> None:
    env = demo.variables | {"CI_JOB_ID": "1234", "CI_COMMIT_SHA": SHA, "CI_COMMIT_REF_NAME": "main"}
    passed, failed = await asyncio.gather(
        shell(gitlab_script(), env | {"PIPELINE": "build"}),
        shell(gitlab_script(), env | {"PIPELINE": "lint", "CI_JOB_ID": "1235"}),
    )

    assert passed.code == 0, passed.output
    assert "# ... waiting for PipelineRun ci/service-xyz-run-1234 to be created" in passed.output
    assert [line for line in passed.output.splitlines() if line.startswith("[build : compile]")] == [
        f"[build : compile] compiling module {number} of 12" for number in range(1, 13)
    ]
    assert "# verdict: Succeeded (Passed in" in passed.output
    assert '"reason":"Succeeded","type":"Succeeded","status":"True"}' in passed.output

    assert failed.code == 22, failed.output
    assert "[lint : ruff] Found 1 error." in failed.output
    assert "lint › ruff exited 1" in failed.output


async def test_the_github_workflow_does_the_same(demo: Demo) -> None:
    variables = {"RUN": "service-xyz-run-7-1", "EVENTID": "7-1", "GITHUB_SHA": SHA, "GITHUB_REF_NAME": "main"}
    failed = await shell(github_script(), demo.variables | variables | {"PIPELINE": "lint"})
    assert failed.code == 22, failed.output
    assert "# verdict: Failed (Failed in" in failed.output


async def test_the_commands_that_the_demo_prints_work(demo: Demo) -> None:
    curls = re.findall(r"curl (?:-N|-f) .*", demo.output)
    logs = next(command for command in curls if "/logs/service-xyz-run-build" in command)
    status = next(command for command in curls if "/status/" in command)
    followed = await shell(logs, demo.variables)
    assert "# verdict: Succeeded" in followed.output
    verdict = await shell(status, demo.variables)
    assert verdict.output.rstrip().endswith("exit code 0")
    pages = re.findall(r"http://\S+/commit/[0-9a-f]{40}", demo.output)
    assert len(pages) == 2
    for page in pages:
        shown = await shell(f"curl -sS -f {page}", demo.variables)
        assert "tekton/build" in shown.output
        assert "Passed in" in shown.output


def test_a_run_of_the_trigger_template_leads_to_its_commit_by_the_shipped_configuration(tmp_path: Path) -> None:
    documents = list(yaml.safe_load_all((EXAMPLES / "trigger.yaml").read_text()))
    template = next(document for document in documents if document["kind"] == "TriggerTemplate")
    run = yaml.safe_dump(template["spec"]["resourcetemplates"][0] | {"kind": "PipelineRun"})
    for name, value in {"eventid": "1234", "revision": SHA, "branch": "main", "pipeline": "build"}.items():
        run = run.replace(f"$(tt.params.{name})", value)
    path = tmp_path / "run.yaml"
    path.write_text(run.replace("metadata:\n", "metadata:\n  namespace: ci\n"))
    kinds = discover()
    config = load(EXAMPLES.parent / "listener.yaml", known_kinds=kinds, env={}, check_files=False).config
    lines, leads = explain(config, read_run(path), kinds)
    assert leads
    assert any(SHA in line for line in lines)
    assert "  context     tekton/build" in lines
