"""The README's tables of hosts and channels say what the code does, each ✓ has its test, and what the documentation shows can be used.

A kind's row is the one line of documentation that it needs: everything in here that must hold for a new kind is read from there, from the
notifier, and from its subject of the contract suite.
"""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest
import yaml

from listener.assembly import Settings, build_notifiers
from listener.config import load
from listener.config_problems import ConfigError
from notifiers.base import CommitStatus, HostSettings, Notifier, Outcome
from notifiers.registry import discover, needs_token
from notifiers.reports import CheckRun, Comment, Deployment, Labels, Message
from tests.hosts.forges import FORGES
from tests.unit.notifiers.subjects import STATUSES, SUBJECTS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
EXAMPLE = (ROOT / "config" / "listener.yaml").read_text()
ALL = discover()
KINDS = {name: kind for name, kind in ALL.items() if CommitStatus in kind.reports}  # channels have no statuses
YES, NO = "✓", "–"
SHA = "4f1c2d3e5a6b7c8d9e0f1a2b3c4d5e6f7a8b9c0d"
Row = dict[str, str]


def table(first: str) -> list[Row]:
    """The README's table whose first heading is ``first``; a row by heading."""
    lines = README[README.index(f"| {first} |") :].split("\n\n")[0].splitlines()
    head, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert all(len(row) == len(head) for row in rows), "a cell too many or too few"
    return [dict(zip(head, row, strict=True)) for row in rows]


HOSTS, CHANNELS = table("host"), table("channel")
COLUMNS: Final[dict[str, type[CommitStatus]]] = {
    "status with a link": CommitStatus,
    "one per task": CommitStatus,
    "check run, annotations": CheckRun,
    "comment": Comment,
    "labels": Labels,
    "deployment": Deployment,
}
APP, TOKEN = "GitHub, an App", "GitHub, a token"
_REPORTS, _MORE = "tests/e2e/test_reports.py", "tests/e2e/test_more_hosts.py"
_CHECKS, _COMMENTS = "tests/contract/test_github_checks.py", "tests/contract/test_comments.py"
_LABELS = "tests/contract/test_labels_and_deployments.py"
_ON_BOTH = (
    "tests/contract/test_recorded_runs.py::test_each_recorded_run_shows_exactly_its_states_in_order_on_both_hosts"
)
_PERMISSION = f"{_CHECKS}::test_an_app_needs_the_permission_for_what_it_says_and_no_other"
#: Where a cell is seen to hold, against a stand-in that keeps the host's published rules. Rows that are not named here are forges, see ``proof``.
PROOFS: Final[dict[str, dict[str, str]]] = {
    "GitLab": {
        "status with a link": _ON_BOTH,
        "one per task": f"{_REPORTS}::test_each_task_has_a_status_of_its_own_below_the_runs",
        "comment": f"{_COMMENTS}::test_a_request_gets_one_comment_that_follows_the_run",
        "labels": f"{_LABELS}::test_gitlab_has_the_labels_that_were_asked_for_and_keeps_all_others",
        "deployment": f"{_LABELS}::test_gitlab_shows_the_states_of_one_deployment",
        "what the token needs": f"{_LABELS}::test_refusals_say_what_to_do",
    },
    TOKEN: {
        "status with a link": _ON_BOTH,
        "one per task": f"{_MORE}::test_each_task_has_a_status_of_its_own",
        "check run, annotations": f"{_CHECKS}::test_a_token_is_refused_and_what_to_do_is_said",
        "comment": f"{_COMMENTS}::test_every_request_and_answer_is_one_that_githubs_description_knows",
        "labels": f"{_LABELS}::test_github_has_the_labels_that_were_asked_for_and_keeps_all_others",
        "deployment": f"{_LABELS}::test_githubs_answers_are_ones_that_its_documentation_knows",
        "what the token needs": f"{_LABELS}::test_refusals_say_what_to_do",
    },
    APP: {
        "status with a link": _PERMISSION,
        "one per task": f"{_REPORTS}::test_an_app_reports_check_runs_with_the_compilers_words_at_their_lines",
        "check run, annotations": f"{_CHECKS}::test_answers_are_as_githubs_description_says",
        "comment": _PERMISSION,
        "labels": _PERMISSION,
        "deployment": _PERMISSION,
        "what the token needs": _PERMISSION,
    },
}
_FORGE: Final = {
    "status with a link": f"{_MORE}::test_a_run_becomes_statuses_in_the_hosts_own_words",
    "one per task": f"{_MORE}::test_each_task_has_a_status_of_its_own",
    "what the token needs": "tests/contract/test_more_git_hosts.py::test_a_weak_token_is_told_what_it_lacks",
}


def proof(row: Row, column: str) -> str | None:
    """The test of a cell. Those of a forge run for every stand-in in ``tests/hosts``, so it is to have one."""
    if row["host"] in PROOFS:
        return PROOFS[row["host"]].get(column)
    assert kind_of(row) in {forge.kind for forge in FORGES}, "it has a stand-in with its host's rules"
    return _FORGE.get(column)


def kind_of(row: Row) -> str:
    return row["`kind:`"].strip("`")


def connected(row: Row) -> Notifier:
    return KINDS[kind_of(row)](HostSettings(name="x", url="https://git.example.com/acme", token="t", threads=1))


def test_every_kind_has_its_row_and_needs_a_token() -> None:
    assert {kind_of(row) for row in HOSTS} == KINDS.keys()
    assert {kind_of(row) for row in CHANNELS} == ALL.keys() - KINDS.keys()
    assert all(map(needs_token, KINDS))
    assert not needs_token("plugin")


@pytest.mark.parametrize("row", HOSTS, ids=lambda row: row["host"])
def test_a_hosts_row_says_what_its_notifier_takes(row: Row) -> None:
    for column, report in COLUMNS.items():
        takes = report in KINDS[kind_of(row)].reports and not (report is CheckRun and row["host"] == TOKEN)
        assert row[column] == (YES if takes else NO), column


@pytest.mark.parametrize("row", HOSTS, ids=lambda row: row["host"])
def test_each_cell_has_a_test_that_is_there(row: Row) -> None:
    yes = [column for column in COLUMNS if row[column] == YES]
    for column in (*yes, "what the token needs"):
        named = proof(row, column)
        assert named is not None, f"{column} is not tested"
        path, _, name = named.partition("::")
        tests = [
            node.name for node in ast.parse((ROOT / path).read_text()).body if isinstance(node, ast.AsyncFunctionDef)
        ]
        assert name in tests, named


def test_no_test_is_named_for_a_cell_that_is_not_there() -> None:
    for host, proofs in PROOFS.items():
        (row,) = [row for row in HOSTS if row["host"] == host]
        assert proofs.keys() <= row.keys()


@pytest.mark.parametrize("row", HOSTS, ids=lambda row: row["host"])
def test_a_hosts_row_names_scopes_words_lengths_and_the_public_host(row: Row) -> None:
    subjects = [s for s in SUBJECTS if s.notifier is KINDS[kind_of(row)] and s.app == (row["host"] == APP)]
    for subject in subjects:
        assert subject.scope.strip("'") in row["what the token needs"], subject.name
        if subject in STATUSES:
            facts = row["words · characters of name / description / link"]
            assert all(f"{limit:,}" in facts for limit in subject.limits.values())
            words = {connected(row).state(outcome) for outcome in Outcome}
            assert facts.startswith("see above") or words <= set(re.findall(r"\w+", facts))
    try:
        page = KINDS[kind_of(row)](HostSettings(name="x", url=None, token="t", threads=1)).commit_url("a/b", SHA)
    except ValueError:
        assert "needs a `url:`" in row["and"]
    else:
        public = re.match(r"https://[^/]+", str(page))
        assert public is not None
        assert f"`{public[0]}` without `url:`" in row["and"] or "as with a token" in row["and"]


def test_the_words_of_gitlab_and_github_are_in_a_table_of_their_own() -> None:
    said = [re.split(r"[:,]", row["Tekton"])[0] for row in table("Tekton")]
    assert said == ["not started yet", "running", "Succeeded", "Failed", "PipelineRunTimeout", "Cancelled", "never ran",
                    "deleted before it finished"]  # fmt: skip
    outcomes = [Outcome.QUEUED, Outcome.RUNNING, Outcome.SUCCEEDED, Outcome.FAILED, Outcome.TIMED_OUT, Outcome.CANCELLED, Outcome.BROKEN,
                Outcome.DELETED]  # fmt: skip
    for host, kind in (("GitLab", "gitlab"), ("GitHub", "github")):
        notifier = connected({"`kind:`": kind})
        assert [row[host] for row in table("Tekton")] == [notifier.state(outcome) for outcome in outcomes]


@pytest.mark.parametrize("row", CHANNELS, ids=lambda row: row["channel"])
def test_a_channels_row_leads_to_its_page(row: Row) -> None:
    assert ALL[kind_of(row)].reports == {Message}
    (page,) = re.findall(r"\]\((docs/\w+\.md)\)", row[""])
    assert f"`{kind_of(row)}`" in (ROOT / page).read_text()


def test_the_entries_of_the_example_can_be_used_with_every_kind(tmp_path: Path) -> None:
    hosts = EXAMPLE[EXAMPLE.index("hosts:\n") : EXAMPLE.index("# Chats")]
    entries = re.sub(r"^  # ( {2,}\w+: |[a-z-]+:$)", r"  \1", hosts, flags=re.MULTILINE)
    parsed = yaml.safe_load(entries)["hosts"]
    other = parsed.pop("forge")
    assert other["kind"] == "KIND"
    parsed |= {f"the-{kind}": {**other, "kind": kind, "url": f"{other['url']}/acme"} for kind in KINDS}
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


# What a new kind touches

SMALLEST: Final = "gitea"
_ITS_OWN: Final = {
    f"notifiers/{SMALLEST}.py": None,  # the one file
    "pyproject.toml": 1,  # the one entry point
    f"tests/unit/notifiers/test_{SMALLEST}.py": None,  # the one test file
    f"tests/hosts/{SMALLEST}.py": None,  # and the stand-in that it tests against
    "README.md": 1,  # the one line of documentation
}
_ABOUT_IT: Final = (
    "CHANGELOG.md",  # what was, which nobody looks up
    "CONTRIBUTING.md",  # which shows it as the example
    "tests/unit/test_contributing.py",
    "tests/unit/test_host_kinds.py",
    "tests/golden/files/",  # written by a command
)


@pytest.mark.skipif(shutil.which("git") is None or not (ROOT / ".git").exists(), reason="needs a git checkout")
def test_the_smallest_kind_is_named_in_its_own_places_and_nowhere_else() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    found: dict[str, int] = {}
    for path in listed.split("\0"):
        if not path or not (ROOT / path).is_file() or path.startswith(_ABOUT_IT):
            continue
        lines = (ROOT / path).read_bytes().lower().splitlines()
        if count := sum(SMALLEST.encode() in line for line in lines) + (SMALLEST in path and not lines):
            found[path] = count
    assert found.keys() == _ITS_OWN.keys()
    assert {path: found[path] for path, lines in _ITS_OWN.items() if lines is not None} == {
        path: lines for path, lines in _ITS_OWN.items() if lines is not None
    }
