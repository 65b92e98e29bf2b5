"""The demo's story, told fast to the service in this process: each kind of report that the pages are to show has arrived."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from listener.assembly import Settings
from listener.config import load
from listener.demo.githost import GitHost
from listener.demo.markdown import render
from listener.demo.stage import NAMESPACE, Stage, stage
from listener.demo.story import COMMITS, GITHUB_PATH, GITLAB_PATH, ON_MAIN, WEB_COMMITS, WEB_PATH, chapters
from listener.demo.teller import tell
from listener.reporting import texts
from listener.service import Service
from notifiers.registry import discover
from notifiers.reports import Outcome, RunDetails, TaskDetails

SHA = next(iter(COMMITS))
GOOD = list(ON_MAIN)[1]


@pytest.fixture
async def around(tmp_path: Path) -> AsyncIterator[Stage]:
    """The first episode has been told to the service, which is still at it."""
    async with contextlib.AsyncExitStack() as stack:
        around = await stack.enter_async_context(stage(tmp_path, port=0))
        kinds, env = discover(), {"KUBECONFIG": str(around.kubeconfig)}
        loaded = load(around.config, known_kinds=kinds, env=env)
        assert [problem for problem in map(str, loaded.warnings) if "not encrypted" not in problem] == []
        settings = Settings(
            config=loaded.config, folder=tmp_path, path=loaded.path, kinds=kinds, env=env, host="127.0.0.1", port=0
        )
        await stack.enter_async_context(Service(settings))
        for chapter in chapters(0, namespace=NAMESPACE):
            await tell(around.cluster, chapter, pace=0.02)
        yield around


def missing(around: Stage) -> list[str]:
    """The kinds of reports that have not arrived."""
    lab, hub = around.gitlab, around.github
    statuses = {"build": "success", "lint": "failed", "docs": "success", "e2e": "canceled", "release": "failed"}
    statuses |= {"platforms": "success", "soak": "success", "lint/lint": "failed", "docs/links": "success"}
    shown = {context: posted.state for context, posted in lab.latest(GITLAB_PATH, SHA).items()}
    bodies = [one.body for one in around.merge_request.notes] + [one.body for one in around.pull.comments]
    said = [message.data["title"].partition(" (")[0] for message in around.chat.messages]
    checks = [[check.conclusion for check in hub.checks.latest(WEB_PATH, sha)] for sha in WEB_COMMITS]
    arrived = {
        "statuses and task statuses": statuses.items()
        <= {c.removeprefix("tekton/"): s for c, s in shown.items()}.items(),
        "comments": len(bodies) == 2 and all("docs-2" in one and "release" in one for one in bodies),
        "the App's comment": [comment.login for comment in around.web_pull.comments] == ["tekton-listener[bot]"],
        "labels": around.merge_request.labels == around.pull.labels == ["lint::failed"],
        "deployments": [one.status for one in lab.deployments.of(GITLAB_PATH, GOOD)]
        == [one.state for one in hub.deployments.of(GITHUB_PATH, GOOD)]
        == ["success"],
        "check runs": checks == [["failure"], ["success"]],
        "annotations": any(len(check.annotations) == 3 for check in hub.checks.all.values()),
        "messages": {f"✅ service-xyz {what}" for what in ("fixed on main", "succeeded on main")} <= {*said}
        and "❌ service-xyz broken on main" in said,
    }
    return [kind for kind, there in arrived.items() if not there]


async def settled(around: Stage) -> list[str]:
    """What is missing when nothing is to be waited for any more, or for too long."""
    hosts: list[GitHost] = [around.gitlab, around.github, around.chat]
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(30):
            while missing(around):
                requests = [asyncio.create_task(host.wait_asked(len(host.asked) + 1, timeout=60)) for host in hosts]
                await asyncio.wait(requests, return_when=asyncio.FIRST_COMPLETED)
                for request in requests:
                    request.cancel()
                await asyncio.gather(*requests, return_exceptions=True)
    return missing(around)


async def test_each_kind_of_report_arrives_and_is_shown(around: Stage) -> None:
    assert await settled(around) == []

    lab, hub, request = around.gitlab.url, around.github.url, around.merge_request
    pull, web = around.pull, around.web_pull
    pages = {
        f"{lab}/{GITLAB_PATH}": ["Speed up the parser", "lint"],
        f"{lab}/{GITLAB_PATH}/-/commit/{SHA}": [
            "tekton/docs/links",
            "Optional: failed",
            f"merge_requests/{request.iid}",
        ],
        f"{lab}/{GITLAB_PATH}/-/merge_requests/{request.iid}": [
            "<td><code>types</code></td>",
            "<strong>lint</strong><span>failed</span>",
        ],
        f"{lab}/{GITLAB_PATH}/-/environments": ["staging", "https://staging.example.com", "Passed"],
        f"{hub}/{GITHUB_PATH}/commit/{SHA}": ["tekton/docs/links", "Optional: failed", f"pull/{pull.number}"],
        f"{hub}/{GITHUB_PATH}/pull/{pull.number}": ["<td><code>types</code></td>", "lint::failed"],
        f"{hub}/{GITHUB_PATH}/deployments": ["staging", "https://staging.example.com"],
        f"{hub}/{WEB_PATH}/pull/{web.number}/checks": ["<td><code>compile</code></td>", "src/cart.ts:14:7", "TS2322"],
        f"{hub}/{WEB_PATH}/runs/3001": ["Annotations · 3"],
        around.chat.url: ["service-xyz fixed on main", ">Log</a>"],
    }
    async with aiohttp.ClientSession() as session:
        for page, wanted in pages.items():
            async with session.get(page) as response:
                shown = await response.text()
                assert response.status == 200, page
                assert [text for text in wanted if text not in shown] == [], page
                assert "tekton-listener begin" not in shown, "a hidden marker"


def test_markdown_is_shown_as_it_is_meant_and_nothing_else_becomes_html() -> None:
    hostile = "<script>alert(1)</script> [x](javascript:alert(1)) ``` </details>"
    details = RunDetails(
        namespace="ci",
        name="run-1",
        tasks=(TaskDetails(name=f"a|b {hostile}", state="failed", note=hostile),),
        failed_task="build",
        failed_step=hostile,
        log_tail=f"one\n{hostile}\n```\n*two* `three`",
    )
    comment = texts.comment(
        details,
        outcome=Outcome.FAILED,
        context="tekton/li*nt",
        sentence=f"**{hostile}**",
        commit="c" * 40,
        url="https://l.example.com/_a_",
    )
    shown = str(render(f"<!-- hidden -->\n{comment}\n\n{hostile}"))
    assert '<strong><a href="https://l.example.com/_a_">tekton/li*nt</a></strong>' in shown
    assert "\n```\n*two* `three`</pre></details>" in shown
    tags = ["a", "code", "details", "p", "pre", "strong", "sub", "summary", "table", "tbody", "td", "th", "thead", "tr"]
    assert sorted(set(re.findall(r"<([a-z]+)", shown))) == tags
    assert shown.count("<a ") == 1
    assert shown.count("<details>") == shown.count("</details>") == 1
    assert "hidden" not in shown


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("one\ntwo\n\n*three*", "<p>one<br>two</p><p><em>three</em></p>"),
        ("```text\nnever **ends**", "<pre>never **ends**</pre>"),
        (
            "<details><summary>a `b`</summary>\n\nopen",
            "<details><summary>a <code>b</code></summary><p>open</p></details>",
        ),
        (r"\*no\* &lt;b&gt; \# `` a`b ``", "<p>*no* &lt;b&gt; # <code> a`b </code></p>"),
        ('[q](http://h/?a=1&b="2)', '<p><a href="http://h/?a=1&amp;b=&#34;2">q</a></p>'),
    ],
)
def test_small_pieces_of_markdown(text: str, html: str) -> None:
    assert str(render(text)) == html
