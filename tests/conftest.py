"""Fixtures: real servers, started in milliseconds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from listener.demo.github import GitHub
from listener.demo.gitlab import GitLab
from listener.demo.kubernetes import KubernetesApi
from tests.scene import GITHUB_PATH, GITLAB_PATH, SHA, Scene


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
