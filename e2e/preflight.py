"""Looks before it leaps: does the cluster answer, is Tekton there, may we do what the suite does? One sentence when not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from e2e.api import Api, ApiError

_TEKTON: Final = "tekton.dev"
_RBAC: Final = "rbac.authorization.k8s.io"
#: What the suite itself does: verbs, resource, group, in its namespace ("*") or for the whole cluster ("").
_NEEDED: Final = (
    (("create", "get", "delete"), "namespaces", "", ""),
    (("create", "get", "list", "watch", "patch", "delete"), "pipelineruns", _TEKTON, "*"),
    (("list", "watch"), "taskruns", _TEKTON, "*"),
    (("list", "watch"), "pods", "", "*"),
    (("get",), "pods/log", "", "*"),
    (("list",), "events", "", "*"),
    (("list",), "leases", "coordination.k8s.io", "*"),
)
#: What it takes to run the service with no more rights than the chart gives it.
_RESTRICTING: Final = (
    (("create",), "serviceaccounts", "", "*"),
    (("create",), "serviceaccounts/token", "", "*"),
    (("create",), "roles", _RBAC, "*"),
    (("create",), "rolebindings", _RBAC, "*"),
)


class NotReadyError(Exception):
    """What is missing, in one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What was found."""

    host: str
    kubernetes: str
    tekton: str  #: its version, or "unknown"
    api_versions: tuple[str, ...]
    missing_to_restrict: tuple[str, ...]  #: why the service cannot be run under its own service account

    def __str__(self) -> str:
        return (
            f"{self.host}: Kubernetes {self.kubernetes}, Tekton {self.tekton} "
            f"(tekton.dev {', '.join(self.api_versions)})"
        )


async def look(api: Api, *, namespace: str) -> Facts:
    """Everything that can be known before anything is made. Raises ``NotReadyError``."""
    kubernetes = await _version(api)
    versions = await _tekton_versions(api)
    if lacking := [what async for what in _lacking(api, _NEEDED, namespace)]:
        raise NotReadyError(f"with the credentials in KUBECONFIG one may not {_and(lacking)} at {api.host}")
    restricting = [what async for what in _lacking(api, _RESTRICTING, namespace)]
    return Facts(
        host=api.host,
        kubernetes=kubernetes,
        tekton=await _tekton_release(api),
        api_versions=versions,
        missing_to_restrict=tuple(restricting),
    )


async def _version(api: Api) -> str:
    try:
        answer = await api.call("GET", "/version")
    except ApiError as error:
        if error.status == 0:
            raise NotReadyError(str(error)) from error
        if error.status == 401:
            raise NotReadyError(f"{api.host} does not accept the credentials in KUBECONFIG: {error}") from error
        return "unknown"
    return str(answer.get("gitVersion", "unknown"))


async def _tekton_versions(api: Api) -> tuple[str, ...]:
    install = "install Tekton Pipelines first, see the kind recipe in CONTRIBUTING.md"
    try:
        group = await api.call("GET", f"/apis/{_TEKTON}")
        versions = tuple(str(version["version"]) for version in group.get("versions", ()))
        if "v1" not in versions:
            found = ", ".join(versions) or "nothing"
            raise NotReadyError(f"{api.host} serves tekton.dev/{found}, and v1 is needed: {install}, a newer release")
        served = await api.call("GET", f"/apis/{_TEKTON}/v1")
    except ApiError as error:
        if error.status == 404:
            raise NotReadyError(f"{api.host} has no API tekton.dev: {install}") from error
        raise NotReadyError(f"{api.host} does not say whether Tekton is there: {error}") from error
    names = {str(resource["name"]) for resource in served.get("resources", ())}
    if absent := sorted({"pipelineruns", "taskruns"} - names):
        raise NotReadyError(f"{api.host} has tekton.dev/v1, but no {_and(absent)} in it: {install}")
    return versions


async def _tekton_release(api: Api) -> str:
    """Where Tekton says which release it is; readable by everybody in its default installation."""
    try:
        info = await api.call("GET", "/api/v1/namespaces/tekton-pipelines/configmaps/pipelines-info")
    except ApiError:
        return "unknown"
    return str((info.get("data") or {}).get("version", "unknown"))


async def _lacking(
    api: Api, wanted: tuple[tuple[tuple[str, ...], str, str, str], ...], namespace: str
) -> AsyncIterator[str]:
    for verbs, what, group, where in wanted:
        for verb in verbs:
            if not await api.may(verb, what, group=group, namespace=namespace if where else ""):
                yield f"{verb} {what}"


def _and(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]
