"""PipelineRun, TaskRun and Pod: the fields we use, as frozen structs, and nothing else.

These are what ``reporting``, ``logs`` and ``web`` share. Field names follow Tekton's API reference (tekton.dev/v1) and
Kubernetes' core/v1; where a struct is flatter than the API object, the comment names the field it comes from. How they
are read from JSON is in ``decode``.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import msgspec

from listener.cluster.names import Key

FINALIZER: Final = (
    "tekton-listener.dev/delivered"  #: keeps a run until its final status has arrived (``deliver: guaranteed``)
)
NOTHING: Final[dict[str, str]] = {}  # shared by all runs that have no labels, annotations, …


class MalformedError(Exception):
    """An object that does not have the shape its kind promises."""

    def __init__(self, message: str, *, name: str) -> None:
        super().__init__(message)
        self.name = name  #: ``namespace/name``, or ``?`` where not even that could be read


class Condition(msgspec.Struct, frozen=True, gc=False):
    """The condition of type ``Succeeded``: Tekton's one word on a run."""

    status: str  #: "True", "False" or "Unknown"
    reason: str = ""
    message: str = ""


class Child(msgspec.Struct, frozen=True, gc=False):
    """One of ``status.childReferences``: a matrix gives several with one ``task``."""

    kind: str  #: TaskRun, CustomRun or PipelineRun
    name: str
    task: str  #: pipelineTaskName


class SkippedTask(msgspec.Struct, frozen=True, gc=False):
    """One of ``status.skippedTasks``."""

    name: str
    reason: str


class PipelineRun(msgspec.Struct, frozen=True):
    """What the listener keeps of a PipelineRun. Times are RFC 3339 text as the API server sends them, or ""."""

    namespace: str
    name: str
    uid: str
    resource_version: str
    created: str
    pipeline: str  #: a name that stays the same from run to run, see ``_pipeline_name``
    labels: dict[str, str]
    annotations: dict[str, str]
    params: dict[str, str]
    results: dict[str, str]
    provenance_sha: str = (
        ""  #: status.provenance.refSource.digest.sha1: the *pipeline's* commit, where it was resolved from Git
    )
    provenance_uri: str = ""
    condition: Condition | None = None
    started: str = ""
    completed: str = ""
    requested: str = ""  #: spec.status: PipelineRunPending, Cancelled, …
    tasks: tuple[str, ...] = ()
    finally_tasks: tuple[str, ...] = ()
    references: tuple[Child, ...] = ()  #: see ``children``; a name that begins with "-" goes after the run's own
    skipped: tuple[SkippedTask, ...] = ()
    deleting: bool = False  #: metadata.deletionTimestamp is set: Tekton touches it no more, finalizers keep it
    kept: bool = False  #: our finalizer is on it

    @property
    def key(self) -> Key:
        return Key(self.namespace, self.name)

    @property
    def children(self) -> tuple[Child, ...]:
        """``status.childReferences``. Runs of one pipeline have the same but for the run's name in theirs, and share them."""
        return tuple(
            Child(child.kind, self.name + child.name, child.task) if child.name.startswith("-") else child
            for child in self.references
        )

    @property
    def order(self) -> tuple[str, str]:
        """Sorts runs by age: creationTimestamp, then UID (RFC 3339 in UTC sorts as text)."""
        return (self.created, self.uid)

    @property
    def done(self) -> bool:
        """True when Tekton has given its verdict."""
        return self.condition is not None and self.condition.status in ("True", "False")


class StepState(msgspec.Struct, frozen=True, gc=False):
    """One of a TaskRun's ``status.steps`` or ``status.sidecars``."""

    name: str
    container: str
    running: bool = False
    exit_code: int | None = None  #: None until terminated
    reason: str = ""  #: terminated.reason: Completed, Error, OOMKilled, TaskRunCancelled, …
    message: str = ""
    waiting_reason: str = ""
    waiting_message: str = ""
    termination_reason: str = ""  #: terminationReason: Skipped, Continued, Error, …
    started: str = ""
    finished: str = ""

    @property
    def terminated(self) -> bool:
        return self.exit_code is not None


class Attempt(msgspec.Struct, frozen=True):
    """One try of a TaskRun: the current one, or one of ``status.retriesStatus``."""

    pod: str
    condition: Condition | None
    started: str
    completed: str
    steps: tuple[StepState, ...]
    sidecars: tuple[StepState, ...] = ()

    @property
    def done(self) -> bool:
        return self.condition is not None and self.condition.status in ("True", "False")


class TaskRun(msgspec.Struct, frozen=True):
    """What the listener reads of a TaskRun; not kept beyond the moment it is needed."""

    namespace: str
    name: str
    uid: str
    resource_version: str
    created: str
    pipeline_run: str  #: label tekton.dev/pipelineRun
    task: str  #: label tekton.dev/pipelineTask
    attempt: Attempt
    retries: tuple[Attempt, ...] = ()  #: earlier tries, oldest first
    run_uid: str = ""  #: of the PipelineRun that owns it; "" where nobody says
    params: dict[str, str] = NOTHING  #: spec.params that are text; they tell a matrix's tasks apart

    @property
    def key(self) -> Key:
        return Key(self.namespace, self.name)


class ContainerState(msgspec.Struct, frozen=True, gc=False):
    """One of a pod's ``containerStatuses`` or ``initContainerStatuses``."""

    name: str
    init: bool
    started: bool = False  #: running or terminated: its log can be followed
    terminated: bool = False
    exit_code: int | None = None
    waiting_reason: str = ""
    waiting_message: str = ""


class Pod(msgspec.Struct, frozen=True):
    """What the listener reads of a Pod; not kept beyond the moment it is needed."""

    namespace: str
    name: str
    uid: str
    resource_version: str
    phase: str
    containers: tuple[ContainerState, ...]  #: in the order of the pod's spec, init containers first
    unscheduled: str = ""  #: why there is no node yet, from the condition PodScheduled
    task_run_uid: str = ""  #: of the TaskRun that owns it; "" where nobody says

    @property
    def key(self) -> Key:
        return Key(self.namespace, self.name)


def parse_time(text: str) -> datetime | None:
    """RFC 3339 text of the API server as an aware datetime; None for "" and for what is no time."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
