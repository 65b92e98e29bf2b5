"""What the bench's parts share: the service as a process, its memory and time, its configuration."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

import aiohttp

from listener.demo.gitlab import GitLab
from listener.demo.kubernetes import KubernetesApi


def peak_mb(pid: int) -> float:
    """The most memory that a process has had, in MB."""
    return int(Path(f"/proc/{pid}/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024


def cpu_seconds(pid: int) -> float:
    """User and system time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


async def is_ready(session: aiohttp.ClientSession, port: int) -> bool:
    try:
        async with session.get(f"http://127.0.0.1:{port}/readyz") as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False


async def child(module: str, *arguments: str) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *arguments, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    if process.returncode != 0:
        raise SystemExit(f"{module} {' '.join(arguments)} failed")
    figures: dict[str, Any] = json.loads(output)
    return figures


def write_config(folder: Path, *, gitlab_url: str, namespace: str) -> Path:
    (folder / "token").write_text("secret-token")
    config = folder / "listener.yaml"
    config.write_text(
        f"""
public_url: http://127.0.0.1
users: [{{name: bench, password_file: token, namespaces: ["*"]}}]
hosts: {{gitlab: {{kind: gitlab, url: "{gitlab_url}", token_file: token, threads: 4}}}}
services:
  - {{name: bench, runs: {{namespace: {namespace}}}, repository: gitlab:group/bench, context: $(run.name)}}
"""
    )
    return config


async def serve(folder: Path, cluster: KubernetesApi, gitlab: GitLab) -> asyncio.subprocess.Process:
    config = write_config(folder, gitlab_url=gitlab.url, namespace="ci")
    env = os.environ | {
        "KUBECONFIG": str(cluster.kubeconfig(folder / "kubeconfig")),
        "PORT": "0",
        "LOG_LEVEL": "ERROR",
    }
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "listener", "serve", "--config", str(config), env=env, stderr=asyncio.subprocess.DEVNULL
    )
