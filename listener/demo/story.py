"""The demo's story: who commits what, and what Tekton makes of it. ``teller`` plays it.

Three merge requests of service-xyz, one in each episode, whose builds pass and whose linter does not; on main something breaks and is mended; a second
repository, service-web, whose GitHub App writes check runs. What a merge request and its comment show changes while the story goes on.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

from listener.demo.teller import Chapter, StoryRun, StoryStep, StoryTask

GITLAB_PATH: Final = "group/service-xyz"
GITHUB_PATH: Final = "acme/service-xyz"
WEB_PATH: Final = "acme/service-web"  #: on GitHub, where the App is installed
MAIN: Final = "main"
ENVIRONMENT: Final = "staging"


def _commits(*titles: str) -> dict[str, str]:
    """sha → title."""
    return {hashlib.sha1(title.encode(), usedforsecurity=False).hexdigest(): title for title in titles}


def branch_of(title: str) -> str:
    """``Speed up the parser`` → ``speed-up-the-parser``."""
    return title.lower().replace(" ", "-")


COMMITS: Final = _commits(
    "Speed up the parser", "Retry uploads", "Drop Python 3.10"
)  #: each the head of a merge request
ON_MAIN: Final = _commits("Sort imports", "Sort imports again")  #: the first one breaks something, the second mends it
WEB_COMMITS: Final = _commits(
    "Show the total of the cart", "Show it in euros"
)  #: each of a pull request; the first breaks


def chapters(episode: int, *, namespace: str) -> list[Chapter]:
    """The story. Another episode has other run names and goes on to the next commit."""
    shas = list(COMMITS)
    sha = shas[episode % len(shas)]
    bad, good = ON_MAIN
    web_bad, web_good = WEB_COMMITS
    mark = hashlib.sha1(f"episode {episode}".encode(), usedforsecurity=False).hexdigest()[:5]

    def run(suffix: str, *tasks: StoryTask, called: str = "", service: str = "xyz", **more: Any) -> StoryRun:
        name = f"service-{service}-run-{called or suffix}-{mark}"
        about = {"sha": sha, "branch": branch_of(COMMITS[sha])} | more
        return StoryRun(name=name, namespace=namespace, pipeline=suffix, tasks=tasks, **about)

    def web(called: str, commit: str, *tasks: StoryTask) -> StoryRun:
        branch = branch_of(WEB_COMMITS[commit])
        return run("build", *tasks, called=called, service="web", sha=commit, branch=branch)

    return [
        Chapter(
            title="A build with parallel tests succeeds; lint and docs fail, on main too, and so does service-web's build",
            runs=(
                run("build", *_BUILD),
                run("lint", *_LINT),
                run("docs", *_BROKEN_DOCS),
                run("lint", *_LINT, called="main", sha=bad, branch=MAIN),
                web("build", web_bad, *_BROKEN_WEB),
            ),
        ),
        Chapter(
            title="In parallel: one is cancelled, one never starts, a matrix passes, one takes long",
            runs=(
                run("e2e", _BROWSER, cancel_after=4.0),
                run("release", broken=_NO_SUCH_TASK),
                run("platforms", _PLATFORMS),
                run("soak", _SOAK),
            ),
        ),
        Chapter(
            title="What was broken is fixed: docs, main; service-web's other commit passes",
            runs=(
                run("docs", *_DOCS, called="docs-2"),
                run("lint", _TYPES, _CLEAN_LINT, called="main-2", sha=good, branch=MAIN),
                web("build-2", web_good, *_WEB),
            ),
        ),
        Chapter(
            title="main is deployed",
            runs=(run("deploy", *_DEPLOY, sha=good, branch=MAIN, environment=ENVIRONMENT),),
        ),
    ]


def _step(name: str, *lines: str, pause: float = 0.3, exit_code: int = 0) -> StoryStep:
    return StoryStep(name=name, lines=lines, pause=pause, exit_code=exit_code)


_BUILD: Final = (
    StoryTask(
        name="build",
        steps=(
            _step("compile", *(f"compiling module {number} of 12" for number in range(1, 13))),
            _step("package", "packing service-xyz-1.4.2.tar.gz", "\x1b[32mdone\x1b[0m"),
        ),
    ),
    StoryTask(
        name="unit-test",
        after=("build",),
        steps=(_step("pytest", *(f"tests/test_{name}.py ..... PASSED" for name in ("api", "db", "parser", "cli"))),),
    ),
    StoryTask(name="lint", after=("build",), steps=(_step("ruff", "All checks passed!", pause=0.8),)),
)
_BROKEN_LINT: Final = StoryTask(
    name="lint",
    steps=(
        _step("install", "installing ruff 0.12"),
        _step(
            "ruff",
            "\x1b[1msrc/parser.py\x1b[0m\x1b[36m:\x1b[0m41\x1b[36m:\x1b[0m9\x1b[36m:\x1b[0m \x1b[1;31mF841\x1b[0m local variable"
            " `token` is assigned to but never used",
            "   |",
            "39 | def parse(text: str) -> Tree:",
            "40 |     for number, line in enumerate(text.splitlines()):",
            "41 |         token = next(tokens(line))",
            "   |         \x1b[1;31m^^^^^ F841\x1b[0m",
            "42 |         yield number",
            "   |",
            "Found 1 error.",
            pause=0.1,
            exit_code=1,
        ),
        _step("report", "never printed"),
    ),
)
_TYPES: Final = StoryTask(
    name="types", steps=(_step("mypy", "Success: no issues found in 84 source files", pause=1.2),)
)
_LINT: Final = (_BROKEN_LINT, _TYPES)
_BROWSER: Final = StoryTask(
    name="browser", steps=(_step("playwright", *(f"scenario {number} of 40" for number in range(1, 41)), pause=0.5),)
)
_PLATFORMS: Final = StoryTask(
    name="test",
    steps=(
        _step("setup", "fetching the toolchain", pause=0.4),
        _step("pytest", *(f"tests/test_{name}.py ..... PASSED" for name in ("api", "db", "parser", "cli")), pause=0.4),
    ),
    matrix=tuple(
        {"python": python, "platform": platform} for python in ("3.11", "3.13") for platform in ("linux", "mac")
    ),
)
_SOAK: Final = StoryTask(
    name="soak",
    steps=(
        _step("load", "starting 20 clients"),
        _step(
            "watch", *(f"minute {number}: 20 clients, 0 errors, p99 {18 + number % 7} ms" for number in range(1, 61))
        ),
    ),
)
_NO_SUCH_TASK: Final = (
    "CouldntGetTask",
    "Pipeline ci/release can't be Run; it contains Tasks that don't exist: Couldn't retrieve Task \"sign-image\": not found",
)
_CLEAN_LINT: Final = StoryTask(name="lint", steps=(_step("ruff", "All checks passed!", pause=0.8),))
_LINKS: Final = StoryTask(  # a task that may fail
    name="links",
    after=("html",),
    steps=(_step("lychee", "https://old.example.com/api: 404 Not Found", "1 of 118 links is dead", exit_code=2),),
    optional=True,
)
_DOCS: Final = (
    StoryTask(name="html", steps=(_step("sphinx", "building [html]", "build succeeded.", pause=0.6),)),
    _LINKS,
)
_BROKEN_DOCS: Final = (
    StoryTask(
        name="html",
        steps=(
            _step(
                "sphinx",
                "building [html]",
                "docs/api.rst:12: WARNING: undefined label: 'parser-options'",
                "build finished with problems, 1 warning (with warnings treated as errors).",
                pause=0.6,
                exit_code=1,
            ),
        ),
    ),
    _LINKS,
)
_INSTALL: Final = StoryTask(name="install", steps=(_step("npm", "added 214 packages in 1s", pause=0.6),))
_BROKEN_WEB: Final = (
    _INSTALL,
    StoryTask(
        name="compile",
        after=("install",),
        steps=(
            _step(
                "tsc",
                "src/cart.ts:14:7: error TS2322: Type 'string' is not assignable to type 'number'.",
                "src/cart.ts:31:18: error TS2554: Expected 2 arguments, but got 1.",
                "src/page.ts:8:1: warning TS6133: 'format' is declared but its value is never read.",
                "Found 2 errors in the same file.",
                exit_code=2,
            ),
        ),
    ),
)
_WEB: Final = (
    _INSTALL,
    StoryTask(name="compile", after=("install",), steps=(_step("tsc", "Found 0 errors.", pause=0.8),)),
    StoryTask(name="bundle", after=("compile",), steps=(_step("vite", "dist/app.js  84.1 kB", pause=0.5),)),
)
_DEPLOY: Final = (
    StoryTask(name="render", steps=(_step("kustomize", "6 objects"),)),
    StoryTask(
        name="apply",
        after=("render",),
        steps=(_step("kubectl", "deployment.apps/service-xyz configured", "rollout: 3 of 3 are new", pause=0.8),),
    ),
)
# What the event listener can start.
PIPELINES: Final = {"build": _BUILD, "lint": _LINT, "docs": _DOCS}
