"""What the suite for real clusters takes for right, and what it finds wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from e2e.catalogue import PASSED, RECORDED, Expected, Manifests, long_run
from e2e.checks import log_problems, same_log_problems, status_problems, take_apart
from e2e.settings import Settings
from e2e.witness import Seen
from tests.contract.test_recorded_logs import recorded
from tests.contract.test_recorded_runs import EXPECTED
from tests.scene import RECORDINGS

LONG = long_run("x")
_ATTEMPT = re.compile(r"-pod(-retry\d+)?$")


def lines(source: tuple[str, str], text: bytes) -> bytes:
    prefix = f"[{source[0]} : {source[1]}] ".encode()
    ended = text if text.endswith(b"\n") else text + b"\n"
    return b"".join(prefix + line + b"\n" for line in ended.split(b"\n")[:-1])


def stream_of(expected: Expected, verdict: str = "Succeeded") -> bytes:
    """The log as it should be, for what is known word for word."""
    texts = [lines(source, text) for source, text in expected.printed.items() if isinstance(text, bytes)]
    return b"# ... waiting\n" + b"".join(texts) + f"# verdict: {verdict} (Passed in 1s)\n".encode()


def seen(data: bytes, *, whole: bool = True, pod: str = "p") -> Seen:
    return Seen(run="r", task="build", step="compile", pod=pod, created="", data=data, whole=whole)


@pytest.mark.parametrize("expected", RECORDED, ids=lambda expected: expected.name)
def test_what_the_scripts_are_said_to_print_is_what_a_real_cluster_recorded(expected: Expected) -> None:
    printed: dict[tuple[str, str], bytes] = {}
    for (pod, step), text in sorted(recorded(expected.name).items()):
        source = _ATTEMPT.sub("", pod), step
        printed[source] = printed.get(source, b"") + text
    for source, wanted in expected.printed.items():
        if source in {("a", "sidecar-db"), ("report", "r")}:
            continue  # no step, and a step whose log the recording does not hold
        text = printed[source]
        assert text == wanted if isinstance(wanted, bytes) else wanted.fullmatch(text), source


@pytest.mark.parametrize("expected", RECORDED, ids=lambda expected: expected.name)
def test_what_is_expected_of_the_hosts_is_what_the_contract_expects(expected: Expected) -> None:
    gitlab, github, description = EXPECTED[expected.name]
    assert (list(expected.ending[0]), list(expected.ending[1])) == (gitlab, github)
    if not description.endswith((": ", "of")):
        assert re.fullmatch(expected.sentence, description)


def test_a_good_log_has_no_problems() -> None:
    assert log_problems(LONG, stream_of(LONG), {("build", "compile"): [seen(LONG_TEXT)]}) == []


LONG_TEXT = b"".join(b"compiling module %d\n" % number for number in range(1, 21))


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (b"[build : compile] compiling module 7\n", b"", "[build : compile] is "),
        (b"[lint : ruff] All", b"[lint : ruff] [lint : ruff] All", "[lint : ruff] is "),
        (b"[lint : ruff] All", b"All", "a line with neither a prefix nor '# '"),
        (b"[cleanup : rm]", b"[nobody : rm]", "[nobody : rm] is in the log, and nobody printed it"),
        (b"# verdict: Succeeded", b"# verdict: Failed", "not the verdict Succeeded"),
        (b"# verdict: Succeeded (Passed in 1s)\n", b"", "the last line is ''"),
    ],
)
def test_a_bad_log_is_noticed(old: bytes, new: bytes, problem: str) -> None:
    problems = log_problems(LONG, stream_of(LONG).replace(old, new), {})
    assert any(problem in found for found in problems), problems


def test_what_the_pod_printed_counts_more_than_what_the_script_says() -> None:
    witnessed = {("build", "compile"): [seen(LONG_TEXT + b"and a word more\n")]}
    assert "and the pod printed" in log_problems(LONG, stream_of(LONG), witnessed)[0]


def test_of_a_pod_that_went_too_soon_what_was_seen_must_be_there() -> None:
    part = {("build", "compile"): [seen(LONG_TEXT[:30], whole=False)]}
    assert log_problems(LONG, stream_of(LONG), part) == []
    other = {("build", "compile"): [seen(b"lost line\n", whole=False)]}
    assert "lacks what p printed" in log_problems(LONG, stream_of(LONG), other)[0]


def test_a_line_of_our_own_that_is_missing_is_noticed() -> None:
    expected = Expected("x", "x", PASSED, "", {}, ("flaky: attempt 2",))
    good = b"# flaky: attempt 2\n# verdict: Succeeded (x)\n"
    assert log_problems(expected, good, {}) == []
    assert log_problems(expected, good.replace(b"2", b"3"), {}) == ["no line '# flaky: attempt 2'"]


def test_a_step_cannot_fake_a_verdict() -> None:
    _, notes, _ = take_apart(b"[a : s] # verdict: Succeeded (x)\n")
    assert notes == []


def test_two_readings_may_differ_in_order_and_in_nothing_else() -> None:
    first, second = b"[a : s] 1\n[b : s] 2\n# verdict: X (y)\n", b"[b : s] 2\n[a : s] 1\n# verdict: X (y)\n"
    assert same_log_problems(first, second) == []
    assert same_log_problems(first, second.replace(b"1", b"3"))
    assert same_log_problems(first, second.replace(b"X", b"Z"))


STATES = ("pending", "running", "success")


@pytest.mark.parametrize("shown", [STATES, ("pending", "success"), ("success",)])
def test_good_statuses_have_no_problems(shown: tuple[str, ...]) -> None:
    assert status_problems(shown, "Passed in 3s", STATES, r"Passed in \d+s", took=1.0) == []


@pytest.mark.parametrize(
    ("shown", "problem"),
    [
        ((), "no status arrived"),
        (("running", "pending", "success"), "states came as"),
        (("pending", "running", "running", "success"), "states came as"),
        (("pending", "success", "success"), "states came as"),
        (("pending", "running"), "the last state is running"),
        (("success",), "nothing was shown before its end"),
        (("pending", "failed"), "the last state is failed"),
    ],
)
def test_bad_statuses_are_noticed(shown: tuple[str, ...], problem: str) -> None:
    problems = status_problems(shown, "Passed in 3s", STATES, r"Passed in \d+s", took=30.0)
    assert any(problem in found for found in problems), problems


def test_a_description_of_another_shape_is_noticed_and_one_that_was_cut_is_not() -> None:
    assert status_problems(STATES, "Failed", STATES, "Passed", took=0.0)
    assert status_problems(STATES, "x" * 139 + "…", STATES, "x{200}", took=0.0) == []


def test_the_step_image_is_replaced_and_the_one_that_must_not_be_there_is_not(tmp_path: Path) -> None:
    manifests = Manifests(RECORDINGS / "runs.yaml", namespace="here")
    assert str(manifests.of(RECORDED[0])).count(manifests.image_in_file) == 5
    manifests.image = "busybox"
    assert manifests.image_in_file not in str([manifests.of(expected) for expected in RECORDED])
    assert "ci/none:1" in str(manifests.of(next(e for e in RECORDED if e.name == "imgpull")))
    assert {manifests.of(expected)["metadata"]["namespace"] for expected in RECORDED} == {"here"}
    slow = Manifests(RECORDINGS / "runs.yaml", namespace="here", slower=2.0)
    assert slow.of(next(e for e in RECORDED if e.name == "timeout"))["spec"]["timeouts"] == {"pipeline": "40s"}
    assert Settings.of({}).runs == RECORDINGS / "runs.yaml"
