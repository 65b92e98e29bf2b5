"""A package of a stranger's adds a kind of notifier: it is installed into a place of its own, and the real service tells it of a run."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.runs import move, start
from tests.scene import GITLAB_PATH, Scene
from tests.unit.notifiers.host import Answer, Host

EXAMPLE = Path(__file__).parents[2] / "config" / "examples" / "notifier-plugin"
UV = Path(sys.executable).parent / "uv"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The plug-in is in a folder of its own, as a package manager puts it there, and Python looks there too. No network is needed for it."""
    place = tmp_path / "plugins"
    how = ["--quiet", "--offline", "--no-cache", "--no-deps", "--python", sys.executable, "--target", str(place)]
    subprocess.run([UV, "pip", "install", *how, EXAMPLE], check=True, capture_output=True)
    monkeypatch.syspath_prepend(place)
    importlib.invalidate_caches()
    yield
    sys.modules.pop("tekton_ntfy", None)


@pytest.fixture
async def ntfy() -> AsyncIterator[Host]:
    async with Host() as host:
        host.default = Answer(200, {"id": "hwQ2YpKdmg", "event": "message"})
        yield host


async def test_a_notifier_of_another_package_is_told_of_a_run_by_the_real_service(
    scene: Scene, installed: None, ntfy: Host
) -> None:
    (scene.folder / "ntfy-token").write_text("tk_secret\n")
    scene.more = (
        f'channels:\n  phone: {{kind: ntfy, url: "{ntfy.url}", token_file: ntfy-token, options: {{topic: builds}}}}\n'
    )
    scene.services = f"""
services:
  - name: service-xyz
    runs: {{namespace: team-a, name: service-xyz-run-*}}
    repository: gitlab:{GITLAB_PATH}
    notify: [{{channel: phone, on: [failed]}}]
"""
    async with scene.serve():
        start(scene.cluster, "bad", "running")
        await scene.gitlab.wait_for(lambda posted: bool(posted))
        move(scene.cluster, "bad", "failed")
        await ntfy.has(requests=1)
    assert ntfy.last.headers["authorization"] == "Bearer tk_secret"
    assert (ntfy.last.json["topic"], ntfy.last.json["click"]) == (
        "builds",
        "https://listener.example.com/runs/team-a/service-xyz-run-bad",
    )
    assert "failed" in ntfy.last.json["title"].lower()
