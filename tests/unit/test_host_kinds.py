"""Every kind of Git host that we bring is documented, and what the documentation shows can be used."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from listener.assembly import Settings, build_notifiers
from listener.config import load
from listener.config_problems import ConfigError
from notifiers.base import CommitStatus
from notifiers.registry import discover, needs_token

ROOT = Path(__file__).parents[2]
EXAMPLE = (ROOT / "config" / "listener.yaml").read_text()
KINDS = {name: kind for name, kind in discover().items() if CommitStatus in kind.reports}  # channels have no statuses


def test_every_kind_is_in_the_readme_and_needs_a_token() -> None:
    row = next(line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("| `kind:` |"))
    assert set(re.findall(r"`([a-z-]+)`", row)) == KINDS.keys()
    assert all(map(needs_token, KINDS))
    assert not needs_token("plugin")


def test_the_entries_of_the_example_are_of_all_kinds_and_can_be_used(tmp_path: Path) -> None:
    hosts = EXAMPLE[EXAMPLE.index("hosts:\n") : EXAMPLE.index("# Chats")]
    entries = re.sub(r"^  # ( {2,}\w+: |[a-z-]+:$)", r"  \1", hosts, flags=re.MULTILINE)
    parsed = yaml.safe_load(entries)["hosts"]
    assert {host["kind"] for host in parsed.values()} == KINDS.keys()
    (tmp_path / "token").write_text("a-token")
    for host in parsed.values():
        host.pop("ca_file", None)
        host["token_file"] = "token"
    users = [{"name": "ci", "password_file": "token", "namespaces": ["*"]}]
    path = tmp_path / "listener.yaml"
    path.write_text(yaml.safe_dump({"users": users, "hosts": parsed, "services": []}))
    config = load(path, known_kinds=KINDS, env={}).config
    assert build_notifiers(Settings(config=config, folder=tmp_path, kinds=KINDS, env={})).keys() == parsed.keys()


@pytest.mark.parametrize("kind", KINDS)
def test_a_host_without_a_token_is_told_before_the_start(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "listener.yaml"
    path.write_text(f'hosts: {{here: {{kind: {kind}, url: "https://git.example.com"}}}}\nservices: []\n')
    with pytest.raises(ConfigError, match="no secret: give token_file"):
        load(path, known_kinds=KINDS, env={})
