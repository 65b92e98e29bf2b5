"""A PipelineRun with tasks, pods and logs, played by a test one move at a time, as Tekton and kubelet would.

``Run`` is a PipelineRun, ``run.task(…)`` a TaskRun with its pod; each method is one thing that happens, and writes what a real controller
and kubelet write then. What a test does not do does not happen.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, Final

from listener.demo.kubernetes import KubernetesApi
from listener.demo.kubernetes.store import Json, now

NAMESPACE: Final = "team-a"
_SKIPPING: Final = b"Skipping step because a previous step failed\n"
_UIDS: Final = itertools.count(1)


def condition(status: str, reason: str, message: str = "") -> Json:
    """A status with its one condition, and the time of its end."""
    body: Json = {"conditions": [{"type": "Succeeded", "status": status, "reason": reason, "message": message}]}
    return body if status == "Unknown" else body | {"completionTime": now()}


class Run:
    """One PipelineRun. It is there, and running, once it is made."""

    def __init__(
        self,
        cluster: KubernetesApi,
        name: str = "service-xyz-run-a",
        *,
        namespace: str = NAMESPACE,
        params: Mapping[str, str] | None = None,
        pipeline: str = "",
        started: str = "",
        **meta: Any,
    ) -> None:
        """``params``: its commit, for example; ``pipeline``: Tekton's label; ``started``: a time, else now; ``meta``: of its metadata."""
        self.cluster, self.name, self.namespace = cluster, name, namespace
        self.tasks: list[Task] = []
        self._children: list[Json] = []
        self._skipped: list[Json] = []
        self.uid: str = cluster.create(
            "pipelineruns",
            {
                "metadata": {
                    "name": name,
                    "namespace": namespace,
                    "labels": {"tekton.dev/pipeline": pipeline} if pipeline else {},
                    **meta,
                },
                "spec": {"params": [{"name": key, "value": value} for key, value in (params or {}).items()]},
                "status": {"startTime": started or now()},
            },
        )["metadata"]["uid"]
        self.move("Unknown", "Running")

    @property
    def path(self) -> str:
        """Of its log."""
        return f"/logs/{self.namespace}/{self.name}"

    def move(self, status: str, reason: str, message: str = "") -> None:
        """Give it a condition."""
        more = {"childReferences": [*self._children], "skippedTasks": [*self._skipped]}
        self.cluster.patch(
            "pipelineruns", self.namespace, self.name, {"status": condition(status, reason, message) | more}
        )

    def _tell(self) -> None:
        more = {"childReferences": [*self._children], "skippedTasks": [*self._skipped]}
        self.cluster.patch("pipelineruns", self.namespace, self.name, {"status": more})

    def task(self, name: str, *steps: str, child: str = "", **options: Any) -> Task:
        """A TaskRun of the pipeline task ``name`` is created, and its pod runs; ``child``: its own name's end, as in a matrix."""
        task = Task(self, name, steps or ("s",), child=child or name, **options)
        self.tasks.append(task)
        self.refer("TaskRun", task.name, name)
        return task

    def refer(self, kind: str, name: str, task: str) -> None:
        """Name a child."""
        self._children.append({"kind": kind, "name": name, "pipelineTaskName": task})
        self._tell()

    def skip(self, task: str, reason: str) -> None:
        self._skipped.append({"name": task, "reason": reason})
        self._tell()

    def nested(self, task: str) -> Run:
        """A PipelineRun within this one."""
        run = Run(self.cluster, f"{self.name}-{task}", namespace=self.namespace)
        self.refer("PipelineRun", run.name, task)
        return run

    def succeed(self) -> None:
        self.move("True", "Succeeded", "Tasks Completed: 1")

    def fail(self, message: str = "Tasks Completed: 1 (Failed: 1)") -> None:
        self.move("False", "Failed", message)

    def cancel(self) -> None:
        """What Tekton does: the run and its tasks get their verdict, the pods are deleted."""
        for task in self.tasks:
            task.interrupt("TaskRunCancelled")
        self.move("False", "Cancelled", f'PipelineRun "{self.name}" was cancelled')

    def delete(self) -> None:
        """With all that belongs to it."""
        for task in self.tasks:
            task.remove_pod()
            self.cluster.delete("taskruns", self.namespace, task.name)
        self.cluster.delete("pipelineruns", self.namespace, self.name)


class Task:
    """One TaskRun and its pod."""

    def __init__(
        self,
        run: Run,
        task: str,
        steps: tuple[str, ...],
        *,
        child: str,
        sidecars: tuple[str, ...] = (),
        inits: tuple[str, ...] = (),
        running: tuple[str, ...] = (),
        injected: tuple[str, ...] = (),
        scheduled: bool = True,
        started: bool = True,
    ) -> None:
        """``running``: init containers that go on (native sidecars); ``injected``: containers that somebody else puts before the steps;
        ``scheduled``: its pod has a node; ``started``: and its containers run."""
        self.run, self.task = run, task
        self.name = f"{run.name}-{child}"
        self.steps: dict[str, Json] = {}
        self._containers = dict.fromkeys(injected, "") | {f"step-{name}": name for name in steps}
        self._containers |= {f"sidecar-{name}": "" for name in sidecars}
        self._inits, self._running = inits, running
        self._states: dict[str, Json] = {}
        self._retries: list[Json] = []
        self.attempt = 0
        self._there = False
        labels = {"tekton.dev/pipelineRun": run.name, "tekton.dev/pipelineTask": task}
        owner = {"kind": "PipelineRun", "name": run.name, "uid": run.uid}
        meta = {"name": self.name, "namespace": run.namespace, "labels": labels, "ownerReferences": [owner]}
        body = run.cluster.create("taskruns", {"metadata": meta, "status": {"startTime": now()}})
        self._meta = {"namespace": run.namespace, "labels": labels}
        self._owner = {"kind": "TaskRun", "name": self.name, "uid": body["metadata"]["uid"]}
        self.new_pod(scheduled=scheduled, started=started)

    @property
    def pod(self) -> str:
        return f"{self.name}-pod" + (f"-retry{self.attempt}" if self.attempt else "")

    def new_pod(self, *, scheduled: bool = True, started: bool = True) -> None:
        spec: Json = {
            "containers": [{"name": name} for name in self._containers],
            "initContainers": [{"name": name} for name in self._inits],
        }
        conditions = [] if scheduled else [UNSCHEDULED]
        meta = self._meta | {"name": self.pod, "ownerReferences": [self._owner]}
        self.run.cluster.create(
            "pods", {"metadata": meta, "spec": spec, "status": {"phase": "Pending", "conditions": conditions}}
        )
        self._there = True
        self._patch_task({"podName": self.pod, "conditions": condition("Unknown", "Pending")["conditions"]})
        if scheduled:
            self.schedule()
        if scheduled and started:
            self.start()

    def schedule(self) -> None:
        """Its pod gets a node; its containers wait."""
        patch = {"spec": {"nodeName": "n"}, "status": {"conditions": []}}
        self.run.cluster.patch("pods", self.run.namespace, self.pod, patch)

    def start(self) -> None:
        """All its containers run, as Tekton has it."""
        self._states = {name: {"running": {"startedAt": now()}} for name in self._containers}
        self._states |= {name: {"terminated": {"exitCode": 0}} for name in self._inits if name not in self._running}
        self._states |= {name: {"running": {"startedAt": now()}} for name in self._running}
        self.steps = {
            step: {"name": step, "container": name, "running": {"startedAt": now()}}
            for name, step in self._containers.items()
            if step
        }
        self._show("Running")
        self._patch_task({"steps": list(self.steps.values()), **condition("Unknown", "Running")})

    def wait(self, container: str, reason: str, message: str = "") -> None:
        """A container waits, and says why."""
        self._states[container] = {"waiting": {"reason": reason, "message": message}}
        self._show("Pending")

    def say(self, step: str, data: str | bytes, **options: Any) -> None:
        """A step prints; ``sidecar-NAME`` and init containers by their containers' names."""
        container = f"step-{step}" if f"step-{step}" in self._containers else step
        raw = data.encode() if isinstance(data, str) else data
        self.run.cluster.logs.append(self.run.namespace, self.pod, container, raw, **options)

    def exit(self, step: str, code: int = 0, reason: str = "", *, termination: str = "") -> None:
        """A step ends, and those after it say that they skip when it failed."""
        self._end(step, code, reason, termination)
        if code and termination != "Continued":
            later = list(self.steps)[list(self.steps).index(step) + 1 :]
            for name in later:
                self.say(name, _SKIPPING)
                self._end(name, 1, "Error", "Skipped")
        ended = all("terminated" in state for state in self._states.values())
        self._show(("Failed" if code else "Succeeded") if ended else "Running")
        self._patch_task({"steps": list(self.steps.values())})

    def _end(self, step: str, code: int, reason: str, termination: str) -> None:
        self.run.cluster.logs.finish(self.run.namespace, self.pod, f"step-{step}")
        what = {"exitCode": code, "reason": reason or ("Error" if code else "Completed"), "finishedAt": now()}
        self._states[f"step-{step}"] = {"terminated": what}
        kept = {key: value for key, value in self.steps[step].items() if key != "running"}
        why = termination or ("Error" if code else "Completed")
        self.steps[step] = kept | {"terminated": what, "terminationReason": why}

    def end_container(self, container: str, code: int = 0) -> None:
        """A sidecar or an init container ends."""
        self.run.cluster.logs.finish(self.run.namespace, self.pod, container)
        self._states[container] = {"terminated": {"exitCode": code}}
        self._show("Running")

    def succeed(self) -> None:
        self._patch_task(condition("True", "Succeeded"))

    def fail(self, reason: str = "Failed", message: str = "") -> None:
        self._patch_task(condition("False", reason, message))

    def complete(self) -> None:
        """Every step that still runs ends well, and so does the task."""
        for step in [name for name, state in self.steps.items() if "terminated" not in state]:
            self.exit(step)
        self.succeed()

    def retry(self) -> None:
        """The attempt has failed, and another one begins with a new pod."""
        old = self.run.cluster.get("taskruns", self.run.namespace, self.name)["status"]
        self._retries.append({key: old[key] for key in ("podName", "steps", "startTime") if key in old})
        self._retries[-1] |= condition("False", "Failed")
        self._patch_task(
            {"retriesStatus": [*self._retries], "podName": "", "steps": [], **condition("Unknown", "ToBeRetried")}
        )
        self.attempt += 1
        self.new_pod()

    def interrupt(self, reason: str, message: str = "") -> None:
        """Cancelled, timed out, or its image cannot be pulled: Tekton writes the verdict and deletes the pod, and its logs with it."""
        for step, state in list(self.steps.items()):
            if "terminated" not in state:
                ended = {"exitCode": 1, "reason": reason, "finishedAt": now()}
                kept = {key: value for key, value in state.items() if key != "running"}
                self.steps[step] = kept | {"terminated": ended, "terminationReason": reason}
        self._patch_task({"steps": list(self.steps.values()), **condition("False", reason, message)})
        self.remove_pod()

    def fail_init(self, container: str, message: str) -> None:
        """An init container fails: the pod does too, and its steps never begin."""
        self.run.cluster.logs.finish(self.run.namespace, self.pod, container)
        self._states[container] = {"terminated": {"exitCode": 1}}
        self._show("Failed")
        waiting = {"reason": "PodInitializing"}
        steps = [{"name": s, "container": c, "waiting": waiting} for c, s in self._containers.items() if s]
        self._patch_task({"steps": steps, **condition("False", "Failed", message)})

    def refuse(self, reason: str, message: str) -> None:
        """Its pod cannot be made; the TaskRun names none."""
        self.remove_pod()
        self._patch_task({"podName": "", "steps": [], **condition("False", reason, message)})

    def evict(self, message: str) -> None:
        """The node needs the room: the pod stays, without its containers and their logs."""
        status = {"phase": "Failed", "reason": "Evicted", "message": message, "containerStatuses": []}
        self._states = {}
        for name in self._containers:
            self.run.cluster.logs.finish(self.run.namespace, self.pod, name)
        self.run.cluster.patch("pods", self.run.namespace, self.pod, {"status": status})
        self._patch_task(condition("False", "Failed", message))

    def remove_pod(self) -> None:
        if self._there:
            self.run.cluster.delete("pods", self.run.namespace, self.pod)
            self._there = False

    def _show(self, phase: str) -> None:
        statuses = [{"name": name, "state": state} for name, state in self._states.items() if name in self._containers]
        inits = [{"name": name, "state": state} for name, state in self._states.items() if name in self._inits]
        status = {"phase": phase, "containerStatuses": statuses, "initContainerStatuses": inits}
        self.run.cluster.patch("pods", self.run.namespace, self.pod, {"status": status})

    def _patch_task(self, status: Json) -> None:
        self.run.cluster.patch("taskruns", self.run.namespace, self.name, {"status": status})


def finished(cluster: KubernetesApi, text: str = "hello\n", *, step: str = "s", code: int = 0) -> Run:
    """A run that is over, of one task ``build`` with one step that printed ``text`` and exited with ``code``."""
    run = Run(cluster)
    task = run.task("build", step)
    task.say(step, text)
    task.exit(step, code)
    if code:
        task.fail()
        run.fail()
    else:
        task.succeed()
        run.succeed()
    return run


UNSCHEDULED: Final = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "message": "0/3 nodes are available: 3 Insufficient memory.",
}
