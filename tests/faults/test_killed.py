"""The service killed in the middle: what the hosts show in the end is right."""

from __future__ import annotations

import signal
from collections.abc import Callable

from listener.demo.kubernetes.replay import Step, replay
from tests.contract.test_recorded_runs import EXPECTED, all_final, shown
from tests.scene import GITHUB_PATH, GITLAB_PATH, Scene, listener_process, recording


def until(condition: Callable[[Step], bool], steps: list[Step]) -> int:
    return next(number for number, step in enumerate(steps) if condition(step)) + 1


async def test_killed_in_the_middle_of_the_recording_and_started_again_the_final_states_are_right(scene: Scene) -> None:
    steps = recording()
    middle = until(lambda step: step.what == "pipelineruns" and step.at > 12.6, steps)
    async with listener_process(scene, LOG_LEVEL="ERROR") as first:
        await scene.cluster.wait_watchers("pipelineruns", 1)
        await replay(scene.cluster, steps[:middle])
        # Some of the first half has arrived, some is perhaps on its way, nothing of the second half exists yet.
        await scene.gitlab.wait_for(lambda _: "failed" in shown(scene.gitlab, GITLAB_PATH, "badref"))
        first.send_signal(signal.SIGKILL)
        await first.wait()
    await replay(scene.cluster, steps[middle:])
    async with listener_process(scene, LOG_LEVEL="ERROR") as second:
        await scene.gitlab.wait_for(lambda _: all_final(scene))
        await scene.github.wait_for(
            lambda _: all(
                shown(scene.github, GITHUB_PATH, run)[-1:] == states[-1:] for run, (_, states, _) in EXPECTED.items()
            )
        )
        second.terminate()
        await second.communicate()
    assert second.returncode == 0
    for run, (gitlab_states, github_states, _) in EXPECTED.items():
        assert shown(scene.gitlab, GITLAB_PATH, run)[-1] == gitlab_states[-1]
        assert shown(scene.github, GITHUB_PATH, run)[-1] == github_states[-1]


async def test_what_has_arrived_is_not_sent_again_by_the_next_one(scene: Scene) -> None:
    async with scene.serve() as service:
        await service.runs.synced()
        await replay(scene.cluster, recording())
        await scene.gitlab.wait_for(lambda _: all_final(scene))
        await service.reporter.lanes.drained()
    before = len(scene.gitlab.asked), len(scene.github.asked)
    async with scene.serve() as service:
        await service.runs.synced()
        await service.reporter.lanes.drained()
        assert len(service.reporter.lanes) == 2 * len(EXPECTED)
    assert (len(scene.gitlab.asked), len(scene.github.asked)) == before


async def test_runs_that_ended_while_nobody_listened_get_their_final_status_once(scene: Scene) -> None:
    await replay(scene.cluster, recording())
    async with scene.serve() as service:
        await scene.gitlab.wait_for(lambda _: all_final(scene))
        await service.reporter.lanes.drained()
    assert len(scene.gitlab.posted) == len(EXPECTED)
    assert len(scene.github.posted) == len(EXPECTED)
