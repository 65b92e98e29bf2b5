"""The command line as a user meets it: processes, exit codes, one sentence for each mistake."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

import pytest
import yaml

from listener.check_config import check
from tests.scene import SHA, Scene, listener_process


async def listener(*arguments: str, env: dict[str, str] | None = None) -> tuple[int, str, str]:
    base = {k: v for k, v in os.environ.items() if not k.startswith(("AUTH_", "KUBE", "PORT"))}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "listener",
        *arguments,
        env={**base, **(env or {})},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(30):
        out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


def explained(config: Path, run: Path) -> int:
    """``check-config CONFIG --run RUN``, without a process of its own."""
    return check(config, run=run, check_files=True, env={})


def run_file(folder: Path, **meta: object) -> Path:
    body = {
        "apiVersion": "tekton.dev/v1",
        "kind": "PipelineRun",
        "metadata": {"name": "service-xyz-run-1", "namespace": "team-a", **meta},
        "spec": {"params": [{"name": "revision", "value": SHA}]},
    }
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(body))
    return path


async def test_check_config_explains_where_a_run_would_be_reported(scene: Scene) -> None:
    config = scene.write_config()
    code, out, _ = await listener("check-config", str(config), "--run", str(run_file(scene.folder)))
    assert code == 0
    assert "repository  group/service-xyz on gitlab" in out
    assert "repository  acme/service-xyz on github" in out
    assert f"commit      {SHA} (params.revision)" in out
    assert "state       pending: Queued" in out


def test_check_config_says_where_a_forks_commit_would_be_reported_or_why_not(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    scene.services = """
services:
  - name: service-xyz
    runs: {namespace: team-a, name: service-xyz-run-*}
    repository: [gitlab:group/service-xyz, github:acme/service-xyz]
    fallback_repository: gitlab:$(labels.fork)/service-xyz
"""
    config = scene.write_config()
    for labels, said in (
        ({"fork": "someone"}, "fallback    someone/service-xyz on gitlab, where the first one answers 403 or 404"),
        ({}, "fallback    none: the run has no $(labels.fork)"),
    ):
        assert explained(config, run_file(scene.folder, labels=labels)) == 0
        out = capsys.readouterr().out
        assert said in out
        assert out.count("fallback") == 1


def test_check_config_says_why_a_run_leads_nowhere(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    assert explained(scene.write_config(), run_file(scene.folder, namespace="x")) == 1
    out = capsys.readouterr().out
    assert "no service claims it" in out
    assert "service-xyz wants namespace team-a, name service-xyz-run-*" in out


def test_check_config_refuses_what_is_no_run_with_a_sentence(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    config = scene.write_config()
    for text, said in (("kind: Pod\n", "kind is 'Pod'"), ("a: [", "not YAML"), ("", "holds 0 documents")):
        (scene.folder / "x.yaml").write_text(text)
        assert explained(config, scene.folder / "x.yaml") == 2
        assert said in capsys.readouterr().err


async def test_a_wrong_configuration_is_exit_2_and_every_problem_a_line(scene: Scene) -> None:
    config = scene.write_config()
    (scene.folder / "gitlab-token").unlink()
    config.write_text(config.read_text() + "oops: 1\n")
    for command in (["check-config", str(config)], ["serve", "--config", str(config)]):
        code, out, err = await listener(*command, env=scene.env())
        assert code == 2
        text = out + err
        assert "hosts.gitlab.token_file: gitlab-token: No such file or directory" in text
        assert "oops: unknown key" in text
        assert "Traceback" not in text


async def test_what_keeps_the_service_from_starting_is_one_line(scene: Scene) -> None:
    config = scene.write_config()
    code, _, err = await listener("serve", "--config", str(config), env={"KUBECONFIG": "/nowhere"})
    assert (code, err.count("\n")) == (1, 3)  # two warnings of http:// before it
    assert "KUBECONFIG=/nowhere: no such file" in err
    with socket.create_server(("0.0.0.0", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, _, err = await listener("serve", "--config", str(config), env={**scene.env(), "PORT": port})
    assert code == 1
    assert f"cannot listen on 0.0.0.0:{port}" in err
    for env, said in (({"PORT": "http"}, "PORT=http"), ({"LOG_LEVEL": "loud"}, "LOG_LEVEL=loud")):
        code, _, err = await listener("serve", "--config", str(config), env={**scene.env(), **env})
        assert code == 2
        assert said in err
    assert (await listener("dance"))[0] == 2


async def test_an_unreachable_cluster_is_named_and_tried_again_until_it_answers(scene: Scene) -> None:
    await scene.cluster.stop()
    said = ""
    async with listener_process(scene) as process, asyncio.timeout(30):
        assert process.stderr is not None
        while said.count("trying again") < 2:
            said += (await process.stderr.readline()).decode()
        assert f"watching /apis/tekton.dev/v1/pipelineruns on {scene.cluster.url} failed" in said
        await scene.cluster.start()
        while "PipelineRuns known" not in said:
            said += (await process.stderr.readline()).decode()
        process.send_signal(signal.SIGTERM)
        await process.communicate()
    assert process.returncode == 0
    assert "works again" in said
