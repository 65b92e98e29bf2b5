"""The cluster, and the service in front of it, before anything happens."""

from __future__ import annotations

import json

import pytest

from e2e.preflight import Facts
from e2e.reading import client
from e2e.stage import Stage


def test_the_cluster_has_tekton_v1(stage: Stage) -> None:
    facts: Facts = stage.facts
    assert "v1" in facts.api_versions


async def test_the_service_is_ready_and_nothing_is_ill(stage: Stage) -> None:
    status, body = await stage.listener.get("/readyz")
    assert (status, json.loads(body)) == (200, {"ready": True, "troubles": []})
    assert await stage.listener.get("/health") == (200, '{"status":1}')


async def test_one_replica_holds_the_lease(stage: Stage) -> None:
    await stage.leased_by("one")


async def test_wrong_credentials_see_nothing(stage: Stage) -> None:
    async with client(stage.port, password="wrong") as session:
        for kind in ("logs", "status", "runs"):
            async with session.get(stage.path(kind, "service-xyz-run-none")) as response:
                assert response.status == 401


async def test_a_run_that_does_not_exist_is_unknown(stage: Stage) -> None:
    async with client(stage.port) as session:
        async with session.get(stage.path("status", "service-xyz-run-none") + "?wait=0") as response:
            assert response.status == 404
        async with session.get(stage.path("logs", "service-xyz-run-none") + "?wait=0") as response:
            assert (await response.text()).splitlines()[-1].startswith("# verdict: NotFound (")


async def test_the_service_runs_with_the_rights_of_its_chart_and_no_others(stage: Stage) -> None:
    if not stage.restricted:
        pytest.skip(f"the credentials in KUBECONFIG do not allow it: {', '.join(stage.facts.missing_to_restrict)}")
    assert stage.kubeconfig != stage.settings.kubeconfig
