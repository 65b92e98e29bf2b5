"""CONTRIBUTING.md's walk through the smallest notifier quotes what is there, and what it links to exists."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
SECTION = TEXT[TEXT.index("## A new notifier") :]
QUOTED = ("notifiers/gitea.py", "tests/unit/notifiers/test_gitea.py")


def lines(text: str) -> str:
    """But for indentation and empty lines, which the formatter sets as it sees fit."""
    return "\n".join(line.strip() for line in text.splitlines() if line.strip())


def test_what_is_quoted_stands_there_word_for_word() -> None:
    blocks = re.findall(r"^ *```python\n(.*?)^ *```$", SECTION, re.DOTALL | re.MULTILINE)
    for block, file in zip(blocks, QUOTED, strict=True):
        assert lines(block) in lines((ROOT / file).read_text()), file
    (entry,) = re.findall(r'`(\w+ = "[\w.:]+")`', SECTION)
    assert entry in (ROOT / "pyproject.toml").read_text().splitlines()


def test_its_links_and_paths_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert target.startswith("https://") or (ROOT / target).exists(), target
    (folders,) = re.findall(r"-m pytest ([^`]+) -k gitea", SECTION)
    for folder in folders.split():
        assert (ROOT / folder).is_dir()


def test_the_readme_leads_here() -> None:
    assert "CONTRIBUTING.md#a-new-notifier" in (ROOT / "README.md").read_text()
    assert not re.search(r"CONTRIBUTING\.md#(?!a-new-notifier)", (ROOT / "README.md").read_text())
