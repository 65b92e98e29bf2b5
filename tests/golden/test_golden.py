"""What the recorded runs tell each place, compared with what was looked at and found good.

``GOLDEN=write pytest tests/golden`` writes the files anew: read what has changed before you commit it.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path

import pytest

from tests.golden.chapters import CHAPTERS
from tests.golden.telling import RUNS, tell
from tests.golden.writing import written

FILES = Path(__file__).parent / "files"
_SHOWN = 200  # lines of a difference


async def test_what_each_place_is_told_is_what_was_found_good(tmp_path: Path) -> None:
    """One test for all files, for the recording is played once."""
    told = await tell(tmp_path)
    differences: list[str] = []
    for chapter in CHAPTERS:
        file, text = FILES / f"{chapter.file}.md", written(chapter, told[chapter.place])
        if os.environ.get("GOLDEN") == "write":
            FILES.mkdir(exist_ok=True)
            file.write_text(text)
        good = file.read_text() if file.exists() else ""
        differences += difflib.unified_diff(good.splitlines(), text.splitlines(), file.name, "told now", lineterm="")
    if differences:
        more = f"\n… and {len(differences) - _SHOWN} lines more" if len(differences) > _SHOWN else ""
        pytest.fail("\n".join(differences[:_SHOWN]) + more, pytrace=False)


def test_each_file_is_compared_and_each_run_has_its_section() -> None:
    assert {path.stem for path in FILES.iterdir()} == {chapter.file for chapter in CHAPTERS}
    for path in FILES.iterdir():
        assert [line[3:] for line in path.read_text().splitlines() if line.startswith("## ")] == list(RUNS)
