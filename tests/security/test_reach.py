"""Points 10, 11 and 13: what the service asks the cluster for, what it says of its secrets, and what it needs of its machine."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import aiohttp
import bcrypt
import pytest

from listener import log_format
from tests.faults.test_bad_objects import run
from tests.logs.reading import read
from tests.pipeline import finished
from tests.scene import GITLAB_PATH, PASSWORD, Scene, basic, client

ALLOWED = {
    "pipelineruns": {"get", "list", "watch", "patch"},
    "taskruns": {"get", "list", "watch"},
    "pods": {"get", "list", "watch", "log"},  # the last one is get pods/log
    "events": {"create", "get", "patch"},
    "leases": {"get", "list", "create", "update", "patch"},
}


async def test_point_10_the_cluster_is_asked_for_nothing_beyond_the_least(scene: Scene) -> None:
    scene.more = "leases: {namespace: team-a, name: ours, shards: 2}\nlogs: {record: true}\n"
    scene.services = scene.services.replace("    repository", "    deliver: guaranteed\n    repository")
    played = finished(scene.cluster)
    del scene.gitlab.projects[GITLAB_PATH]  # 404, for good: there is an Event
    scene.cluster.create("pipelineruns", run("good"))
    async with scene.serve() as service, client(service) as session:
        await service.runs.synced()
        await read(session, played.path)
        for path in ("/runs", f"/runs/team-a/{played.name}", f"/status/team-a/{played.name}"):
            async with session.get(path) as response:
                assert response.status == 200
        await scene.github.wait_for(lambda posted: len(posted) >= 1)
        await scene.cluster.requests.wait_for(lambda seen: any(s.resource == "events" for s in seen))
    used: dict[str, set[str]] = {}
    for seen in scene.cluster.requests:
        if seen.resource:
            used.setdefault(seen.resource, set()).add(seen.verb)
            if seen.resource == "leases":
                assert re.search(r"/namespaces/team-a/leases(/ours-\d\d)?$", seen.path), seen.path
    assert {"pipelineruns", "taskruns", "pods", "events", "leases"} <= set(used)
    for resource, verbs in used.items():
        assert verbs <= ALLOWED[resource], (resource, verbs)


# Secrets


async def serve(
    scene: Scene, command: Sequence[str], folder: Path, env: dict[str, str]
) -> tuple[asyncio.subprocess.Process, int, list[str]]:
    """The service as a process of its own in ``folder``; gives its port, and its log as it has come so far."""
    config = scene.write_config()
    process = await asyncio.create_subprocess_exec(
        *command, sys.executable, "-m", "listener", "serve", "--config", str(config),
        cwd=folder, env={**scene.env(), "PATH": os.environ["PATH"], "PORT": "0", "PYTHONPATH": str(Path(__file__).parents[2]), **env},
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    said: list[str] = []
    async with asyncio.timeout(30):
        while True:
            line = (await process.stderr.readline()).decode()
            assert line, "".join(said)
            said.append(line)
            if found := re.search(r"listening on http://[^ ]*:(\d+)", line):
                return process, int(found[1]), said


async def test_point_11_no_secret_is_told_by_a_log_a_metric_or_an_error(scene: Scene, tmp_path: Path) -> None:
    key = "k3y-" * 10
    hashed = bcrypt.hashpw(b"wonderland", bcrypt.gensalt(4)).decode()
    (scene.folder / "link-key").write_text(key)
    (scene.folder / "htpasswd").write_text(f"alice:{hashed}\n")
    scene.more = "links: signed\nsigned_links: {key_file: link-key}\n"
    scene.gitlab.tokens = {"another-token"}  # 401, again and again
    scene.cluster.create("pipelineruns", run("a"))
    env = {"LOG_LEVEL": "DEBUG", "LOG_FORMAT": "json", "AUTH_USERNAME": "admin", "AUTH_PASSWORD": "env-pässword"}
    process, port, said = await serve(scene, [], tmp_path, env)
    answers = []
    try:
        headers = [
            basic("ci", PASSWORD),
            basic("ci", "typed-wr0ng"),
            basic("typed-as-n4me", "x"),
            basic("admin", "env-pässword"),
            "Bearer t0ken",
        ]
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
            for path in (
                "/readyz",
                "/metrics",
                "/runs",
                "/status/service-xyz-run-a",
                "/logs/service-xyz-run-a?follow=0",
                "/logs/x?tail=x",
                "/no",
            ):
                for header in headers:
                    async with session.get(path, headers={"Authorization": header}) as response:
                        answers.append(await response.text() + repr(response.raw_headers))
        await scene.github.wait_asked(1)
        await scene.gitlab.wait_asked(1)
    finally:
        process.kill()  # told to stop, it would go on trying to deliver for a while
        _, rest = await process.communicate()
    log = "".join(said) + rest.decode()
    assert "GET /readyz" in log
    assert "the token is refused" in log
    for secret in (
        PASSWORD,
        "secret-token",
        key,
        hashed,
        "env-p",
        "typed-wr0ng",
        "typed-as-n4me",
        basic("ci", PASSWORD)[8:],
        "t0ken",
    ):
        assert secret not in log, secret
        assert not any(secret in one for one in answers), secret


@pytest.mark.parametrize("level", log_format.LEVELS)
def test_point_11_libraries_that_print_requests_stay_at_info(level: str) -> None:
    code = (
        "import logging, os; from listener import log_format; log_format.set_up(os.environ)\n"
        "names = ['github.Requester', 'urllib3.connectionpool', 'kubernetes_asyncio.client.rest', 'gitlab', 'aiohttp.client', 'asyncio', 'requests']\n"
        "assert min(logging.getLogger(n).getEffectiveLevel() for n in names) >= logging.INFO\n"
    )
    root = Path(__file__).parents[2]
    subprocess.run(
        [sys.executable, "-c", code], check=True, cwd=root, env={"LOG_LEVEL": level, "PATH": os.environ["PATH"]}
    )


# The machine


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv (util-linux)")
async def test_point_13_it_runs_without_capabilities_and_writes_only_where_it_is_told_to(
    scene: Scene, tmp_path: Path
) -> None:
    here, temporary, spool = tmp_path / "cwd", tmp_path / "tmp", tmp_path / "spool"
    for folder in (here, temporary, spool):
        folder.mkdir()
    here.chmod(0o555)
    temporary.chmod(0o555)
    scene.more = "logs: {spool_folder: spool}\n"
    played = finished(scene.cluster)
    command = ["setpriv", "--no-new-privs", "--inh-caps=-all"]
    command += ["--bounding-set=-all"] if os.geteuid() == 0 else []
    env = {"HOME": str(here), "TMPDIR": str(temporary), "PYTHONDONTWRITEBYTECODE": "1"}
    process, port, _ = await serve(scene, command, here, env)
    proc = Path("/proc", str(process.pid))
    try:
        status = (proc / "status").read_text()
        assert re.search(r"^CapEff:\t0+$", status, re.MULTILINE)
        assert re.search(r"^NoNewPrivs:\t1$", status, re.MULTILINE)
        async with client(port) as session:
            assert (await read(session, played.path))[-1].startswith("# verdict: Succeeded")
            opened = [str(link.readlink()) for link in (proc / "fd").iterdir()]
        written = [name for name in opened if name.startswith(str(tmp_path)) and "deleted" in name]
        assert written
        assert all(name.startswith(str(spool)) for name in written), written
        assert int(port) > 1024
    finally:
        process.terminate()
        await process.communicate()
    assert process.returncode == 0
    assert not list(here.iterdir()) + list(temporary.iterdir()) + list(spool.iterdir())
