"""What the recorded runs tell each place, compared with what was looked at and found good.

``GOLDEN=write pytest tests/golden`` writes the files anew: read what has changed before you commit it.
"""

from __future__ import annotations

import asyncio
import difflib
import os
from pathlib import Path

import pytest

from tests.golden.chapters import CHAPTERS
from tests.golden.telling import RUNS, Told, tell
from tests.golden.writing import Chapter, written

FILES = Path(__file__).parent / "files"
_SHOWN = 200  # lines of a difference


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Told]:
    """The recording is played once for all files."""
    return asyncio.run(tell(tmp_path_factory.mktemp("golden")))


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.file)
def test_what_is_told_is_what_was_found_good(chapter: Chapter, told: dict[str, Told]) -> None:
    file, text = FILES / f"{chapter.file}.md", written(chapter, told[chapter.place])
    if os.environ.get("GOLDEN") == "write":
        FILES.mkdir(exist_ok=True)
        file.write_text(text)
    good = file.read_text() if file.exists() else ""
    if text != good:
        lines = list(difflib.unified_diff(good.splitlines(), text.splitlines(), file.name, "told now", lineterm=""))
        more = f"\n… and {len(lines) - _SHOWN} lines more" if len(lines) > _SHOWN else ""
        pytest.fail("\n".join(lines[:_SHOWN]) + more, pytrace=False)


def test_each_file_has_its_test_and_each_run_its_section() -> None:
    assert {path.stem for path in FILES.iterdir()} == {chapter.file for chapter in CHAPTERS}
    for path in FILES.iterdir():
        assert [line[3:] for line in path.read_text().splitlines() if line.startswith("## ")] == list(RUNS)
