"""What GitLab is told, and what its answers mean."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifiers.base import HostSettings, Notifier, Outcome, PermanentError, Receipt, RetryableError
from notifiers.gitlab import STATES, GitLabNotifier
from tests.unit.notifiers.host import Answer, Host
from tests.unit.notifiers.scene import SHA, TOKEN, status
from tests.unit.notifiers.subject import Subject

SUBJECT = Subject(
    name="gitlab",
    notifier=GitLabNotifier,
    states=frozenset({"pending", "running", "success", "failed", "canceled", "skipped"}),
    success="success",
    scope="'api'",
    limits={"description": 255, "name": 255, "target_url": 255},
)
EXPECTED = {
    Outcome.QUEUED: "pending",
    Outcome.RUNNING: "running",
    Outcome.SUCCEEDED: "success",
    Outcome.FAILED: "failed",
    Outcome.TIMED_OUT: "failed",
    Outcome.CANCELLED: "canceled",
    Outcome.BROKEN: "failed",
    Outcome.DELETED: "canceled",
}


def transition(event: str, state: str) -> Answer:
    reason = f'Reason(s): Status cannot transition via "{event}"'
    return Answer(400, {"message": f"Cannot transition status via :{event} from :{state} ({reason})"})


@pytest.mark.parametrize("outcome", Outcome)
async def test_each_outcome_has_its_state(host: Host, gitlab: Notifier, outcome: Outcome) -> None:
    await gitlab.deliver(status(outcome=outcome))
    assert host.last.json["state"] == gitlab.state(outcome) == EXPECTED[outcome]


async def test_what_is_posted(host: Host, gitlab: Notifier) -> None:
    receipt = await gitlab.deliver(status(repository="group/sub/service.xyz", ref="main"))
    asked = host.last
    assert (asked.method, asked.path) == ("POST", f"/api/v4/projects/group%2Fsub%2Fservice.xyz/statuses/{SHA}")
    assert asked.headers["private-token"] == TOKEN
    assert asked.json == {
        "state": "success",
        "name": "tekton/build",
        "description": "Passed in 2m 14s · 5 tasks",
        "target_url": "https://tekton.example.com/runs/ci/build-1",
        "ref": "main",
    }
    assert receipt == Receipt(memo="4711")


async def test_fields_are_cut_and_links_and_refs_left_out_when_too_long(host: Host, gitlab: Notifier) -> None:
    long = "https://tekton.example.com/" + "x" * 255
    await gitlab.deliver(status(context="c" * 300, description="word " * 80, target_url=long, ref="r" * 256))
    sent = host.last.json
    assert len(sent["name"]) == 255
    assert sent["description"] == "word " * 50 + "word…"
    assert sent.keys() == {"state", "name", "description"}


async def test_the_pipeline_of_the_first_answer_is_sent_with_the_next_status(host: Host, gitlab: Notifier) -> None:
    first = await gitlab.deliver(status(outcome=Outcome.RUNNING))
    await gitlab.deliver(status(), memo=first.memo)
    assert "pipeline_id" not in host.asked[0].json
    assert host.asked[1].json["pipeline_id"] == 4711


@pytest.mark.parametrize(
    "refusal",
    [
        Answer(404, {"message": "404 Pipeline for pipeline_id, sha and ref Not Found"}),
        Answer(400, {"error": "pipeline_id is invalid"}),
        Answer(400, {"message": {"pipeline_id": ["is of another commit"]}}),
    ],
)
async def test_a_refused_pipeline_is_forgotten_with_one_more_request(
    host: Host, gitlab: Notifier, refusal: Answer
) -> None:
    host.script.append(refusal)
    assert await gitlab.deliver(status(), memo="99") == Receipt(memo="4711")
    assert [asked.json.get("pipeline_id") for asked in host.asked] == [99, None]


async def test_a_refused_pipeline_is_tried_without_it_once_only(host: Host, gitlab: Notifier) -> None:
    host.default = Answer(404, {"message": "404 Pipeline for pipeline_id, sha and ref Not Found"})
    with pytest.raises(PermanentError):
        await gitlab.deliver(status(), memo="99")
    assert len(host.asked) == 2


@pytest.mark.parametrize("code", [403, 422, 500])
async def test_other_refusals_of_a_pipeline_are_not_tried_again(host: Host, gitlab: Notifier, code: int) -> None:
    host.default = Answer(code, {"message": "pipeline_id"})
    with pytest.raises((PermanentError, RetryableError)):
        await gitlab.deliver(status(), memo="99")
    assert len(host.asked) == 1


@pytest.mark.parametrize("answer", [{}, {"pipeline_id": None}, {"pipeline_id": "7"}, {"pipeline_id": True}], ids=repr)
async def test_an_answer_without_a_pipeline_is_fine(host: Host, gitlab: Notifier, answer: object) -> None:
    host.default = Answer(body=answer)
    assert await gitlab.deliver(status()) == Receipt()


@pytest.mark.parametrize(
    ("outcome", "event", "current"),
    [
        (Outcome.SUCCEEDED, "success", "success"),
        (Outcome.FAILED, "drop", "failed"),
        (Outcome.CANCELLED, "cancel", "canceled"),
        (Outcome.RUNNING, "run", "running"),
        *((Outcome.RUNNING, "run", final) for final in ("success", "failed", "canceled", "skipped")),
        *((Outcome.QUEUED, "enqueue", further) for further in ("pending", "running", "success", "failed", "canceled")),
    ],
)
async def test_a_state_that_is_there_already_counts_as_delivered(
    host: Host, gitlab: Notifier, outcome: Outcome, event: str, current: str
) -> None:
    host.default = transition(event, current)
    assert await gitlab.deliver(status(outcome=outcome)) == Receipt(already_there=True)
    assert len(host.asked) == 1


@pytest.mark.parametrize(
    ("outcome", "event", "current"),
    [
        (Outcome.SUCCEEDED, "success", "failed"),
        (Outcome.FAILED, "drop", "success"),
        (Outcome.CANCELLED, "cancel", "success"),
        (Outcome.RUNNING, "run", "created"),
        (Outcome.SUCCEEDED, "success", "manual"),
    ],
)
async def test_another_final_state_is_a_refusal(
    host: Host, gitlab: Notifier, outcome: Outcome, event: str, current: str
) -> None:
    host.default = transition(event, current)
    with pytest.raises(PermanentError, match=f"from :{current}"):
        await gitlab.deliver(status(outcome=outcome))


async def test_the_transition_may_come_in_a_message_by_field(host: Host, gitlab: Notifier) -> None:
    host.default = Answer(400, {"message": {"base": ["Cannot transition status via :success from :success"]}})
    assert (await gitlab.deliver(status())).already_there


async def test_a_lock_is_worth_another_try_and_another_conflict_is_not(host: Host, gitlab: Notifier) -> None:
    host.script.append(Answer(409, {"message": "409 Conflict: Resource lock"}))
    with pytest.raises(RetryableError):
        await gitlab.deliver(status())
    host.script.append(Answer(409, {"message": "409 Conflict"}))
    with pytest.raises(PermanentError):
        await gitlab.deliver(status())


@pytest.mark.parametrize("code", [403, 404])
async def test_a_refusal_says_what_the_token_needs(host: Host, gitlab: Notifier, code: int) -> None:
    host.default = Answer(code, {"message": "404 Project Not Found"})
    with pytest.raises(PermanentError, match=r"Project Not Found.*scope 'api'.*Developer"):
        await gitlab.deliver(status())


async def test_messages_by_field_are_readable(host: Host, gitlab: Notifier) -> None:
    host.default = Answer(400, {"message": {"target_url": ["is blocked", "is too long"], "name": "is odd"}})
    with pytest.raises(PermanentError, match="answered 400: target_url is blocked, is too long; name is odd"):
        await gitlab.deliver(status())


def offline(url: str | None = None) -> GitLabNotifier:
    return GitLabNotifier(HostSettings(name="gl", url=url, token="x"))


@pytest.mark.parametrize(
    "path",
    ["group/project", "g/sub/sub-2/p.q", "_g/_p", "group/.github", "a/b_c", "G1/" + "p" * 255],
)
def test_paths_that_gitlab_can_have(path: str) -> None:
    assert offline().check_repository(path) is None


@pytest.mark.parametrize(
    "path",
    [
        "",
        "project",
        "/",
        "group/",
        "/project",
        "group//project",
        "group/../victim",
        "group/.",
        "../x",
        "g/p.git",
        "g/p.atom",
        "g.git/p",
        "-g/p",
        "g/-p",
        "g/p q",
        "g/p%2Fq",
        "g/p?x",
        "g/p#x",
        "g\\p/q",
        "g/p\n",
        "g/ü",
        "https://x/y",
        "g/" + "p" * 256,
        "g/" * 600 + "p",
    ],
)
def test_paths_that_gitlab_cannot_have(path: str) -> None:
    assert offline().check_repository(path)


@given(st.text(alphabet=st.sampled_from("ab1._-/%?#\\ \n@:ü")))
def test_a_path_that_is_accepted_is_safe_in_a_url(path: str) -> None:
    if offline().check_repository(path) is None:
        assert not set(path) & set("%?#\\ \n@:ü")
        assert not {"", ".", ".."} & set(path.split("/"))


def test_every_outcome_is_mapped() -> None:
    assert STATES.keys() == set(Outcome)


@pytest.mark.parametrize(
    ("url", "page"),
    [
        (None, "https://gitlab.com/g/p/-/commit/abc"),
        ("https://git.example.com/", "https://git.example.com/g/p/-/commit/abc"),
        ("https://example.com/gitlab", "https://example.com/gitlab/g/p/-/commit/abc"),
    ],
)
def test_a_commit_has_its_page(url: str | None, page: str) -> None:
    assert offline(url).commit_url("g/p", "abc") == page
