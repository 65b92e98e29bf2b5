"""The suite for real clusters, run against the one in memory: it passes where all is well, and fails where something is not.

One run shows both. The cluster in memory lies about two runs, and the service's account lacks one rule; just the tests that look there
may fail.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
import yaml

from e2e.rules import RULES
from listener.demo.kubernetes import KubernetesApi
from listener.demo.kubernetes.replay import Step, load
from listener.demo.kubernetes.tekton import RecordedTekton
from tests.scene import RECORDINGS

_ROOT = Path(__file__).parents[2]
_PLUGINS = ("-p", "pytest_asyncio.plugin")  # others cost a second to load


def lying(step: Step) -> Step:
    """``unnamed`` prints something else than its script, and ``onerror`` is said to have failed."""
    if step.what == "log" and "unnamed-a-pod" in step.name:
        return dataclasses.replace(step, data=step.data.replace(b"second", b"2nd"))
    if step.what == "pipelineruns" and step.name.endswith("onerror"):
        text = json.dumps(step.event).replace('"status": "True"', '"status": "False"')
        return dataclasses.replace(step, event=json.loads(text))
    return step


@pytest.fixture
async def kubeconfig(cluster: KubernetesApi, tmp_path: Path) -> AsyncIterator[Path]:
    """Leads to a cluster where recorded runs play, twenty times as fast as they did."""
    steps = [lying(step) for step in load(RECORDINGS)]
    async with RecordedTekton(cluster, RECORDINGS, speed=20, steps=steps):
        yield cluster.kubeconfig(tmp_path / "kubeconfig")


async def suite(*arguments: str, **env: str) -> asyncio.subprocess.Process:
    """``make e2e``, in a process of its own."""
    base = {k: v for k, v in os.environ.items() if not k.startswith(("E2E_", "KUBE", "PYTEST_"))}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "pytest", "e2e", *_PLUGINS, *arguments),
        env={**base, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **env},
        cwd=_ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


async def output_of(process: asyncio.subprocess.Process) -> str:
    async with asyncio.timeout(120):
        output, _ = await process.communicate()
    return output.decode()


def failed(output: str) -> set[str]:
    """The tests that failed, without their files."""
    return set(re.findall(r"^(?:FAILED|ERROR) \S+?::(\S+)", output, re.MULTILINE))


def environment(kubeconfig: Path, **more: str) -> Mapping[str, str]:
    return {"KUBECONFIG": str(kubeconfig), "E2E_LEASE": "3", "E2E_TIMEOUT": "50", **more}


async def test_the_suite_passes_where_all_is_well_and_fails_where_something_is_not(
    cluster: KubernetesApi, kubeconfig: Path, tmp_path: Path
) -> None:
    rules = tmp_path / "rendered.yaml"
    without_events = [rule for rule in RULES if rule["resources"] != ["events"]]
    rules.write_text(yaml.safe_dump({"kind": "Role", "rules": without_events}))
    runs = "fail1,cancel,pending,badref,matrix,deleted,branch,unnamed,onerror"
    process = await suite("-rf", **environment(kubeconfig, E2E_RUNS=runs, E2E_RULES=str(rules)))
    output = await output_of(process)

    assert process.returncode == 1, output
    assert failed(output) == {
        "test_its_log_is_whole_from_before_it_existed_to_its_verdict[unnamed]",
        "test_both_hosts_show_its_states_in_order_and_its_end[onerror]",
        "test_its_log_is_whole_from_before_it_existed_to_its_verdict[onerror]",
        "test_its_exit_code_is_that_of_the_run[onerror]",
        "test_what_has_arrived_is_written_on_the_run[onerror]",
        "test_a_run_without_a_commit_says_so_in_an_event[branch]",
        "test_the_cluster_has_refused_the_service_nothing",
    }, output
    assert int(re.findall(r"(\d+) passed", output)[-1]) > 40
    assert "[a : unnamed-1] is b'2nd unnamed\\n', not b'second unnamed\\n'" in output
    assert "kind: PipelineRun" in output
    assert not cluster.store.names("namespaces")
    assert not cluster.store.names("pipelineruns")


async def test_an_interrupted_suite_leaves_no_namespace(cluster: KubernetesApi, kubeconfig: Path) -> None:
    process = await suite(**environment(kubeconfig, E2E_RUNS="cancel"))
    await cluster.requests.wait_for(
        lambda seen: any(s.verb == "create" and s.resource == "pipelineruns" for s in seen), timeout=60
    )
    process.send_signal(signal.SIGINT)
    output = await output_of(process)
    assert process.returncode == 2, output
    assert not cluster.store.names("namespaces")
