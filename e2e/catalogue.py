"""The runs: those of ``tests/recordings/runs.yaml``, for this cluster, and what must become of each.

What the steps print is taken from the scripts themselves, so that it is known without asking anybody. Where clusters differ on good grounds
(how an image that is not there ends, what a runtime calls an OOM kill) the expectation is a pattern that admits each.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import yaml

from e2e.api import Json

PREFIX: Final = "service-xyz-run-"
SHA: Final = "4f1c2d3e5a6b7c8d9e0f1a2b3c4d5e6f7a8b9c0d"  # the commit of the runs in the file
UNKNOWN_SHA: Final = "0123456789abcdef0123456789abcdef01234567"  # of no repository
STEP_IMAGE: Final = "ci/busybox:1"  # the end of the image that the file's steps name
#: For clusters that have not got the file's image: any with a shell, seq, head, tr and tail would do.
FALLBACK_IMAGE: Final = "busybox:1.37"
RECORD: Final = "tekton-listener-e2e/record"  # a label: the service records this run's log
GUARANTEED: Final = "tekton-listener-e2e/guaranteed"  # a label: it keeps the run until its final status has arrived

Source = tuple[str, str]  # task, step
_TOOK: Final = r"(\d+s|\d+m \d+s)"

PASSED = (("pending", "running", "success"), ("pending", "success"), "Succeeded", "Succeeded|Completed")
FAILED = (("pending", "running", "failed"), ("pending", "failure"), "Failed", "Failed|PipelineRunTimeout")
CANCELLED = (("pending", "running", "canceled"), ("pending", "error"), "Cancelled", "Cancelled")


@dataclass(frozen=True, slots=True)
class Expected:
    """What must become of one run."""

    name: str  #: without ``PREFIX``
    like: str  #: the run in the file whose pipeline it has
    ending: tuple[
        tuple[str, ...], tuple[str, ...], str, str
    ]  #: GitLab's states, GitHub's, the log's verdict, Tekton's reasons
    sentence: str  #: pattern of the description
    printed: dict[Source, bytes | re.Pattern[bytes]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()  #: patterns of lines of the listener's own that must be in the log
    labels: tuple[str, ...] = ()
    revision: str = SHA
    reported: bool = True  #: statuses are expected

    @property
    def run(self) -> str:
        """The PipelineRun's name."""
        return f"{PREFIX}{self.name}"

    @property
    def succeeds(self) -> bool:
        return self.ending[2] == "Succeeded"


def _lines(pattern: str, numbers: range) -> bytes:
    return "".join(f"{pattern.format(number)}\n" for number in numbers).encode()


_LONG: Final[dict[Source, bytes | re.Pattern[bytes]]] = {
    ("build", "compile"): _lines("compiling module {}", range(1, 21)),
    ("build", "package"): b"packed\n",
    ("unit-test", "pytest"): _lines("test_{} PASSED", range(1, 16)),
    ("lint", "ruff"): b"All checks passed!\n",
    ("cleanup", "rm"): b"cleaning up\n",
}
# Variables that Tekton does not know in a step: the shell takes them for commands, and says a word on its standard error.
_NOT_FOUND: Final = rb"(?:[^\n]*not found\n)?"
_ATTEMPT: Final = _NOT_FOUND + rb"attempt ?\d*\n" + _NOT_FOUND
_STATUS: Final = _NOT_FOUND + rb"status=(?:Failed)?\n" + _NOT_FOUND
_BYTES: Final = (
    b"caf\xc3\xa9 \xff raw\n"
    + b"".join(b"\r%d0%%" % number for number in range(1, 6))
    + b"\n\x1b[31mred\x1b[0m <script>alert(1)</script>\n"
    + b"x" * 300_000
    + b"\nEOFLOG\nno newline at end"
)

#: The runs of the file …
RECORDED: Final = (
    Expected("r68g8", "r68g8", PASSED, f"Passed in {_TOOK} · 4 tasks", _LONG),
    Expected(
        "fail1",
        "fail1",
        FAILED,
        f"Failed in {_TOOK}: build › compile exited 2",
        {
            ("build", "compile"): b"building\nsrc/main.c:12:5: error: expected ; before }\n",
            ("report", "r"): re.compile(_STATUS),
        },
        ("build › compile exited 2",),
    ),
    Expected(
        "timeout",
        "timeout",
        FAILED,
        f"Timed out after {_TOOK}: slow › sleep was still running",
        {("slow", "sleep"): b"start\n"},
        labels=(RECORD,),
    ),
    Expected(
        "cancel",
        "cancel",
        CANCELLED,
        f"Cancelled after {_TOOK}: slow › sleep was still running",
        {("slow", "sleep"): b"start\n", ("fin", "f"): b"finally ran\n"},
        labels=(RECORD,),
    ),
    Expected(
        "retry",
        "retry",
        FAILED,
        f"Failed in {_TOOK}: flaky › try exited 1 after 3 attempts",
        {("flaky", "try"): re.compile(_ATTEMPT * 3)},
        ("flaky: attempt 2", "flaky: attempt 3"),
    ),
    Expected(
        "matrix",
        "matrix",
        PASSED,
        f"Passed in {_TOOK} · 1 task",
        {
            ("m-0", "p"): b"on linux-chrome\n",
            ("m-1", "p"): b"on mac-chrome\n",
            ("m-2", "p"): b"on linux-firefox\n",
            ("m-3", "p"): b"on mac-firefox\n",
        },
    ),
    Expected(
        "skip",
        "skip",
        PASSED,
        f"Passed in {_TOOK} · 2 tasks · 1 skipped",
        {("a", "x"): b"a\n", ("c", "x"): b"c\n"},
        (r"b: skipped \(.*\)",),
    ),
    Expected(
        "badref",
        "badref",
        (("pending", "failed"), ("pending", "error"), "Failed", "CouldntGet.*|.*Resolution.*|Invalid.*|Failed.*"),
        "Could not run: .*does-not-exist.*|Could not run: .*Tasks that don't exist.*",
    ),
    Expected(
        "imgpull",
        "imgpull",
        FAILED,
        rf"(Timed out after|Failed in) {_TOOK}: a.*image.*",
        notes=(r"a: .*image.*",),
        labels=(RECORD,),
    ),
    Expected(
        "onerror",
        "onerror",
        PASSED,
        f"Passed in {_TOOK} · 1 task",
        {("a", "s1"): b"boom\n", ("a", "s2"): b"after\n"},
        ("a › s1 exited 3.*",),
    ),
    Expected(
        "oom",
        "oom",
        FAILED,
        rf"Failed in {_TOOK}: a › eat exited \d+( \(.*\))?",
        {("a", "eat"): re.compile(rb"eating\n(?:[^\n]*Killed[^\n]*\n)?")},
        (r"a › eat exited \d+.*",),
    ),
    Expected(
        "sidecar",
        "sidecar",
        PASSED,
        f"Passed in {_TOOK} · 1 task",
        {("a", "s"): b"main done\n", ("a", "sidecar-db"): b"db up\n"},
    ),
    Expected("bytes", "bytes", PASSED, f"Passed in {_TOOK} · 1 task", {("a", "s"): _BYTES}),
    Expected(
        "unnamed",
        "unnamed",
        PASSED,
        f"Passed in {_TOOK} · 1 task",
        {("a", "unnamed-0"): b"first unnamed\n", ("a", "unnamed-1"): b"second unnamed\n"},
    ),
    Expected(
        "custom",
        "custom",
        FAILED,
        rf"Timed out after {_TOOK}: c \(custom task\) had not finished",
        notes=("c: CustomRun .*",),
    ),
    Expected("pending", "pending", PASSED, f"Passed in {_TOOK} · 1 task", {("a", "s"): b"x\n"}),
    Expected("results", "results", PASSED, f"Passed in {_TOOK} · 1 task", {("clone", "c"): b"cloned\n"}),
    Expected(
        "initfail", "initfail", FAILED, f"(Failed in|Timed out after) {_TOOK}: a.*", notes=("a: .*",), labels=(RECORD,)
    ),
)
#: … and the same pipelines again, where something happens to them.
OTHERS: Final = (
    Expected(
        "deleted",
        "cancel",
        (("pending", "running", "canceled"), ("pending", "error"), "Deleted", ""),
        "Run deleted before it finished",
        {("slow", "sleep"): b"start\n"},
        labels=(RECORD, GUARANTEED),
    ),
    Expected("branch", "badref", FAILED, "", revision="main", reported=False),
    Expected("refused", "badref", FAILED, "", revision=UNKNOWN_SHA, reported=False),
)
WARM_UP: Final = Expected("warm-up", "unnamed", PASSED, "", reported=False)


def long_run(name: str) -> Expected:
    """A run that takes half a minute, to have something happen in the middle of it."""
    return Expected(name, "r68g8", PASSED, f"Passed in {_TOOK} · 4 tasks", _LONG, labels=(RECORD,))


class Manifests:
    """The file's PipelineRuns, with another image, and a namespace."""

    def __init__(self, file: Path, *, namespace: str, slower: float = 1.0) -> None:
        """``slower``: how many times longer than in the file a run may take before Tekton ends it."""
        self._by_name: dict[str, Json] = {run["metadata"]["name"]: run for run in yaml.safe_load_all(file.read_text())}
        self._namespace, self._slower = namespace, max(1.0, slower)
        self.image = ""  #: "": as in the file

    @property
    def image_in_file(self) -> str:
        return next(image for image in map(_image, _steps(self._by_name[f"{PREFIX}r68g8"])) if image)

    def of(self, expected: Expected) -> Json:
        """What to create."""
        body = copy.deepcopy(self._by_name[f"{PREFIX}{expected.like}"])
        meta = body["metadata"]
        name = expected.run if expected is not WARM_UP else WARM_UP.name
        labels = {**(meta.get("labels") or {}), **dict.fromkeys(expected.labels, "yes")}
        body["metadata"] = {**meta, "name": name, "namespace": self._namespace, "labels": labels}
        for param in body["spec"]["params"]:
            if param["name"] == "revision":
                param["value"] = expected.revision
        for key, text in (body["spec"].get("timeouts") or {}).items():
            body["spec"]["timeouts"][key] = f"{round(float(text.removesuffix('s')) * self._slower)}s"
        for step in _steps(body):
            if self.image and _image(step).endswith(STEP_IMAGE):
                step |= {"image": self.image, "imagePullPolicy": "IfNotPresent"}
        return body


def _steps(run: Json) -> Iterator[Json]:
    pipeline = run["spec"]["pipelineSpec"]
    for task in (*pipeline["tasks"], *pipeline.get("finally", ())):
        spec = task.get("taskSpec") or {}
        yield from spec.get("steps", ())
        yield from spec.get("sidecars", ())


def _image(step: Json) -> str:
    return str(step.get("image", ""))
