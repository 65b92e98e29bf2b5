"""Can the cluster be reached, does it have Tekton, and does it let us do what the service does?

Permissions are asked for with SelfSubjectAccessReviews, which every authenticated user may make. Where they are refused, the call itself is
tried, on an object that is not there and with ``dryRun=All``, so that nothing is changed: 403 is a no, anything else of the API a yes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from listener.cluster.client import (
    ApiError,
    Cluster,
    ClusterConfigError,
    ClusterError,
    collection_path,
    object_path,
    own_namespace,
)
from listener.cluster.lease import LABEL, SHARDS
from listener.cluster.names import Key
from listener.cluster.objects import parse_time
from listener.config import Config, Leases
from listener.doctor.findings import OK, PROBLEM, UNKNOWN, WARNING, one
from listener.doctor.needs import Need, needs
from notifiers.base import Finding

TIMEOUT: Final = 10.0  # seconds for one question
_AT_ONCE: Final = 8
_REVIEWS: Final = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_NOT_THERE: Final = "tekton-listener-doctor-asks"  # an object's name
_TEKTON: Final = "/apis/tekton.dev/v1"
_CREDENTIALS: Final = "is the token of the service account, or the kubeconfig, out of date?"
_USED: Final = ("pipelineruns", "taskruns")


async def examine_cluster(config: Config, env: Mapping[str, str]) -> list[Finding]:
    """All there is to say of the cluster. Raises nothing."""
    try:
        cluster = await Cluster.connect(env=env)
    except ClusterConfigError as error:
        return [one("credentials", PROBLEM, str(error), "set KUBECONFIG, or run it in a pod with a service account")]
    try:
        found = [one("credentials", OK, f"{cluster.source}, for {cluster.host}"), await _version(cluster)]
        if found[-1].state == PROBLEM:
            return found
        found.append(await _tekton(cluster))
        leases, namespace = config.leases, None
        if leases is not None:
            namespace = leases.namespace or own_namespace(env)
            if namespace is None:
                said = "leases.namespace is not set, and this is no pod"
                found.append(one("leases", PROBLEM, said, "say in which namespace the Leases are to be"))
        turns = asyncio.Semaphore(_AT_ONCE)
        wanted = needs(config, lease_namespace=namespace)
        found += await asyncio.gather(*(_permission(cluster, need, turns) for need in wanted))
        if leases is not None and namespace is not None:
            found.append(await _leases(cluster, leases, namespace))
        return found
    finally:
        await cluster.close()


async def _version(cluster: Cluster) -> Finding:
    try:
        answer = msgspec.json.decode(await cluster.get("/version", timeout=TIMEOUT))
        return one("reachable", OK, f"Kubernetes {answer['gitVersion']}")
    except ApiError as error:
        if error.status == 401:
            said = f"the credentials are refused: {error}"
            return one("reachable", PROBLEM, said, _CREDENTIALS)
        return one("reachable", UNKNOWN, f"it answers, but does not tell its version: {error}")
    except ClusterError as error:
        return one(
            "reachable", PROBLEM, str(error), "is the API server's address right, does a NetworkPolicy forbid it?"
        )
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError):
        said = f"{cluster.host} does not answer as a Kubernetes API"
        return one("reachable", PROBLEM, said, "correct the server in the kubeconfig")


async def _tekton(cluster: Cluster) -> Finding:
    advice = "install Tekton Pipelines 0.44 or later, which serves tekton.dev/v1"
    try:
        answer = msgspec.json.decode(await cluster.get(_TEKTON, timeout=TIMEOUT))
        served = {entry["name"] for entry in answer["resources"]}
    except ApiError as error:
        if error.status == 404:
            return one("tekton", PROBLEM, "tekton.dev/v1 is not served", advice)
        return one("tekton", UNKNOWN, f"whether tekton.dev/v1 is served: {error}")
    except (ClusterError, msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        return one("tekton", UNKNOWN, f"whether tekton.dev/v1 is served: {error}")
    if missing := [name for name in _USED if name not in served]:
        return one("tekton", PROBLEM, f"tekton.dev/v1 is served without {', '.join(missing)}", advice)
    return one("tekton", OK, f"tekton.dev/v1 has {' and '.join(_USED)}")


# Permissions


async def _permission(cluster: Cluster, need: Need, turns: asyncio.Semaphore) -> Finding:
    refusals: list[str] = []

    async def careful(verb: str, name: str) -> bool | str:
        async with turns:
            try:
                return await _may(cluster, need, verb, name)
            except ClusterError as error:
                if isinstance(error, ApiError) and error.status == 401:
                    refusals.append(str(error))
                return str(error)

    asked = [(verb, name) for verb in need.verbs for name in need.names or ("",)]
    answers: dict[str, bool | str] = {}
    for (verb, _), answer in zip(asked, await asyncio.gather(*(careful(*pair) for pair in asked)), strict=True):
        if answers.get(verb, True) is True:  # what is no or unclear for one name is so for all
            answers[verb] = answer
    what = f"permission {need.name}"
    if refusals:
        return one(what, PROBLEM, f"the credentials are refused: {refusals[0]}", _CREDENTIALS)
    refused = tuple(verb for verb, answer in answers.items() if answer is False)
    if refused:
        said = f"may not {', '.join(refused)} {need.name} {need.where}"
        kind = "Role of that namespace" if need.namespace else "ClusterRole"
        return one(what, PROBLEM if need.essential else WARNING, said, f"add to its {kind}: {need.rule(refused)}")
    unclear = {verb: answer for verb, answer in answers.items() if answer is not True}
    if unclear:
        verb, why = next(iter(unclear.items()))
        return one(what, UNKNOWN, f"whether it may {', '.join(unclear)} {need.name} {need.where}: {verb}: {why}")
    return one(what, OK, f"may {', '.join(need.verbs)} {need.name} {need.where}")


async def _may(cluster: Cluster, need: Need, verb: str, name: str) -> bool:
    """Raises ``ClusterError`` when it cannot be told."""
    attributes = {"group": need.group, "resource": need.resource, "subresource": need.subresource, "verb": verb}
    attributes["namespace"] = need.namespace or ""
    if name:
        attributes["name"] = name
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    try:
        answer = msgspec.json.decode(await cluster.create(_REVIEWS, review, timeout=TIMEOUT))
        return bool(answer["status"]["allowed"])
    except ApiError as error:
        if error.status not in (403, 404, 405):
            raise
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError):
        pass
    return await _tried(cluster, need, verb, name or _NOT_THERE)


async def _tried(cluster: Cluster, need: Need, verb: str, name: str) -> bool:
    """The call itself, such that it changes nothing whatever comes of it."""
    namespace = need.namespace or "default"
    there = collection_path(need.resource, need.namespace)
    thing = object_path(need.resource, Key(namespace, name))
    thing += f"/{need.subresource}" if need.subresource else ""
    meta: dict[str, Any] = {"metadata": {"name": name, "namespace": namespace}}
    dry = {"dryRun": "All"}
    try:
        match verb:
            case "get":
                await cluster.get(thing, timeout=TIMEOUT)
            case "list":
                await cluster.get(there, params={"limit": "1"}, timeout=TIMEOUT)
            case "watch":
                params = {"watch": "true", "timeoutSeconds": "1"}
                async with cluster.stream(there, params=params, pool="watches", read_timeout=TIMEOUT):
                    pass  # begun is enough
            case "patch":
                await cluster.merge_patch(thing, {}, params=dry)
            case "update":
                await cluster.update(thing, meta, params=dry, timeout=TIMEOUT)
            case "create":
                await cluster.create(collection_path(need.resource, namespace), meta, params=dry, timeout=TIMEOUT)
    except ApiError as error:
        if error.status == 403:
            return False
        if error.status in (401, 429) or error.status >= 500:
            raise
    return True


# Leases


async def _leases(cluster: Cluster, wanted: Leases, namespace: str) -> Finding:
    """Who holds them; before the first start there are none."""
    path = collection_path("leases", namespace)
    try:
        body = await cluster.get(path, params={"labelSelector": f"{LABEL}={wanted.name}"}, timeout=TIMEOUT)
        items = msgspec.json.decode(body)["items"] or []
        specs = [(item["metadata"].get("annotations") or {}, item.get("spec") or {}) for item in items]
        held = [(annotations, spec) for annotations, spec in specs if spec.get("holderIdentity")]
    except (ClusterError, msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        return one("leases", UNKNOWN, f"who holds them: {error}")
    late = [spec["holderIdentity"] for _, spec in held if _is_late(spec, wanted)]
    others = {annotations.get(SHARDS) for annotations, _ in held} - {str(wanted.shards), None}
    holders = ", ".join(sorted({str(spec["holderIdentity"]) for _, spec in held}))
    if not held:
        return one("leases", OK, f"{wanted.shards} wanted in {namespace}, nobody holds one now: no replica runs")
    if others:
        said = (
            f"replicas with shards: {', '.join(map(str, others))} are at work, this configuration says {wanted.shards}"
        )
        return one("leases", WARNING, said, "those must end before replicas with the new number begin")
    if late:
        said = f"not renewed any more by {', '.join(map(str, late))}"
        return one("leases", WARNING, said, "has that replica died, is another one running?")
    if len(held) < wanted.shards:
        said = f"{len(held)} of {wanted.shards} are held, by {holders}"
        return one(
            "leases", WARNING, said, "runs of the others are not reported: is a replica running, what does its log say?"
        )
    return one("leases", OK, f"{len(held)} of {wanted.shards} are held, by {holders}")


def _is_late(spec: Mapping[str, Any], wanted: Leases) -> bool:
    renewed = parse_time(str(spec.get("renewTime") or ""))
    with contextlib.suppress(OverflowError):
        return renewed is not None and (datetime.now(UTC) - renewed).total_seconds() > 3 * wanted.duration
    return False
