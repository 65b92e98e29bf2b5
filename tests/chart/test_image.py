"""What the Dockerfile says holds, without a container: the wheel is built and installed with the constraints into an empty environment, and
the service is started from there with the Dockerfile's own ENTRYPOINT, CMD, ENV and HEALTHCHECK, as a user that may write nowhere but to TMPDIR."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import kubernetes_asyncio
import pytest

from tests import quick
from tests.chart import dockerfile
from tests.chart.rendering import ROOT
from tests.install import OnlyPipError, like_pip
from tests.replica import Replica
from tests.scene import Scene, client

BIN = Path(sys.executable).parent
BUILD, FINAL = dockerfile.stages()
VENV = "/opt/venv"  #: in the image
SETPRIV = shutil.which("setpriv")  # of util-linux


@dataclass(frozen=True, slots=True)
class Image:
    """What the image would hold, somewhere else."""

    folder: Path
    wheel: Path
    venv: Path

    def environment(self, **more: str) -> dict[str, str]:
        """What the Dockerfile sets, and nothing else."""
        return {key: value.replace(VENV, str(self.venv)) for key, value in FINAL.environment.items()} | more


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    """Built once. Its folder may be read by everybody: the service runs as somebody else."""
    folder = Path(tempfile.mkdtemp(prefix="image-"))
    folder.chmod(0o755)
    try:
        source = folder / "source"
        copy_sources(source)
        wheel = build(source, folder / "wheels")
        install(wheel, folder / "venv")
        compile_like_pip(folder / "venv")
        yield Image(folder, wheel, folder / "venv")
    finally:
        shutil.rmtree(folder)


def copy_sources(target: Path) -> None:
    """What the first stage copies."""
    target.mkdir()
    for name in copied():
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, target / name)


def copied() -> list[str]:
    """What the first stage copies from the repository."""
    return [name.removeprefix("./") for words in BUILD.copied for name in words[:-1]]


def build(source: Path, wheels: Path) -> Path:
    """The wheel, with the constraints' setuptools; by uv, or by pip where uv cannot."""
    constraints = str(source / "constraints.txt")
    if not _succeeds(BIN / "uv", "build", "--wheel", "--build-constraints", constraints, "--out-dir", wheels, source):
        env = {**quick.outside(), "PIP_CONSTRAINT": constraints, "PIP_BUILD_CONSTRAINT": constraints}
        subprocess.run(
            [sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", wheels, source], check=True, env=env
        )
    (wheel,) = wheels.glob("*.whl")
    return wheel


def install(wheel: Path, venv: Path) -> None:
    """With the extras that the Dockerfile names."""
    extras = BUILD.arguments["EXTRAS"]
    wanted = f"{wheel}[{extras}]" if extras else str(wheel)
    constraints = ROOT / "constraints.txt"
    if _succeeds(BIN / "uv", "venv", "--quiet", "--python", sys.executable, venv) and _succeeds(
        BIN / "uv", "pip", "install", "--python", venv / "bin" / "python", "-c", constraints, wanted
    ):
        return
    subprocess.run([sys.executable, "-m", "venv", "--clear", venv], check=True)
    command = [str(venv / "bin" / "pip"), "install", "--quiet", "-c", str(constraints), wanted]
    subprocess.run(command, check=True, env=quick.outside())
    subprocess.run([venv / "bin" / "pip", "uninstall", "--quiet", "--yes", "pip", "setuptools"], check=True)


def compile_like_pip(venv: Path) -> None:
    """The image's pip compiles everything. Here only what is imported is compiled, and the thousand files of one package are taken with their
    bytecode from the environment that we run in, where they are the same."""
    (packages,) = venv.glob("lib/python3.*/site-packages")
    ours = Path(kubernetes_asyncio.__file__).parent
    if _sources(ours.parent) == _sources(packages):
        for cache in ours.rglob("__pycache__"):  # sources may be one file, linked from the installer's cache
            shutil.copytree(cache, packages / cache.relative_to(ours.parent), dirs_exist_ok=True)
    parts = "import listener.service, notifiers.gitlab, notifiers.github"
    subprocess.run([venv / "bin" / "python", "-c", parts], cwd="/", env={}, check=True)


def _sources(packages: Path) -> list[str]:
    """Names and digests of kubernetes_asyncio's sources."""
    (record,) = packages.glob("kubernetes_asyncio-*.dist-info/RECORD")
    return sorted(line for line in record.read_text().splitlines() if ".py,sha256=" in line)


def _succeeds(*command: str | Path) -> bool:
    env = _environment_of_uv()
    return env is not None and subprocess.run(command, stdout=subprocess.DEVNULL, check=False, env=env).returncode == 0


@functools.cache
def _environment_of_uv() -> dict[str, str] | None:
    try:
        return like_pip(quick.outside())
    except OnlyPipError:
        return None


# The file


def test_hadolint_has_nothing_to_say() -> None:
    found = subprocess.run([BIN / "hadolint", dockerfile.PATH], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "")


def test_it_is_pinned_slim_and_without_root() -> None:
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", FINAL.base)
    assert FINAL.base == BUILD.base
    user, _, group = FINAL.user.partition(":")
    assert int(user) > 0
    assert int(group) > 0
    assert FINAL.run == [], "the last stage installs nothing"
    assert FINAL.copied == [["--from=build", VENV, VENV]]


def test_it_installs_with_the_constraints_and_only_extras_that_there_are() -> None:
    (run,) = BUILD.run
    assert "pip wheel --no-deps" in run
    assert f"python -m venv --without-pip {VENV}" in run
    assert f"pip --python {VENV}/bin/python install" in run
    assert BUILD.environment["PIP_CONSTRAINT"] == BUILD.environment["PIP_BUILD_CONSTRAINT"] == "/src/constraints.txt"
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(filter(None, BUILD.arguments["EXTRAS"].split(","))) <= set(known) - {"dev"}
    assert "archive" in BUILD.arguments["EXTRAS"]


def test_what_is_copied_is_not_ignored() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert lines[1] == "*"
    assert {line[1:] for line in lines if line.startswith("!")} == set(copied())


def test_the_chart_sets_what_the_image_is_told_by() -> None:
    from tests.chart.combinations import AUTH
    from tests.chart.rendering import render

    release = render(AUTH)
    chart = {entry["name"]: entry.get("value") for entry in release.container["env"]}
    assert chart["TEKTON_LISTENER_CONFIG"] == FINAL.environment["TEKTON_LISTENER_CONFIG"]
    assert chart["PORT"] == FINAL.environment["PORT"]
    assert f"{release.pod['securityContext']['runAsUser']}:{release.pod['securityContext']['runAsGroup']}" == FINAL.user
    assert "command" not in release.container
    assert "args" not in release.container


# What it makes


async def test_the_wheel_installed_with_the_constraints_is_complete_and_starts_as_the_image_does(
    image: Image, scene: Scene
) -> None:
    """One test, for parallel runs would build the image once for each."""
    holds_every_file(image)
    holds_what_the_constraints_name(image)
    makes_the_schema_of_the_configuration(image)
    await starts_where_it_may_write_nowhere_but_to_tmpdir(image, scene)


def holds_every_file(image: Image) -> None:
    with zipfile.ZipFile(image.wheel) as wheel:
        packed = set(wheel.namelist())
    tracked = subprocess.run(
        ["git", "ls-files", "listener", "notifiers"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    files = tracked.stdout.split() or [
        str(p.relative_to(ROOT)) for p in (ROOT / "listener").rglob("*.*") if "__pycache__" not in p.parts
    ]
    assert len(files) > 100
    assert not [name for name in files if name not in packed]


def holds_what_the_constraints_name(image: Image) -> None:
    pinned = {line.strip().lower().replace("_", "-") for line in (ROOT / "constraints.txt").read_text().splitlines()}
    (packages,) = (image.venv / "lib").glob("python3.*/site-packages")
    found = set()
    for info in packages.glob("*.dist-info"):
        about = (info / "METADATA").read_text()
        name, version = (re.search(rf"^{key}: (.*)$", about, re.MULTILINE) for key in ("Name", "Version"))
        assert name is not None
        assert version is not None
        found.add(f"{name[1]}=={version[1]}".lower().replace("_", "-"))
    assert len(found) > 20
    assert {one for one in found - pinned if not one.startswith("tekton-pipeline-listener==")} == set()
    assert not {one.partition("==")[0] for one in found} & {"pip", "setuptools", "wheel", "pytest"}


def makes_the_schema_of_the_configuration(image: Image) -> None:
    command = [str(image.venv / "bin" / "python"), "-m", "listener.config"]
    found = subprocess.run(command, cwd="/", env=image.environment(), capture_output=True, text=True, check=True)
    assert found.stdout == (ROOT / "config" / "listener.schema.json").read_text()


async def starts_where_it_may_write_nowhere_but_to_tmpdir(image: Image, scene: Scene) -> None:
    async with started(image, scene) as (one, environment):
        port = await one.port()
        assert port == int(environment["PORT"])
        await one.logged("PipelineRuns known")
        assert await one.get("/health") == (200, '{"status":1}')
        assert (await one.get("/readyz"))[0] == 200
        async with client(port) as session:
            async with session.get("/runs") as page:
                assert page.status == 200
                script = re.search(r'src="[./]*(/static/[^"]+\.js)"', await page.text())
                assert script is not None
            async with session.get(script[1]) as answer:
                assert answer.status == 200
        assert await run(FINAL.health, environment) == 0
        assert await run(FINAL.health, {**environment, "PORT": str(free_port())}) != 0
        if SETPRIV or os.geteuid() != 0:
            for place in (environment["HOME"], str(image.venv / "bin")):
                assert await run(["touch", f"{place}/file"], environment) != 0, f"{place} is not read-only"
        assert await one.stop() == 0


@contextlib.asynccontextmanager
async def started(image: Image, scene: Scene) -> AsyncIterator[tuple[Replica, dict[str, str]]]:
    """The service as the image starts it, without capabilities; its working directory is HOME, and all but TMPDIR is read-only."""
    scene.write_config()
    config, home, scratch = image.folder / "config", image.folder / "home", image.folder / "tmp"
    shutil.copytree(scene.folder, config, dirs_exist_ok=True)
    scene.cluster.kubeconfig(config / "kubeconfig")
    home.mkdir()
    scratch.mkdir()
    scratch.chmod(0o1777)
    sealed = [config, home, *(path for path in image.venv.rglob("*") if path.is_dir() and not path.is_symlink())]
    for path in sealed:
        path.chmod(0o555)
    environment = image.environment(
        TEKTON_LISTENER_CONFIG=str(config / "listener.yaml"),
        KUBECONFIG=str(config / "kubeconfig"),
        HOME=str(home),
        TMPDIR=str(scratch),
        PORT=str(free_port()),
    )
    process = await asyncio.create_subprocess_exec(
        *_unprivileged([*FINAL.entrypoint, *FINAL.command], environment),
        env=environment,
        cwd=home,
        stderr=asyncio.subprocess.PIPE,
    )
    one = Replica(process, "image")
    try:
        yield one, environment
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await one._reading
        for path in sealed:
            path.chmod(0o755)


async def run(command: list[str], environment: dict[str, str]) -> int:
    """A command's exit code, beside the service."""
    words = _unprivileged(command, environment)
    process = await asyncio.create_subprocess_exec(*words, env=environment, stderr=asyncio.subprocess.DEVNULL)
    return await process.wait()


def _unprivileged(command: list[str], environment: dict[str, str]) -> list[str]:
    """The command without capabilities, as the chart has it: what is read-only is so for root too."""
    program = shutil.which(command[0], path=environment["PATH"])  # PATH is the environment's, not ours
    assert program is not None, command
    prefix = (
        [SETPRIV, "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"] if SETPRIV and os.geteuid() == 0 else []
    )
    return [*prefix, program, *command[1:]]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
