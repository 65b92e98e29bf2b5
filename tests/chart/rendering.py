"""The chart as Helm renders it: values in, Kubernetes objects out. Helm is the real one, as a library."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import helm_python as helm
import yaml

Object = dict[str, Any]
ROOT: Final = Path(__file__).parents[2]
CHART: Final = ROOT / "helm" / "tekton-pipeline-listener"
RELEASE, NAMESPACE = "demo", "ci-tools"
NAME: Final = "demo-tekton-pipeline-listener"  #: of nearly everything in that release


class RefusedError(Exception):
    """Helm does not render these values, and says why."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """The objects of a release."""

    objects: tuple[Object, ...]
    notes: str

    def all(self, kind: str) -> list[Object]:
        return [found for found in self.objects if found["kind"] == kind]

    def one(self, kind: str, name: str | None = None) -> Object:
        """The only object of that kind (and name)."""
        (found,) = (f for f in self.all(kind) if name in (None, f["metadata"]["name"]))
        return found

    @property
    def pod(self) -> Object:
        """What the Deployment makes its pods from."""
        spec: Object = self.one("Deployment")["spec"]["template"]["spec"]
        return spec

    @property
    def container(self) -> Object:
        (container,) = self.pod["containers"]
        found: Object = container
        return found

    @property
    def config_text(self) -> str:
        """The listener's configuration as it is mounted."""
        (text,) = (c["data"]["listener.yaml"] for c in self.all("ConfigMap") if "listener.yaml" in c["data"])
        return str(text)


@functools.cache
def chart() -> helm.Chart:
    return helm.Chart.load(CHART)


def render(values: Mapping[str, Any], *, name: str = RELEASE) -> Rendered:
    """What ``helm install`` would send. Raises ``RefusedError`` with Helm's words."""
    try:
        files = chart().render(dict(values), name=name, namespace=NAMESPACE)
    except helm.HelmError as error:
        raise RefusedError(str(error)) from None
    objects: list[Object] = []
    for path, text in files.items():
        if path.endswith(".yaml"):
            objects += [document for document in yaml.load_all(text, Loader=yaml.CSafeLoader) if document]
    return Rendered(tuple(objects), next(text for path, text in files.items() if path.endswith("NOTES.txt")))
