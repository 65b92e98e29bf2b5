"""What is kept of attempts whose memo has not reached the listener."""

from __future__ import annotations

from notifiers.unfinished import Unfinished
from tests.unit.notifiers.scene import status


def test_a_memo_is_kept_until_it_is_forgotten() -> None:
    kept, report = Unfinished(), status()
    assert kept.memo(report, "given") == "given"
    kept.keep(report, None, given="given")
    assert kept.memo(report, "given") == "given"
    kept.keep(report, "fresh", given="given")
    assert kept.memo(report, "given") == "fresh"
    kept.forget(report)
    assert kept.memo(report, "given") == "given"


def test_another_memo_of_the_listeners_was_written_by_somebody_who_got_further() -> None:
    kept, report = Unfinished(), status()
    kept.keep(report, "fresh", given=None)
    assert kept.memo(report, "another") == "another"
    assert kept.memo(report, None) == "fresh"


def test_each_report_has_its_own() -> None:
    kept, report = Unfinished(), status()
    kept.keep(report, "fresh", given=None)
    others = [status(repository="other/one"), status(sha="0" * 40), status(context="other")]
    assert [kept.memo(other, None) for other in others] == [None] * 3


def test_the_oldest_ones_make_room() -> None:
    kept = Unfinished(limit=2)
    reports = [status(context=str(number)) for number in range(3)]
    for report in (reports[0], reports[1], reports[0], reports[2]):
        kept.keep(report, "fresh", given=None)
    assert [kept.memo(report, None) for report in reports] == ["fresh", None, "fresh"]
