"""From the API server's JSON to the structs of ``objects``.

The API server sends about 10 KB per PipelineRun; what the listener needs of it fits in one or two. Each ``decode_*`` takes
the raw bytes of one object and looks only at the named fields, so that memory is a matter of how many runs there are, not
of how large somebody's annotation is. Unknown fields are skipped unread. Values whose type users get wrong in practice
(parameters, results) are read as whatever they are and kept only when they are text. An object that cannot be read at all
raises ``MalformedError`` with its name, where the name could be read.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, Final, TypeVar

import msgspec

from listener.cluster.names import is_name, is_namespace
from listener.cluster.objects import (
    FINALIZER,
    NOTHING,
    Attempt,
    Child,
    Condition,
    ContainerState,
    MalformedError,
    PipelineRun,
    Pod,
    SkippedTask,
    StepState,
    TaskRun,
)

_MAX_VALUE: Final = (
    1024  # characters kept of a parameter, result or annotation: a commit needs 64, a URL fewer than this
)
_MAX_ENTRIES: Final = 64  # labels, annotations, params or results kept per run
_MAX_MESSAGE: Final = 2048  # characters kept of a condition's message
_MAX_CHILDREN: Final = 1024  # child references kept per run
_MAX_COMMON: Final = 100  # characters of a condition's message that many runs may have in common
_MAX_SHARED: Final = 4096
_SHARED: Final[dict[tuple[tuple[str, str], ...], dict[str, str]]] = {}
_SHARED_REFERENCES: Final[dict[tuple[Child, ...], tuple[Child, ...]]] = {}
_SHARED_CONDITIONS: Final[dict[Condition, Condition]] = {}
_SHARED_NAMES: Final[dict[tuple[str, ...], tuple[str, ...]]] = {}
_LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"


class _Wire(msgspec.Struct, rename="camel"):
    pass


class _Meta(_Wire):
    name: str
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    creation_timestamp: str | None = None
    generate_name: str = ""
    labels: dict[str, Any] | None = None
    annotations: dict[str, Any] | None = None
    deletion_timestamp: str | None = None
    finalizers: list[Any] | None = None


class _Owner(_Wire):
    kind: str = ""
    uid: str = ""


class _OwnedMeta(_Meta):
    owner_references: list[_Owner] | None = None


M = TypeVar("M", bound=_Meta)


class _Condition(_Wire):
    type: str = ""
    status: str = "Unknown"
    reason: str | None = ""
    message: str | None = ""


class _NameValue(_Wire):
    name: str = ""
    value: Any = None


class _Named(_Wire):
    name: str = ""


class _PipelineSpec(_Wire):
    tasks: list[_Named] | None = None
    finally_: list[_Named] | None = msgspec.field(name="finally", default=None)


class _PipelineRef(_Wire):
    name: str | None = None


class _RunSpec(_Wire):
    params: list[_NameValue] | None = None
    pipeline_ref: _PipelineRef | None = None
    status: str | None = None


class _Child(_Wire):
    kind: str = ""
    name: str = ""
    pipeline_task_name: str | None = ""


class _Skipped(_Wire):
    name: str = ""
    reason: str | None = ""


class _RefSource(_Wire):
    uri: str | None = None
    digest: dict[str, str] | None = None


class _Provenance(_Wire):
    ref_source: _RefSource | None = None


class _RunStatus(_Wire):
    conditions: list[_Condition] | None = None
    start_time: str | None = None
    completion_time: str | None = None
    results: list[_NameValue] | None = None
    child_references: list[_Child] | None = None
    skipped_tasks: list[_Skipped] | None = None
    pipeline_spec: _PipelineSpec | None = None
    provenance: _Provenance | None = None


class _PipelineRun(_Wire):
    metadata: _Meta
    spec: _RunSpec | None = None
    status: _RunStatus | None = None


class _Running(_Wire):
    started_at: str | None = None


class _Waiting(_Wire):
    reason: str | None = None
    message: str | None = None


class _Terminated(_Wire):
    exit_code: int = 0
    reason: str | None = None
    message: str | None = None
    started_at: str | None = None
    finished_at: str | None = None


class _Step(_Wire):
    name: str = ""
    container: str = ""
    running: _Running | None = None
    waiting: _Waiting | None = None
    terminated: _Terminated | None = None
    termination_reason: str | None = None


class _TaskRunStatus(_Wire):
    conditions: list[_Condition] | None = None
    pod_name: str | None = None
    start_time: str | None = None
    completion_time: str | None = None
    steps: list[_Step] | None = None
    sidecars: list[_Step] | None = None
    retries_status: list[_TaskRunStatus] | None = None


class _TaskRunSpec(_Wire):
    params: list[_NameValue] | None = None


class _TaskRun(_Wire):
    metadata: _OwnedMeta
    spec: _TaskRunSpec | None = None
    status: _TaskRunStatus | None = None


class _State(_Wire):
    running: _Running | None = None
    waiting: _Waiting | None = None
    terminated: _Terminated | None = None


class _ContainerStatus(_Wire):
    name: str
    state: _State | None = None


class _PodStatus(_Wire):
    phase: str = ""
    conditions: list[_Condition] | None = None
    container_statuses: list[_ContainerStatus] | None = None
    init_container_statuses: list[_ContainerStatus] | None = None


class _PodSpec(_Wire):
    containers: list[_Named] | None = None
    init_containers: list[_Named] | None = None


class _Pod(_Wire):
    metadata: _OwnedMeta
    spec: _PodSpec | None = None
    status: _PodStatus | None = None


class _OnlyMeta(msgspec.Struct):
    metadata: dict[str, Any] = {}


_RUN_DECODER: Final = msgspec.json.Decoder(_PipelineRun)
_TASK_RUN_DECODER: Final = msgspec.json.Decoder(_TaskRun)
_POD_DECODER: Final = msgspec.json.Decoder(_Pod)
_META_DECODER: Final = msgspec.json.Decoder(_OnlyMeta)


def decode_pipeline_run(raw: bytes | msgspec.Raw) -> PipelineRun:
    """One PipelineRun from its JSON. Raises ``MalformedError``."""
    try:
        wire = _RUN_DECODER.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedError(str(error), name=name_of(raw)) from None
    meta, spec, status = _checked(wire.metadata), wire.spec or _RunSpec(), wire.status or _RunStatus()
    pipeline_spec = status.pipeline_spec or _PipelineSpec()
    tasks, finally_tasks = pipeline_spec.tasks or [], pipeline_spec.finally_ or []
    source = (status.provenance and status.provenance.ref_source) or _RefSource()
    labels = _texts(meta.labels)
    return PipelineRun(
        namespace=sys.intern(meta.namespace),
        name=meta.name,
        uid=meta.uid,
        resource_version=meta.resource_version,
        created=meta.creation_timestamp or "",
        pipeline=_pipeline_name(meta, spec, labels),
        labels=labels,
        annotations=_texts(meta.annotations),
        params=_values(spec.params),
        results=_values(status.results),
        provenance_sha=(source.digest or {}).get("sha1", ""),
        provenance_uri=source.uri or "",
        condition=_succeeded(status.conditions),
        started=status.start_time or "",
        completed=status.completion_time or "",
        requested=sys.intern(spec.status or ""),
        tasks=_names(tasks),
        finally_tasks=_names(finally_tasks),
        references=_references(meta.name, status.child_references or []),
        skipped=tuple(
            SkippedTask(sys.intern(s.name), sys.intern(s.reason or ""))
            for s in (status.skipped_tasks or [])[:_MAX_CHILDREN]
        ),
        deleting=bool(meta.deletion_timestamp),
        kept=FINALIZER in (meta.finalizers or ()),
    )


def _references(run: str, children: list[_Child]) -> tuple[Child, ...]:
    """Child references without the run's name, so that all runs of a pipeline share them: they are most of a run otherwise."""
    found = tuple(
        Child(
            sys.intern(child.kind),
            child.name.removeprefix(run) if child.name.startswith(f"{run}-") else child.name.lstrip("-"),
            sys.intern(child.pipeline_task_name or ""),
        )
        for child in children[:_MAX_CHILDREN]
    )
    if len(_SHARED_REFERENCES) >= _MAX_SHARED:
        _SHARED_REFERENCES.clear()
    return _SHARED_REFERENCES.setdefault(found, found)


def decode_task_run(raw: bytes | msgspec.Raw) -> TaskRun:
    """One TaskRun from its JSON. Raises ``MalformedError``."""
    try:
        wire = _TASK_RUN_DECODER.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedError(str(error), name=name_of(raw)) from None
    meta, status = _checked(wire.metadata), wire.status or _TaskRunStatus()
    labels = _texts(meta.labels)
    return TaskRun(
        namespace=meta.namespace,
        name=meta.name,
        uid=meta.uid,
        resource_version=meta.resource_version,
        created=meta.creation_timestamp or "",
        pipeline_run=labels.get("tekton.dev/pipelineRun", ""),
        task=labels.get("tekton.dev/pipelineTask", ""),
        attempt=_attempt(status),
        retries=tuple(_attempt(old) for old in status.retries_status or ()),
        run_uid=_owner(meta, "PipelineRun"),
        params=_values(wire.spec.params) if wire.spec is not None else NOTHING,
    )


def decode_pod(raw: bytes | msgspec.Raw) -> Pod:
    """One Pod from its JSON. Raises ``MalformedError``."""
    try:
        wire = _POD_DECODER.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedError(str(error), name=name_of(raw)) from None
    meta, spec, status = _checked(wire.metadata), wire.spec or _PodSpec(), wire.status or _PodStatus()
    unscheduled = next(
        (
            f"{c.reason}: {c.message}"
            for c in status.conditions or ()
            if c.type == "PodScheduled" and c.status == "False"
        ),
        "",
    )
    return Pod(
        namespace=meta.namespace,
        name=meta.name,
        uid=meta.uid,
        resource_version=meta.resource_version,
        phase=status.phase,
        containers=(
            *_containers(spec.init_containers, status.init_container_statuses, init=True),
            *_containers(spec.containers, status.container_statuses, init=False),
        ),
        unscheduled=unscheduled[:_MAX_MESSAGE],
        task_run_uid=_owner(meta, "TaskRun"),
    )


def _owner(meta: _OwnedMeta, kind: str) -> str:
    return next((owner.uid for owner in meta.owner_references or () if owner.kind == kind), "")


def _checked(meta: M) -> M:
    """Names reach URLs, paths and logs: what is no Kubernetes name is not let in."""
    if not is_name(meta.name) or not is_namespace(meta.namespace):
        raise MalformedError(
            "its name or namespace is not one that Kubernetes allows", name=f"{meta.namespace}/{meta.name}"
        )
    return meta


def name_of(raw: bytes | msgspec.Raw) -> str:
    """``namespace/name`` of an object whose other fields may be of any shape; ``?/?`` where even that fails."""
    try:
        meta = _META_DECODER.decode(raw).metadata
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "?/?"
    return f"{meta.get('namespace', '?')}/{meta.get('name', '?')}"


def _pipeline_name(meta: _Meta, spec: _RunSpec, labels: dict[str, str]) -> str:
    """A name that is the same for every run of one pipeline, so that branch protection can require it.

    Tekton labels each run with its pipeline's name (``tekton.dev/pipeline``); where the pipeline is written into the run,
    that label is the run's own name and says nothing, so what the run was generated from is used instead.
    """
    named = (spec.pipeline_ref and spec.pipeline_ref.name) or labels.get("tekton.dev/pipeline", "")
    if named and named != meta.name:
        return sys.intern(named)
    original = labels.get("pipelinesascode.tekton.dev/original-prname", "")
    return sys.intern(original or meta.generate_name.rstrip("-.") or meta.name)


def _succeeded(conditions: list[_Condition] | None) -> Condition | None:
    for condition in conditions or ():
        if condition.type == "Succeeded":
            reason, message = condition.reason or "", condition.message or ""
            found = Condition(sys.intern(condition.status), sys.intern(reason), message[:_MAX_MESSAGE])
            return _shared_condition(found) if len(message) <= _MAX_COMMON else found
    return None


def _shared_condition(condition: Condition) -> Condition:
    if len(_SHARED_CONDITIONS) >= _MAX_SHARED:
        _SHARED_CONDITIONS.clear()
    return _SHARED_CONDITIONS.setdefault(condition, condition)


def _texts(mapping: dict[str, Any] | None) -> dict[str, str]:
    """Labels or annotations, without what no rule can use: values that are no text or far too long."""
    if not mapping:
        return NOTHING
    kept = {
        sys.intern(key): value
        for key, value in mapping.items()
        if isinstance(value, str) and len(value) <= _MAX_VALUE and key != _LAST_APPLIED
    }
    if len(kept) > _MAX_ENTRIES:
        kept = dict(list(kept.items())[:_MAX_ENTRIES])
    return _shared(kept)


def _shared(kept: dict[str, str]) -> dict[str, str]:
    """The same dict for the same entries: thousands of runs carry the same labels."""
    if not kept:
        return NOTHING
    if len(_SHARED) >= _MAX_SHARED:
        _SHARED.clear()
    return _SHARED.setdefault(tuple(kept.items()), kept)


def _names(tasks: list[_Named]) -> tuple[str, ...]:
    """Task names, the same tuple for the same pipeline."""
    if len(_SHARED_NAMES) >= _MAX_SHARED:
        _SHARED_NAMES.clear()
    names = tuple(task.name for task in tasks)
    return _SHARED_NAMES.setdefault(names, names)


def _values(pairs: list[_NameValue] | None) -> dict[str, str]:
    if not pairs:
        return NOTHING
    return {
        sys.intern(pair.name): pair.value
        for pair in pairs[:_MAX_ENTRIES]
        if isinstance(pair.value, str) and len(pair.value) <= _MAX_VALUE
    } or NOTHING


def _attempt(status: _TaskRunStatus) -> Attempt:
    return Attempt(
        pod=status.pod_name if status.pod_name and is_name(status.pod_name) else "",
        condition=_succeeded(status.conditions),
        started=status.start_time or "",
        completed=status.completion_time or "",
        steps=tuple(_step(step) for step in status.steps or ()),
        sidecars=tuple(_step(step) for step in status.sidecars or ()),
    )


def _step(step: _Step) -> StepState:
    terminated, waiting = step.terminated, step.waiting or _Waiting()
    return StepState(
        name=step.name,
        container=step.container,
        running=step.running is not None,
        exit_code=terminated.exit_code if terminated else None,
        reason=(terminated and terminated.reason) or "",
        message=((terminated and terminated.message) or "")[:_MAX_MESSAGE],
        waiting_reason=waiting.reason or "",
        waiting_message=(waiting.message or "")[:_MAX_MESSAGE],
        termination_reason=step.termination_reason or "",
        started=(terminated and terminated.started_at) or (step.running and step.running.started_at) or "",
        finished=(terminated and terminated.finished_at) or "",
    )


def _containers(
    specs: list[_Named] | None, statuses: list[_ContainerStatus] | None, *, init: bool
) -> Iterator[ContainerState]:
    """In the order of the spec: the API server sorts statuses by name."""
    by_name = {status.name: status for status in statuses or ()}
    for spec in specs or ():
        yield _container(by_name.get(spec.name) or _ContainerStatus(name=spec.name), init=init)


def _container(status: _ContainerStatus, *, init: bool) -> ContainerState:
    state = status.state or _State()
    waiting = state.waiting or _Waiting()
    return ContainerState(
        name=status.name,
        init=init,
        started=state.running is not None or state.terminated is not None,
        terminated=state.terminated is not None,
        exit_code=state.terminated.exit_code if state.terminated else None,
        waiting_reason=waiting.reason or "",
        waiting_message=(waiting.message or "")[:_MAX_MESSAGE],
    )
