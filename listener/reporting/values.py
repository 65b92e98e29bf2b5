"""What a run says for ``$(…)``: its params, results, labels, annotations, names."""

from __future__ import annotations

from listener.cluster.objects import PipelineRun
from listener.template import Reference


class Values:
    """What a run says for ``$(…)``; None where it says nothing."""

    def __init__(self, run: PipelineRun, service: str) -> None:
        self._run, self._service = run, service

    def __call__(self, reference: Reference) -> str | None:
        run = self._run
        match reference.source:
            case "params":
                return run.params.get(reference.name)
            case "results":
                return run.results.get(reference.name)
            case "labels":
                return run.labels.get(reference.name)
            case "annotations":
                return run.annotations.get(reference.name)
            case "run":
                return {"name": run.name, "namespace": run.namespace, "pipeline": run.pipeline}.get(reference.name)
            case "service":
                return self._service
            case _:
                return None
