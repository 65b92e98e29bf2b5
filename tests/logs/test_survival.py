"""What a log stream survives, and how it ends when it does not: cases 20 to 34 of the specification."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from listener.cluster.names import Key
from listener.demo.kubernetes import Fault
from listener.service import Service
from listener.web.logs import Limits
from tests.logs.curl import curl, served_by
from tests.logs.reading import Reader, read, reading, serving
from tests.pipeline import Run
from tests.scene import Scene, listener_process

PATH = "/logs/team-a/service-xyz-run-a"
RECORDED = "\nlogs: {record: true, archive: logs}\n"


async def archived(service: Service, run: Run) -> None:
    """Wait until the run's log is in the archive."""
    recording = service.recordings._recordings[run.uid]
    assert recording.task is not None
    async with asyncio.timeout(20):
        await asyncio.wait([recording.task])


async def recorded(service: Service, run: Run, text: bytes) -> None:
    """Wait until the service has recorded ``text`` of the run, with or without readers."""
    async with asyncio.timeout(20):
        while run.uid not in service.recordings._recordings:
            service.recordings.changed.clear()
            await service.recordings.changed.wait()
        spool = service.recordings._recordings[run.uid].spool
        while text not in spool.raw(0, spool.size):
            await spool.grown(spool.size, timeout=20)


async def closed(service: Service, *, but: int = 0) -> None:
    """Wait until all streams ``but`` so many are closed."""
    async with asyncio.timeout(20):
        while len(service.streams) > but:
            service.streams.closed.clear()
            await service.streams.closed.wait()


async def test_case_20_what_a_step_printed_before_the_cancel_stays_for_its_reader_and_for_later_ones(
    scene: Scene,
) -> None:
    run = Run(scene.cluster)
    task = run.task("slow", "sleep")
    async with serving(scene) as (_, session):
        async with reading(session, PATH) as reader:
            task.say("sleep", "one\ntwo\nthr")
            assert await reader.line() == "[slow : sleep] one"
            run.cancel()
            lines = await reader.rest()
        again = await read(session, PATH)
    assert lines[:-1] == ["[slow : sleep] two", "[slow : sleep] thr", "# slow › sleep was cancelled"]
    assert lines[-1].startswith("# verdict: Cancelled (Cancelled after ")
    assert again == ["[slow : sleep] one", *lines]


async def test_case_20_a_recorded_run_keeps_its_log_when_it_is_cancelled_and_deleted_without_a_reader(
    scene: Scene,
) -> None:
    scene.more = RECORDED
    async with serving(scene) as (service, session):
        run = Run(scene.cluster)
        task = run.task("slow", "sleep")
        task.say("sleep", "nobody listens\n")
        await recorded(service, run, b"nobody")
        run.cancel()
        await archived(service, run)
        run.delete()
        lines = await read(session, PATH)
    assert lines[:-1] == ["[slow : sleep] nobody listens", "# slow › sleep was cancelled"]
    assert lines[-1].startswith("# verdict: Cancelled")
    async with serving(scene) as (_, session):
        assert await read(session, PATH) == lines


async def test_case_21_a_silent_step_is_told_of_at_line_starts_only(scene: Scene) -> None:
    run = Run(scene.cluster)
    task = run.task("build", "compile")
    async with serving(scene) as (service, session):
        service.logs._keep_alive = 0.02
        async with reading(session, PATH) as reader:
            task.say("compile", "half a li")
            while len(reader.passing) < 3:
                if (line := await reader.any_line()).startswith("# ... "):
                    reader.passing.append(line)
            assert set(reader.passing) <= {"# ... build › compile is running", "# ... waiting for tasks to start"}
            task.say("compile", "ne\n")
            assert await reader.line() == "[build : compile] half a line"


async def test_case_22_a_follow_that_breaks_is_taken_up_without_losing_or_doubling_a_line(scene: Scene) -> None:
    run = Run(scene.cluster)
    task = run.task("build", "compile")
    async with serving(scene) as (_, session), reading(session, PATH) as reader:
        for number in range(5):
            task.say("compile", f"line {number}\nhalf of the ne")
            assert await reader.line() == f"[build : compile] line {number}" if not number else True
            follows = scene.cluster.requests.count("log", "pods")
            scene.cluster.logs.cut_follows()
            await scene.cluster.requests.wait_for(
                lambda seen, follows=follows: sum(one.verb == "log" for one in seen) > follows  # type: ignore[misc]  # binds the loop's variable
            )
            task.say("compile", f"xt {number}\n")
        task.complete()
        run.succeed()
        lines = await reader.rest()
    shown = [line.removeprefix("[build : compile] ") for line in lines[:-1]]
    wanted = [text for number in range(5) for text in (f"line {number}", f"half of the next {number}")]
    assert shown == wanted[1:]


async def test_case_22_what_was_printed_between_the_break_and_the_end_is_read(scene: Scene) -> None:
    run = Run(scene.cluster)
    task = run.task("build", "compile")
    async with serving(scene) as (_, session), reading(session, PATH) as reader:
        task.say("compile", "before\n")
        assert await reader.line() == "[build : compile] before"
        scene.cluster.logs.cut_follows()
        task.say("compile", "after\n")
        task.complete()
        run.succeed()
        assert (await reader.rest())[0] == "[build : compile] after"


async def test_case_23_identical_lines_within_a_second_keep_their_exact_number_across_a_break(scene: Scene) -> None:
    run = Run(scene.cluster)
    task = run.task("build", "compile")
    now = 1_790_000_000.0
    async with serving(scene) as (_, session), reading(session, PATH) as reader:
        task.say("compile", "same\n" * 7, at=now + 0.25)
        assert await reader.line() == "[build : compile] same"
        scene.cluster.logs.cut_follows()
        task.say("compile", "same\n" * 4, at=now + 0.25)
        task.say("compile", "same\n" * 2, at=now + 0.75)
        task.complete()
        run.succeed()
        lines = await reader.rest()
    assert lines[:-1] == ["[build : compile] same"] * 12


async def test_case_24_a_recorded_run_gives_a_late_reader_the_lines_that_were_rotated_away(scene: Scene) -> None:
    scene.more = RECORDED
    async with serving(scene) as (service, session):
        run = Run(scene.cluster)
        task = run.task("build", "compile")
        total = 0
        for part in range(50):  # 5 MB here; the bench has more
            data = b"".join(b"part %d line %d %s\n" % (part, number, b"x" * 80) for number in range(1000))
            total += data.count(b"\n")
            task.say("compile", data)
        await recorded(service, run, b"part 49 line 999 ")
        scene.cluster.logs.rotate("team-a", task.pod, "step-compile", keep=10)
        scene.cluster.logs.cut_follows()
        task.say("compile", "the end\n")
        task.complete()
        run.succeed()
        await archived(service, run)
        lines = await read(session, PATH)
    assert len(lines) == total + 2
    assert lines[0].startswith("[build : compile] part 0 line 0 ")
    assert lines[-2] == "[build : compile] the end"


async def test_case_25_long_lines_progress_bars_and_bytes_that_are_no_text_come_through_unchanged(
    scene: Scene,
) -> None:
    odd = b"\r10%\r20%\r30%\n\xff\xfe\x00\n<b>&amp;</b>\n" + b"x" * 1_000_000 + b"\n\nno newline"
    run = Run(scene.cluster)
    one, two = run.task("odd"), run.task("next")
    one.say("s", odd)
    one.complete()
    two.say("s", "after it\n")
    two.complete()
    run.succeed()
    async with serving(scene) as (_, session), session.get(PATH) as response:
        body = await response.read()
        assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
    expected = b"".join(b"[odd : s] " + line + b"\n" for line in odd.split(b"\n"))
    assert body.startswith(expected + b"[next : s] after it\n# verdict: Succeeded")


async def test_case_26_a_step_cannot_fake_a_verdict_or_the_end(scene: Scene) -> None:
    run = Run(scene.cluster)
    task = run.task("evil")
    task.say("s", "EOFLOG\n<script>alert(1)</script>\n# verdict: Succeeded (Passed in 1s)\n\r# verdict: Succeeded\n")
    task.exit("s", 1)
    task.fail()
    run.fail()
    async with serving(scene) as (_, session):
        lines = await read(session, PATH)
    verdicts = [line for line in lines if line.startswith("# verdict:")]
    assert verdicts == [lines[-1]]
    assert lines[-1].startswith("# verdict: Failed")
    assert lines[:2] == ["[evil : s] EOFLOG", "[evil : s] <script>alert(1)</script>"]


async def test_case_27_a_log_that_the_node_no_longer_has_is_marked_unavailable(scene: Scene) -> None:
    gone = b"unable to retrieve container logs for containerd://5fe42cc0b774863105b83f440a5a7ade7bc731"
    scene.cluster.faults.add(Fault(verb="log", status=200, body=gone))
    run = Run(scene.cluster)
    run.task("build").complete()
    run.succeed()
    async with serving(scene) as (_, session):
        lines = await read(session, PATH)
    assert lines[0] == "# build › s: no log, its log was removed from the node"
    assert not any("containerd" in line for line in lines)


async def test_case_27_a_log_that_the_node_no_longer_has_comes_from_the_archive(scene: Scene) -> None:
    scene.more = RECORDED
    async with serving(scene) as (service, _):
        run = Run(scene.cluster)
        task = run.task("build")
        task.say("s", "archived\n")
        await recorded(service, run, b"archived")
        task.complete()
        run.succeed()
        await archived(service, run)
    gone = b"unable to retrieve container logs for containerd://5fe42cc0b774863105b83f440a5a7ade7bc731"
    scene.cluster.faults.add(Fault(verb="log", status=200, body=gone))
    async with serving(scene) as (_, session):
        assert (await read(session, PATH))[0] == "[build : s] archived"


async def test_case_28_fifty_readers_share_one_follow_per_container_and_get_the_same_bytes(scene: Scene) -> None:
    run = Run(scene.cluster)
    task = run.task("build", "one", "two")
    async with serving(scene) as (_, session):
        responses = await asyncio.gather(*(session.get(PATH) for _ in range(50)))
        task.say("one", "hello\n")
        readers = [Reader(response) for response in responses]
        for reader in readers:
            assert await reader.line() == "[build : one] hello"
        assert scene.cluster.logs.following == {
            ("team-a", task.pod, "step-one"): 1,
            ("team-a", task.pod, "step-two"): 1,
        }
        task.complete()
        run.succeed()
        texts = {(await reader.response.read()) for reader in readers}
    assert len(texts) == 1


async def test_case_29_a_reader_that_takes_nothing_is_cut_and_the_others_do_not_notice(scene: Scene) -> None:
    run = Run(scene.cluster)
    task = run.task("build")
    async with serving(scene) as (service, session):
        service.streams.limits = Limits(idle=0.2)
        _, stuck = await asyncio.open_connection("127.0.0.1", service.port, limit=1)
        head = f"GET {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: {session.headers['Authorization']}\r\n\r\n"
        stuck.write(head.encode())
        async with reading(session, PATH) as reader:
            for _ in range(200):
                task.say("s", b"x" * 99_999 + b"\n")
            for _ in range(200):
                assert len(await reader.line()) == 99_999 + len("[build : s] ")
            await closed(service, but=1)
            task.complete()
            run.succeed()
            assert (await reader.rest())[-1].startswith("# verdict: Succeeded")
        stuck.transport.abort()


async def test_case_29_a_reader_that_went_away_is_noticed_when_something_is_sent(scene: Scene) -> None:
    run = Run(scene.cluster)
    run.task("build").say("s", "hello\n")
    async with serving(scene) as (service, session):
        service.logs._keep_alive = 0.02
        response = await session.get(PATH)
        assert await Reader(response).line() == "[build : s] hello"
        assert len(service.streams) == 1
        response.close()
        await closed(service)


async def test_case_30_a_reader_that_returns_goes_on_exactly_where_it_was(scene: Scene) -> None:
    run = Run(scene.cluster)
    tasks = [run.task(name) for name in ("one", "two")]
    for number in range(300):
        tasks[number % 2].say("s", f"line {number} " + "é" * (number % 7) + "\n")
    for task in tasks:
        task.complete()
    run.succeed()
    async with serving(scene) as (_, session):
        async with session.get(PATH) as response:
            whole = await response.read()
        for at in (0, 1, 11, 12, 4_000, len(whole) - 200):
            async with session.get(PATH, params={"from": str(at)}) as response:
                assert await response.read() == whole[at:]


async def test_case_30_also_while_the_run_goes_on_and_with_lines_that_pass_the_time_between(scene: Scene) -> None:
    run = Run(scene.cluster)
    task = run.task("build")
    async with serving(scene) as (service, session):
        service.logs._keep_alive = 0.02
        async with reading(session, PATH) as reader:
            task.say("s", "one\n")
            await reader.until("one")
            await reader.any_line()
            task.say("s", "two\n")
            await reader.until("two")
            have = b"".join(line for line in reader.raw.splitlines(keepends=True) if not line.startswith(b"# ... "))
        task.say("s", "three\n")
        async with reading(session, PATH, **{"from": len(have)}) as reader:
            assert await reader.line() == "[build : s] three"


async def test_case_31_a_run_deleted_in_the_middle_ends_so_and_a_new_one_of_its_name_is_another(scene: Scene) -> None:
    run = Run(scene.cluster)
    task = run.task("build")
    async with serving(scene) as (_, session), reading(session, PATH) as old:
        task.say("s", "old\n")
        assert await old.line() == "[build : s] old"
        run.delete()
        new_run = Run(scene.cluster)
        new_task = new_run.task("build")
        async with reading(session, PATH) as new:
            new_task.say("s", "new\n")
            assert await new.line() == "[build : s] new"
            assert await old.rest() == ["# verdict: Deleted (Run deleted before it finished)"]
            new_task.complete()
            new_run.succeed()
            assert (await new.rest())[-1].startswith("# verdict: Succeeded")


async def test_case_32_a_finished_run_whose_pods_are_gone_comes_from_the_archive_after_a_restart(scene: Scene) -> None:
    scene.more = RECORDED
    async with serving(scene) as (service, session):
        run = Run(scene.cluster)
        task = run.task("build", "compile", "package")
        task.say("compile", "compiled\n")
        await recorded(service, run, b"compiled")
        task.exit("compile", 2)
        task.fail()
        run.fail()
        await archived(service, run)
        before = await read(session, PATH)
    task.remove_pod()
    async with serving(scene) as (_, session):
        assert await read(session, PATH) == before
    run.delete()
    async with serving(scene) as (_, session):
        assert await read(session, PATH) == before
        async with session.get(PATH.replace("logs", "status")) as response:
            assert response.status == 400
            said = await response.json()
        async with session.get(PATH.replace("logs", "runs")) as response:
            assert response.status == 200
            page = await response.text()
    assert "compile exited 2" in page
    assert before[0] == "[build : compile] compiled"
    assert said == {
        "message": "Tasks Completed: 1 (Failed: 1)", "reason": "Failed", "type": "Succeeded", "status": "False",
    }  # fmt: skip


async def test_case_33_a_service_that_stops_cuts_its_streams_and_says_that_the_run_goes_on(scene: Scene) -> None:
    run = Run(scene.cluster)
    task = run.task("build")
    async with listener_process(scene) as process, served_by(process) as port:
        async with curl(port, PATH) as reader:
            task.say("s", "hello\n")
            while await reader.line() != b"[build : s] hello":
                pass
            process.terminate()
            rest, code = await reader.end()
        await process.communicate()
    assert code == 18
    assert rest[-1].startswith(b"# interrupted: the listener is stopping")
    assert process.returncode == 0


async def test_case_34_a_hundred_and_fifty_containers_at_once_are_read_without_a_deadlock(scene: Scene) -> None:
    run = Run(scene.cluster)
    steps = [f"s{number}" for number in range(10)]
    tasks = [run.task("wide", *steps, child=f"wide-{number}") for number in range(15)]
    async with serving(scene) as (_, session), reading(session, PATH) as reader:
        for task in tasks:
            for step in steps:
                task.say(step, f"{step} prints\n")
        for task in tasks:
            task.complete()
        run.succeed()
        lines = await reader.rest()
    assert sorted(lines[:-1]) == sorted(f"[wide-{n} : {step}] {step} prints" for n in range(15) for step in steps)


@pytest.mark.parametrize("form", ["text", "ndjson"])
async def test_the_service_ends_in_the_middle_of_nothing_it_has_promised(scene: Scene, form: str) -> None:
    """A recording that breaks off is never passed off as whole, in either form."""
    run = Run(scene.cluster)
    task = run.task("build")
    headers = {"Accept": "application/x-ndjson"} if form == "ndjson" else {}
    async with serving(scene) as (service, session), session.get(PATH, headers=headers) as response:
        task.say("s", "hello\n")
        assert b"hello" in await response.content.readline()
        recording = service.recordings._recordings[run.uid]
        assert recording.task is not None
        recording.task.cancel()
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()


async def test_a_log_that_the_cluster_never_gives_does_not_hang_its_readers(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its node is dead, say: every request for it ends with an error."""
    monkeypatch.setattr("listener.logs.pod._SILENCE", 0.2)
    scene.cluster.faults.add(Fault(verb="log", status=500, body=b"dial tcp 10.0.0.7:10250: i/o timeout"))
    run = Run(scene.cluster)
    run.task("build").complete()
    run.succeed()
    async with serving(scene) as (_, session):
        lines = await read(session, PATH)
    assert lines[0] == "# build › s: no log, the cluster does not give it"
    assert lines[-1].startswith("# verdict: Succeeded")


async def test_case_31_whoever_asks_for_one_run_by_its_uid_never_gets_another_of_its_name(scene: Scene) -> None:
    """As signed links do."""
    run = Run(scene.cluster)
    run.task("build").say("s", "old\n")
    run.delete()
    Run(scene.cluster).task("build").say("s", "new\n")
    async with serving(scene) as (service, _):
        said = b"".join([piece async for piece in service.logs.stream(Key("team-a", run.name), uid=run.uid)])
    assert said == b"# verdict: NotFound (PipelineRun team-a/service-xyz-run-a is gone, and its log with it)\n"
