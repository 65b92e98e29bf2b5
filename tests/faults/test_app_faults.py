"""A GitHub App's tokens come and go; statuses do not wait for that."""

from __future__ import annotations

from tenacity import wait_fixed

from listener.reporting.pacing import Pace
from tests.app_key import key
from tests.faults.outside import ask, shows
from tests.replica import metric
from tests.runs import move, start
from tests.scene import Scene


async def test_a_token_that_was_revoked_is_replaced_and_nobody_waits(scene: Scene) -> None:
    scene.github.add_app(12345, key().public, {"acme": 678})
    (scene.folder / "app.pem").write_text(key().private)
    scene.github_credentials = "app_id: 12345, private_key_file: app.pem"
    async with scene.serve(pace=Pace(host=wait_fixed(600), unauthorized=600)) as service:
        await service.runs.synced()
        start(scene.cluster, "a")
        await shows(scene.github, a="pending")
        scene.github.apps.expire_tokens()
        move(scene.cluster, "a", "succeeded")
        start(scene.cluster, "b", "succeeded")
        await shows(scene.github, a="success", b="success")  # and not in ten minutes
        await service.reporter.lanes.drained()
        assert metric(await ask(service, "/metrics"), "host_ill", host="github") == 0
        assert metric(await ask(service, "/metrics"), "deliveries_total", host="github", result="retry") == 0
    statuses = [one.status for one in scene.github.asked if "/statuses/" in one.path]
    assert statuses.count(201) == 3
    assert 1 <= statuses.count(401) <= 2, "one for each thread that still had the old token, at most"
