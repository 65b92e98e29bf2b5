"""What Tekton can make of a run, in the log stream: cases 5 to 12 and 15 to 19 of the specification."""

from __future__ import annotations

from tests.logs.reading import read, reading, serving
from tests.pipeline import Run
from tests.scene import Scene

PATH = "/logs/team-a/service-xyz-run-a"


async def test_case_05_lines_of_parallel_tasks_interleave_live_and_none_is_torn(scene: Scene) -> None:
    run = Run(scene.cluster)
    one, two = run.task("lint", "ruff"), run.task("test", "pytest")
    async with serving(scene) as (_, session), reading(session, PATH) as reader:
        one.say("ruff", "first ha")
        two.say("pytest", "a test\n")
        assert await reader.line() == "[test : pytest] a test"
        one.say("ruff", "lf, second half\n")
        assert await reader.line() == "[lint : ruff] first half, second half"
        two.say("pytest", "another test\n")
        assert await reader.line() == "[test : pytest] another test"
        one.complete()
        two.complete()
        run.succeed()
        assert len(await reader.rest()) == 1


async def test_case_06_the_tasks_of_a_matrix_are_told_apart(scene: Scene) -> None:
    run = Run(scene.cluster)
    for number in range(4):
        task = run.task("platforms", "build", child=f"platforms-{number}")
        task.say("build", f"combination {number}\n")
        task.complete()
    run.succeed()
    async with serving(scene) as (_, session):
        lines = await read(session, PATH)
        assert sorted(lines[:-1]) == [f"[platforms-{n} : build] combination {n}" for n in range(4)]
        assert await read(session, PATH, task="platforms-2") == ["[platforms-2 : build] combination 2", lines[-1]]
        assert sorted(await read(session, PATH, task="platforms")) == sorted(lines)


async def test_case_07_finally_tasks_are_there_live_and_on_replay(scene: Scene) -> None:
    run = Run(scene.cluster)
    build = run.task("build", "compile")
    build.say("compile", "boom\n")
    async with serving(scene) as (_, session):
        async with reading(session, PATH) as reader:
            await reader.until("boom")
            build.exit("compile", 1)
            build.fail()
            cleanup = run.task("cleanup", "rm")
            cleanup.say("rm", "swept\n")
            assert "[cleanup : rm] swept" in await reader.until("swept")
            cleanup.complete()
            run.fail()
            live = [*await reader.rest()]
        again = await read(session, PATH)
    async with serving(scene) as (_, session):
        replayed = await read(session, PATH)
    assert live[-1].startswith("# verdict: Failed (Failed in ")
    assert live[-1].endswith("build › compile exited 1)")
    assert replayed == ["[build : compile] boom", "# build › compile exited 1", "[cleanup : rm] swept", live[-1]]
    assert sorted(again) == sorted(replayed)


async def test_case_08_every_attempt_of_a_retried_task_comes_in_order_and_is_marked(scene: Scene) -> None:
    run = Run(scene.cluster)
    task = run.task("flaky", "try")
    async with serving(scene) as (_, session), reading(session, PATH) as reader:
        for _ in range(2):
            task.say("try", "trying\n")
            task.exit("try", 7)
            task.retry()
        task.say("try", "trying\n")
        task.complete()
        run.succeed()
        lines = await reader.rest()
    attempts = [line for line in lines if line == "[flaky : try] trying" or line.startswith("# flaky")]
    last = ["# flaky: attempt 3", "[flaky : try] trying"]
    assert attempts[-2:] == last
    assert attempts.count("[flaky : try] trying") == 3
    assert attempts.count("# flaky › try exited 7") == 2
    assert [line for line in attempts if "attempt" in line][-2:] == ["# flaky: attempt 2", "# flaky: attempt 3"]
    assert lines[-1].startswith("# verdict: Succeeded")


async def test_case_09_a_finally_task_is_shown_with_every_attempt(scene: Scene) -> None:
    run = Run(scene.cluster)
    build = run.task("build")
    build.say("s", "built\n")
    build.complete()
    report = run.task("report", "send")
    report.say("send", "refused\n")
    report.exit("send", 1)
    report.retry()
    report.say("send", "sent\n")
    report.complete()
    run.succeed()
    async with serving(scene) as (_, session):
        lines = await read(session, PATH)
    assert lines[:-1] == [
        "[build : s] built",
        "# report: attempt 1",
        "[report : send] refused",
        "# report › send exited 1",
        "# report: attempt 2",
        "[report : send] sent",
    ]


async def test_case_10_a_skipped_task_has_one_line_with_its_reason(scene: Scene) -> None:
    run = Run(scene.cluster)
    run.skip("deploy", "When Expressions evaluated to false")
    run.task("build").complete()
    run.succeed()
    async with serving(scene) as (_, session):
        lines = await read(session, PATH)
    assert lines.count("# deploy: skipped (When Expressions evaluated to false)") == 1


async def test_case_11_a_custom_run_has_one_line_and_does_not_hang_the_stream(scene: Scene) -> None:
    run = Run(scene.cluster)
    run.refer("CustomRun", f"{run.name}-approve", "approve")
    async with serving(scene) as (_, session), reading(session, PATH) as reader:
        assert await reader.line() == f"# approve: CustomRun {run.name}-approve, which has no log of its own here"
        run.succeed()
        assert (await reader.rest())[-1].startswith("# verdict: Succeeded")


async def test_case_12_the_tasks_of_a_pipeline_run_within_the_run_are_there(scene: Scene) -> None:
    run = Run(scene.cluster)
    build = run.task("build")
    build.say("s", "outer\n")
    inner = run.nested("deploy")
    async with serving(scene) as (_, session):
        async with reading(session, PATH) as reader:
            assert await reader.line() == "[build : s] outer"
            helm = inner.task("helm", "upgrade")
            helm.say("upgrade", "inner\n")
            assert await reader.line() == "[deploy/helm : upgrade] inner"
            innermost = inner.nested("smoke")
            check = innermost.task("check")
            check.say("s", "innermost\n")
            assert await reader.line() == "[deploy/smoke/check : s] innermost"
            for task in (build, helm, check):
                task.complete()
            for one in (innermost, inner, run):
                one.succeed()
            live = await reader.rest()
        assert live[-1].startswith("# verdict: Succeeded")
    async with serving(scene) as (_, session):
        replayed = await read(session, PATH)
    assert sorted(replayed[:-1]) == [
        "[build : s] outer", "[deploy/helm : upgrade] inner", "[deploy/smoke/check : s] innermost",
    ]  # fmt: skip


async def test_case_15_an_image_that_cannot_be_pulled_is_named_with_the_reason(scene: Scene) -> None:
    why = 'Back-off pulling image "registry.example.com/none:1": not found'
    quoted = why.replace('"', '\\"')
    message = f'build step "step-s" is pending with reason "{quoted}"'  # as recorded
    run = Run(scene.cluster)
    task = run.task("build", started=False)
    async with serving(scene) as (service, session):
        service.logs._keep_alive = 0.02
        async with reading(session, PATH) as reader:
            task.wait("step-s", "ImagePullBackOff", why)
            line = await reader.any_line()
            while "ImagePullBackOff" not in line:
                line = await reader.any_line()
            assert line == f"# ... build: ImagePullBackOff: {why}"
            task.interrupt("TaskRunImagePullFailed", f"PullImageFailed: {message}")
            run.fail()
            lines = await reader.rest()
    assert f"# build: {why}" in lines
    assert lines[-1].startswith("# verdict: Failed")


async def test_case_16_the_step_that_ran_out_of_memory_is_blamed_and_not_those_that_skipped(scene: Scene) -> None:
    run = Run(scene.cluster)
    task = run.task("build", "eat", "upload", "report")
    task.say("eat", "eating\n")
    task.exit("eat", 137, "OOMKilled")
    task.fail()
    run.fail()
    async with serving(scene) as (_, session):
        lines = await read(session, PATH)
    assert lines == [
        "[build : eat] eating",
        "[build : upload] Skipping step because a previous step failed",
        "[build : report] Skipping step because a previous step failed",
        "# build › eat exited 137 (OOMKilled)",
        lines[-1],
    ]
    assert lines[-1].startswith("# verdict: Failed (Failed in ")
    assert lines[-1].endswith("build › eat exited 137 (OOMKilled))")


async def test_case_17_the_first_step_of_three_exits_2_and_is_named(scene: Scene) -> None:
    run = Run(scene.cluster)
    task = run.task("t", "step-1", "step-2", "step-3")
    task.exit("step-1", 2)
    task.fail()
    run.fail()
    async with serving(scene) as (_, session):
        lines = await read(session, PATH)
    assert "# t › step-1 exited 2" in lines
    assert lines[-1].endswith("t › step-1 exited 2)")
    assert not any("step-2 exited" in line or "step-3 exited" in line for line in lines)


async def test_case_18_on_error_continue_shows_the_exit_code_and_the_run_succeeds(scene: Scene) -> None:
    run = Run(scene.cluster)
    task = run.task("t", "first", "second")
    task.say("first", "broken\n")
    task.exit("first", 3, termination="Continued")
    task.say("second", "all the same\n")
    task.complete()
    run.succeed()
    async with serving(scene) as (_, session):
        lines = await read(session, PATH)
    assert lines[:-1] == [
        "[t : first] broken",
        "[t : second] all the same",
        "# t › first exited 3, and the task goes on (onError: continue)",
    ]
    assert lines[-1].startswith("# verdict: Succeeded")


async def test_case_19_an_init_container_that_fails_is_shown_without_extra_flags(scene: Scene) -> None:
    run = Run(scene.cluster)
    task = run.task("t", inits=("prepare", "place-scripts"), started=False)
    task.say("place-scripts", "cannot write /tekton/scripts\n")
    task.end_container("place-scripts", 1)
    task.fail("Failed", "init container failed")
    run.fail()
    async with serving(scene) as (_, session):
        lines = await read(session, PATH)
    assert "[t : place-scripts] cannot write /tekton/scripts" in lines
    assert lines[-1].startswith("# verdict: Failed")


async def test_after_a_failed_init_container_no_log_of_a_step_is_missed(scene: Scene) -> None:
    run = Run(scene.cluster)
    task = run.task("t", "compile", inits=("prepare",), started=False)
    async with serving(scene) as (_, session), reading(session, PATH) as reader:
        task.say("prepare", "no space left on device\n")
        task.wait("step-compile", "PodInitializing")
        task.fail_init("prepare", 'init container failed, "prepare" exited with code 1')
        run.fail()
        lines = await reader.rest()
    assert lines[:-1] == [
        "[t : prepare] no space left on device",
        '# t: init container failed, "prepare" exited with code 1',
    ]


async def test_a_task_whose_pod_is_refused_says_why(scene: Scene) -> None:
    """No pod, no log: a service account that does not exist, a quota that is used up."""
    why = 'failed to create task run pod "x": pods "x" is forbidden: exceeded quota: team-a. Maybe invalid TaskSpec'
    run = Run(scene.cluster)
    run.task("build").refuse("PodCreationFailed", why)
    run.fail()
    async with serving(scene) as (_, session):
        lines = await read(session, PATH)
    assert lines[0] == f"# build: {why}"
    assert lines[1].endswith("build: PodCreationFailed)")
    assert len(lines) == 2


async def test_a_task_whose_pod_is_evicted_says_why(scene: Scene) -> None:
    run = Run(scene.cluster)
    task = run.task("build")
    async with serving(scene) as (_, session), reading(session, PATH) as reader:
        task.say("s", "compiling\n")
        assert await reader.line() == "[build : s] compiling"
        why = "The node was low on resource: ephemeral-storage."
        task.evict(why)
        run.fail()
        lines = await reader.rest()
    assert f"# build: {why}" in lines
    assert lines[-1].startswith("# verdict: Failed")
