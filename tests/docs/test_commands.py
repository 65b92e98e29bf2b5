"""Every command in the documentation is run as it stands there, or its block says what it needs that is not here."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from tests.docs.markdown import ROOT, Block, page, pages
from tests.docs.workshop import Workshop, commands_of, prints, workshop

SHELL = [block for one in pages() for block in one.blocks if block.language in ("sh", "bash", "console")]
ELSEWHERE = ("cluster", "docker", "network")
RUN_HERE = [block for block in SHELL if not block.needs and not block.run_by]
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    with workshop(tmp_path_factory.mktemp("documentation")) as found:
        yield found


@needs_curl
@pytest.mark.parametrize("block", RUN_HERE, ids=str)
def test_a_command_does_what_is_said(block: Block, place: Workshop) -> None:
    for command, lines in commands_of(block):
        done = place.run(command, strict=block.language != "console")
        assert done.code == 0, f"{command}\n{done.output}{done.errors}"
        missing = prints(done.output, lines)
        assert missing is None, f"{command}\nprinted\n{done.output}\nand not\n{missing}"


def test_what_is_not_run_here_says_why() -> None:
    for block in SHELL:
        assert not block.needs or block.needs in ELSEWHERE, block
        assert not block.run_by or (ROOT / block.run_by).is_file(), block
        programs = {
            "kubectl": "cluster",
            "helm": "cluster",
            "kind": "cluster",
            "docker": "docker",
            "git clone": "network",
        }
        if block.needs:  # and it is not an excuse
            assert any(name in block.text for name, what in programs.items() if what == block.needs), block


def test_enough_is_run_here() -> None:
    assert len(RUN_HERE) >= 6


@pytest.mark.parametrize("block", [block for block in SHELL if block.needs or block.run_by], ids=str)
def test_what_is_not_run_is_at_least_shell(block: Block) -> None:
    script = "\n".join(command for command, _ in commands_of(block))
    done = subprocess.run(["bash", "-n", "-c", script], capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr


def test_output_that_differs_is_noticed() -> None:
    assert prints("a\n# verdict: Failed (in 3.5s: x)\n", ["…", "# verdict: Failed (in 2s: x)"]) is None
    assert prints("\x1b[1ma\x1b[0m\nb\n", ["b", "a"]) is None
    assert prints("waiting for ci/x, up to 60 s\n", ["waiting for …, up to 30 s"]) is None
    assert prints("passed\n", ["failed"]) == "failed"


def test_every_block_says_what_it_is_written_in() -> None:
    for one in pages():
        for block in one.blocks:
            assert block.language in ("", "sh", "console", "yaml", "python"), block
            assert block.language or not block.text.lstrip().startswith(("$ ", "kubectl ", "curl ", "helm ")), block


# Another user's namespace is asked for in tests/security.
CURLS = [
    (str(one), span)
    for one in pages()
    for span in one.spans
    if span.startswith("curl ") and "…/" in span and "OTHER-NAMESPACE" not in span
]


@needs_curl
@pytest.mark.parametrize(("where", "command"), CURLS, ids=[f"{where}: {command}" for where, command in CURLS])
def test_a_curl_within_a_sentence_is_one(where: str, command: str, place: Workshop) -> None:
    """With our service for ``…`` before a path, and a run and a password that exist."""
    script = re.sub(r"(https?://)?…/", '"$TEKTON_LISTENER"/', command)
    script = script.replace("/logs/RUN", '/logs/"$RUN"').replace("/status/RUN", '/status/"$RUN"')
    script = re.sub(r"-u \S+:\S+", "", script)
    logged_in = "-u" in command or "/logs/" in script or "/status/" in script
    done = place.run(f"{script} {'-u demo:demo' if logged_in else ''} -sS -w '%{{http_code}}'", strict=True)
    assert done.code == 0, f"{where}: {done.errors}"
    assert done.output[-3:] == ("200" if logged_in else "401")


def test_the_parameters_of_a_log_are_known(place: Workshop) -> None:
    table = page("README.md").text.partition("| parameter of `/logs` | |")[2].partition("\n\n")[0]
    cells = [line.split("|")[1] for line in table.splitlines()[2:]]
    written = [span for cell in cells for span in re.findall(r"`([^`]+)`", cell)]
    named = [one if "=" in one else f"color={one}" for one in written]  # color=never, always
    assert len(named) >= 10
    for one in [*named, "nonsense=1"]:
        value = one.replace("BYTES", "3")
        done = place.run(
            f'curl -sS -o "$RUN.log" -w "%{{http_code}}" -u demo:demo "$TEKTON_LISTENER/logs/$RUN?follow=0&{value}"',
            strict=True,
        )
        assert done.output == ("400" if one == "nonsense=1" else "200"), one
