"""Fixtures: real servers, started in milliseconds."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from listener.demo.github import GitHub
from listener.demo.gitlab import GitLab
from listener.demo.kubernetes import KubernetesApi
from tests import quick
from tests.archives import Shelf
from tests.s3 import S3Server
from tests.scene import GITHUB_PATH, GITLAB_PATH, SHA, Scene

settings.register_profile("listener", deadline=None)  # a busy machine is no defect
settings.load_profile("listener")


@pytest.fixture(scope="session", autouse=True)
def quickly(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with quick.one_authority(tmp_path_factory.mktemp("trust")), quick.entry_points_once():
        yield


@pytest.fixture
async def cluster() -> AsyncIterator[KubernetesApi]:
    async with KubernetesApi() as cluster:
        yield cluster


@pytest.fixture
async def gitlab() -> AsyncIterator[GitLab]:
    async with GitLab() as host:
        host.add_project(GITLAB_PATH, {SHA: "Add a feature"})
        yield host


@pytest.fixture
async def github() -> AsyncIterator[GitHub]:
    async with GitHub() as host:
        host.add_project(GITHUB_PATH, {SHA: "Add a feature"})
        yield host


@pytest.fixture
def scene(tmp_path: Path, cluster: KubernetesApi, gitlab: GitLab, github: GitHub) -> Scene:
    return Scene(folder=tmp_path, cluster=cluster, gitlab=gitlab, github=github)


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    """Takes two seconds to start, so there is one for all tests of a process; each has a bucket of its own."""
    with S3Server() as server:
        yield server


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    with Shelf() as shelf:
        yield shelf
