"""A namespace of the suite's own, the service's account in it, and a first run that shows whether runs run here at all."""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

import yaml
from kubernetes_asyncio.client import Configuration

from e2e.api import Api, ApiError, Json, path_of
from e2e.catalogue import FALLBACK_IMAGE, WARM_UP, Manifests
from e2e.mirror import Mirror, condition, done
from e2e.preflight import NotReadyError
from e2e.settings import Settings

_T = TypeVar("_T")
PREFIX: Final = "tekton-listener-e2e-"
LABELS: Final = {
    "app.kubernetes.io/managed-by": "tekton-listener-e2e",
    "pod-security.kubernetes.io/enforce": "baseline",  # Tekton's own pods do not pass "restricted" by default
}
ACCOUNT: Final = "tekton-listener"
_TOKEN: Final = 4 * 3600  # seconds
_SETTLE: Final = 60.0  # seconds for what other controllers and caches do with what we made
_NOT_HERE: Final = ("ErrImageNeverPull", "InvalidImageName", "ImagePullBackOff", "ImageInspectError")


def new_name() -> str:
    """Of a namespace that nobody has."""
    return PREFIX + secrets.token_hex(3)


async def make(api: Api, namespace: str) -> None:
    """Create the namespace, and wait until pods can be made in it."""
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": LABELS}}
    await api.call("POST", "/api/v1/namespaces", body)
    async with asyncio.timeout(_SETTLE):
        while "default" not in [one["metadata"]["name"] for one in await api.list("serviceaccounts", namespace)]:
            await asyncio.sleep(0.2)


async def remove(kubeconfig: str, namespace: str) -> None:
    """Delete the namespace; it goes in its own time. Finalizers of runs are taken off, for the service that did so is gone."""
    async with Api.connect(kubeconfig) as api:
        try:
            for run in await api.list("pipelineruns", namespace):
                if run["metadata"].get("finalizers"):
                    await api.patch(
                        "pipelineruns", namespace, run["metadata"]["name"], {"metadata": {"finalizers": None}}
                    )
        finally:
            await api.call("DELETE", f"/api/v1/namespaces/{namespace}")


def in_thread(work: Coroutine[Any, Any, _T], *, timeout: float = 120.0) -> _T:
    """Run ``work`` to its end on a loop of its own, whatever became of the tests' loop. Raises what it raises.

    Ctrl-C cancels it, and waits for that.
    """
    with ThreadPoolExecutor(max_workers=1) as executor:
        loop = asyncio.new_event_loop()
        task = loop.create_task(asyncio.wait_for(work, timeout))
        future = executor.submit(_run, loop, task)
        try:
            return future.result()
        except KeyboardInterrupt:
            loop.call_soon_threadsafe(task.cancel)
            raise


def _run(loop: asyncio.AbstractEventLoop, task: asyncio.Task[_T]) -> _T:
    try:
        return loop.run_until_complete(task)
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


async def restricted_kubeconfig(api: Api, namespace: str, rules: list[Json], path: Path) -> Path:
    """A service account with ``rules`` and nothing else, and a kubeconfig with its token."""
    named = {"metadata": {"name": ACCOUNT}}
    await api.create("serviceaccounts", namespace, {"apiVersion": "v1", "kind": "ServiceAccount", **named})
    rbac = "rbac.authorization.k8s.io"
    await api.create("roles", namespace, {"apiVersion": f"{rbac}/v1", "kind": "Role", **named, "rules": rules})
    binding: Json = {
        "apiVersion": f"{rbac}/v1",
        "kind": "RoleBinding",
        **named,
        "roleRef": {"apiGroup": rbac, "kind": "Role", "name": ACCOUNT},
        "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": namespace}],
    }
    await api.create("rolebindings", namespace, binding)
    request = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": _TOKEN},
    }
    answer = await api.call("POST", f"{path_of('serviceaccounts', namespace)}/{ACCOUNT}/token", request)
    _write_secret(path, yaml.safe_dump(kubeconfig_of(api.configuration, str(answer["status"]["token"]))))
    await _until_granted(path, rules, namespace)
    return path


def _write_secret(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)


def kubeconfig_of(ours: Configuration, token: str) -> Json:
    """A kubeconfig to the same cluster, with another token and nothing else of ours."""
    cluster: Json = {"server": str(ours.host)}
    if ours.ssl_ca_cert:
        cluster["certificate-authority-data"] = base64.b64encode(Path(ours.ssl_ca_cert).read_bytes()).decode()
    if not ours.verify_ssl:
        cluster["insecure-skip-tls-verify"] = True
    for key, value in (("tls-server-name", getattr(ours, "tls_server_name", None)), ("proxy-url", ours.proxy)):
        if value:
            cluster[key] = value
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "e2e", "cluster": cluster}],
        "users": [{"name": "e2e", "user": {"token": token}}],
        "contexts": [{"name": "e2e", "context": {"cluster": "e2e", "user": "e2e"}}],
        "current-context": "e2e",
    }


async def _until_granted(path: Path, rules: list[Json], namespace: str) -> None:
    """The API server hears of a new RoleBinding a moment later; until then the service would be refused for no fault of its own."""
    first = next(rule for rule in rules if "pipelineruns" in rule["resources"])
    async with Api.connect(str(path)) as account, asyncio.timeout(_SETTLE):
        while not await account.may(first["verbs"][0], "pipelineruns", group="tekton.dev", namespace=namespace):
            await asyncio.sleep(0.2)


async def warm_up(api: Api, *, runs: Mirror, pods: Mirror, manifests: Manifests, settings: Settings) -> None:
    """Have one small run succeed: so the image is there, and what keeps runs from running here is known. Raises ``NotReadyError``."""
    images = [settings.image] if settings.image else ["", FALLBACK_IMAGE]
    trouble = ""
    for number, image in enumerate(images, start=1):
        manifests.image = image
        body = manifests.of(WARM_UP)
        name = body["metadata"]["name"] = f"{WARM_UP.name}-{number}"
        namespace = str(body["metadata"]["namespace"])
        try:
            await api.create("pipelineruns", namespace, body)
        except ApiError as error:
            raise NotReadyError(f"the cluster refuses PipelineRuns: {error}") from error
        trouble = await _outcome(name, runs, pods, timeout=settings.timeout)
        await api.delete("pipelineruns", namespace, name)
        if not trouble:
            return
        if not any(word in trouble for word in _NOT_HERE):
            break
    used = manifests.image or manifests.image_in_file
    raise NotReadyError(
        f"a PipelineRun with one step of the image {used} did not succeed here: {trouble} "
        "(E2E_IMAGE names another image, E2E_TIMEOUT=SECONDS waits longer)"
    )


async def _outcome(name: str, runs: Mirror, pods: Mirror, *, timeout: float) -> str:
    """Why the run did not succeed, or "". It is over, or its image is not to be had, or the time is."""
    try:
        await _either(runs, pods, lambda: done(runs.objects.get(name)) or _image_trouble(name, pods), timeout=timeout)
    except TimeoutError:
        run = runs.objects.get(name)
        if not condition(run):
            return f"Tekton has not looked at it within {timeout:g} s; is its controller running?"
        return f"not within {timeout:g} s: {condition(run).get('message')}{_unscheduled(name, pods)}"
    found = condition(runs.objects.get(name))
    if found.get("status") == "True":
        return ""
    return _image_trouble(name, pods) or f"{found.get('reason')}: {found.get('message')}"


async def _either(runs: Mirror, pods: Mirror, met: Callable[[], object], *, timeout: float) -> None:
    """Wait for something about either. Raises ``TimeoutError``."""
    changed = asyncio.Event()

    def tell(_: Json) -> None:
        changed.set()

    for mirror in (runs, pods):
        mirror.listeners.append(tell)
    try:
        async with asyncio.timeout(timeout):
            while not met():
                changed.clear()
                await changed.wait()
    finally:
        for mirror in (runs, pods):
            mirror.listeners.remove(tell)


def _image_trouble(name: str, pods: Mirror) -> str:
    for pod in _pods_of(name, pods):
        status = pod.get("status", {})
        for container in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
            waiting = (container.get("state") or {}).get("waiting") or {}
            if waiting.get("reason") in _NOT_HERE:
                return f"{waiting['reason']}: {waiting.get('message', '')}"
    return ""


def _unscheduled(name: str, pods: Mirror) -> str:
    for pod in _pods_of(name, pods):
        for entry in pod.get("status", {}).get("conditions") or ():
            if entry.get("status") == "False" and entry.get("message"):
                return f"; pod {pod['metadata']['name']}: {entry['message']}"
    return ""


def _pods_of(name: str, pods: Mirror) -> list[Json]:
    labelled = [
        (pod, (pod["metadata"].get("labels") or {}).get("tekton.dev/pipelineRun")) for pod in pods.objects.values()
    ]
    return [pod for pod, run in labelled if run == name]
