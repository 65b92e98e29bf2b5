"""What the log parts of the bench share: the cluster, the service and the readers, each a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from tests.bench.processes import cpu_seconds, free_port, is_ready, peak_mb

NAMESPACE = "logs"
RECORDED = "recorded"  #: the namespace whose runs are recorded without readers
USER = "bench:secret-token"
_IDS = itertools.count()


@dataclass
class Stage:
    """A cluster and a service that serves its logs."""

    folder: Path
    cluster_process: asyncio.subprocess.Process
    cluster: str  #: URL
    service: asyncio.subprocess.Process
    url: str  #: of the service
    _answers: dict[int, asyncio.Future[dict[str, Any]]] = field(default_factory=dict)

    async def tell(self, do: str, **how: Any) -> dict[str, Any]:
        """Give the cluster's process a command, and wait for its answer."""
        number = next(_IDS)
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        assert self.cluster_process.stdin is not None
        self.cluster_process.stdin.write(json.dumps({"id": number, "do": do, "how": how}).encode() + b"\n")
        async with asyncio.timeout(600):
            return await answer

    async def hear(self) -> None:
        """Take the cluster's answers."""
        assert self.cluster_process.stdout is not None
        async for line in self.cluster_process.stdout:
            said = json.loads(line)
            self._answers.pop(said["id"]).set_result(said["answer"])

    async def start_again(self) -> None:
        """Another service in place of the one that was, which is killed."""
        self.service.kill()
        await self.service.wait()
        self.service, self.url = await _serve(self.folder)

    def cpu(self) -> float:
        """Seconds that the service has used."""
        return cpu_seconds(self.service.pid)

    def memory(self) -> float:
        """What the service has now, in MB."""
        return int(self._status("VmRSS")) / 1024

    def peak(self) -> float:
        """The most it had since ``forget_peak``, in MB."""
        return peak_mb(self.service.pid)

    def forget_peak(self) -> None:
        Path(f"/proc/{self.service.pid}/clear_refs").write_text("5")

    def _status(self, key: str) -> str:
        return Path(f"/proc/{self.service.pid}/status").read_text().partition(f"{key}:")[2].split()[0]

    def direct(self, pod: str, *, timestamps: bool = False) -> str:
        """Where the cluster itself has a container's log."""
        more = "&timestamps=true" if timestamps else ""
        return f"{self.cluster}/api/v1/namespaces/{NAMESPACE}/pods/{pod}/log?container=step-s&follow=true{more}"

    def path(self, run: str) -> str:
        return f"/logs/{NAMESPACE}/{run}"

    async def curl(self, url: str, *options: str) -> dict[str, float]:
        """``curl -sN URL > /dev/null``: bytes, seconds in all, seconds until the first byte of the body."""
        report = "%{size_download} %{time_total} %{time_starttransfer}"
        process = await asyncio.create_subprocess_exec(
            "curl", "-sfN", "-u", USER, *options, "-o", "/dev/null", "-w", report, url,
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        output, _ = await process.communicate()
        if process.returncode:
            raise SystemExit(f"curl {url} exited {process.returncode}")
        size, seconds, first = (float(word) for word in output.split())
        return {"bytes": size, "seconds": seconds, "first": first}

    @contextlib.asynccontextmanager
    async def readers(self, paths: Sequence[str], *, url: str = "", **options: Any) -> AsyncIterator[Readers]:
        """A process of readers, all of which have their headers."""
        arguments = [f"--{key}={value}" for key, value in options.items()]
        arguments += [f"--url={url or self.url}", f"--paths={','.join(paths)}", f"--user={USER}"]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.bench.logs_readers", *arguments, stdout=asyncio.subprocess.PIPE, limit=2**28
        )
        readers = Readers(process)
        try:
            await readers.line()
            yield readers
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


@dataclass(frozen=True)
class Readers:
    process: asyncio.subprocess.Process

    async def line(self) -> str:
        assert self.process.stdout is not None
        async with asyncio.timeout(600):
            line = await self.process.stdout.readline()
        if not line:
            raise SystemExit("the readers failed")
        return line.decode()

    async def got(self) -> tuple[float, list[dict[str, Any]]]:
        """When those that did not stall had everything (``time.monotonic``), and what each got."""
        done = float(await self.line())
        return done, json.loads(await self.line())


@contextlib.asynccontextmanager
async def stage() -> AsyncIterator[Stage]:
    """Cluster and service, begun; ended when it is left."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cluster = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.bench.logs_cluster",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=2**24,
        )  # fmt: skip
        assert cluster.stdout is not None
        url = (await cluster.stdout.readline()).decode().strip()
        _kubeconfig(folder, url)
        _config(folder)
        service, address = await _serve(folder)
        one = Stage(folder, cluster, url, service, address)
        hearing = asyncio.create_task(one.hear())
        try:
            yield one
        finally:
            hearing.cancel()
            for process in (one.service, cluster):
                if process.returncode is None:
                    process.kill()
                await process.wait()


async def _serve(folder: Path) -> tuple[asyncio.subprocess.Process, str]:
    """The service, ready, and its URL."""
    port = free_port()
    env = os.environ | {"KUBECONFIG": str(folder / "kubeconfig"), "PORT": str(port), "LOG_LEVEL": "ERROR"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "listener", "serve", "--config", str(folder / "listener.yaml"), env=env
    )
    async with aiohttp.ClientSession() as session, asyncio.timeout(60):
        while not await is_ready(session, port):
            await asyncio.sleep(0.05)
    return process, f"http://127.0.0.1:{port}"


def _kubeconfig(folder: Path, url: str) -> None:
    path = folder / "kubeconfig"
    content = {
        "apiVersion": "v1", "kind": "Config", "current-context": "bench",
        "clusters": [{"name": "bench", "cluster": {"server": url}}],
        "users": [{"name": "bench", "user": {}}],
        "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench"}}],
    }  # fmt: skip
    path.write_text(yaml.safe_dump(content))


def _config(folder: Path) -> None:
    (folder / "token").write_text("secret-token")
    path = folder / "listener.yaml"
    path.write_text(
        f"""
public_url: http://127.0.0.1
users: [{{name: bench, password_file: token, namespaces: ["*"]}}]
hosts: {{gitlab: {{kind: gitlab, url: "http://127.0.0.1:9", token_file: token}}}}
services:
  - {{name: recorded, runs: {{namespace: {RECORDED}}}, repository: gitlab:group/bench, logs: record}}
logs: {{streams: 5000, streams_per_user: 5000, archive: archive, spool_folder: {folder}}}
"""
    )
