"""Finding notifiers: ours are there, a broken stranger is named and does no harm."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from notifiers.registry import GROUP, discover
from tests.unit.notifiers.subjects import SUBJECTS

OURS = {s.notifier.kind: s.notifier for s in SUBJECTS if s.notifier.__module__.startswith("notifiers.")}
MODULE = """
from notifiers.github import GitHubNotifier
class Forge(GitHubNotifier):
    kind = "forge"
class Other(GitHubNotifier):
    kind = "forge"
class Thief(GitHubNotifier):
    kind = "gitlab"
from notifiers.base import Notifier
class Half(Notifier):
    kind = "half"
nothing = 7
"""
Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """``install("forge = acme_forge:Forge")``: as if a package ``acme-forge`` with these entry points were installed."""
    (tmp_path / "acme_forge.py").write_text(MODULE)
    (tmp_path / "acme_broken.py").write_text("raise RuntimeError('no such luck')\n")
    monkeypatch.syspath_prepend(tmp_path)

    def make(*entries: str, package: str = "acme-forge") -> None:
        info = tmp_path / f"{package.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("\n".join([f"[{GROUP}]", *entries]) + "\n")
        importlib.invalidate_caches()

    yield make
    sys.modules.pop("acme_forge", None)


def test_ours_are_found(caplog: pytest.LogCaptureFixture) -> None:
    assert discover() == OURS
    assert not caplog.records


def test_a_notifier_of_another_package_is_found(install: Install) -> None:
    install("forge = acme_forge:Forge")
    found = discover()
    assert found.keys() == {*OURS, "forge"}
    assert found["forge"].kind == "forge"


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ("broken = acme_broken:X", "RuntimeError: no such luck"),
        ("gone = acme_gone:X", "ModuleNotFoundError"),
        ("nothing = acme_forge:nothing", "is not a class derived from"),
        ("half = acme_forge:Half", "Half lacks __init__, check_repository, close, deliver, state"),
        ("smith = acme_forge:Forge", "Forge.kind is 'forge'"),
        ("gitlab = acme_forge:Thief", "there is already notifiers.gitlab.GitLabNotifier"),
    ],
)
def test_what_cannot_be_used_is_named_with_its_package_and_left_out(
    install: Install, caplog: pytest.LogCaptureFixture, entry: str, why: str
) -> None:
    install(entry)
    assert discover() == OURS
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert "acme-forge" in record.getMessage()
    assert why in record.getMessage()


def test_two_of_one_kind_are_reported(install: Install, caplog: pytest.LogCaptureFixture) -> None:
    install("forge = acme_forge:Forge")
    install("forge = acme_forge:Other", package="acme-other")
    assert discover()["forge"].__name__ == "Forge"
    assert "acme-other" in caplog.text
