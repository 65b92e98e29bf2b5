"""The suite's own way into the cluster: kubernetes_asyncio's credentials, plain calls, plain dictionaries.

None of the listener's code: what it says about the cluster is checked against what is seen from here.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import aiohttp
import yaml
from kubernetes_asyncio.client import ApiClient, Configuration
from kubernetes_asyncio.config import ConfigException, kube_config

Json = dict[str, Any]
_CALL: Final = 30.0  # seconds for a whole call
_CORE: Final = "/api/v1"
GROUPS: Final = {
    "pipelineruns": "/apis/tekton.dev/v1",
    "taskruns": "/apis/tekton.dev/v1",
    "leases": "/apis/coordination.k8s.io/v1",
    "roles": "/apis/rbac.authorization.k8s.io/v1",
    "rolebindings": "/apis/rbac.authorization.k8s.io/v1",
}


class ApiError(Exception):
    """The API server said no; ``status`` 0: it said nothing."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}" if status else message)
        self.status, self.message = status, message


class Api:
    """A cluster. Make it with ``async with Api.connect(…) as api``."""

    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration
        self._client = ApiClient(configuration=configuration)

    @classmethod
    @contextlib.asynccontextmanager
    async def connect(cls, kubeconfig: str) -> AsyncIterator[Api]:
        """Raises ``ApiError`` for a file that leads nowhere."""
        configuration = Configuration()
        configuration.connection_pool_maxsize = 500  # a log is followed for each container
        try:
            await kube_config.load_kube_config(
                config_file=kubeconfig, client_configuration=configuration, persist_config=False
            )
        except (ConfigException, OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
            raise ApiError(0, f"KUBECONFIG={kubeconfig} cannot be used: {error}") from error
        api = cls(configuration)
        try:
            yield api
        finally:
            await api._client.close()

    @property
    def host(self) -> str:
        return str(self.configuration.host)

    async def call(
        self, method: str, path: str, body: Json | None = None, *, params: Mapping[str, str] | None = None
    ) -> Json:
        """One request and its JSON. Raises ``ApiError`` for anything but 2xx."""
        try:
            async with asyncio.timeout(_CALL):
                async with await self._send(method, path, params=params, body=body) as response:
                    text = await response.text(errors="replace")
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise ApiError(0, f"{self.host} does not answer: {str(error) or type(error).__name__}") from error
        answer: Any
        try:
            answer = json.loads(text)
        except ValueError:
            answer = {"message": " ".join(text.split())[:300]}
        if not 200 <= response.status <= 299:
            raise ApiError(response.status, str(answer.get("message") or response.reason))
        return dict(answer)

    @contextlib.asynccontextmanager
    async def stream(
        self, path: str, *, params: Mapping[str, str], silence: float | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """An answer of any status that is read as it comes; ``silence``: seconds until ``TimeoutError``."""
        timeout = aiohttp.ClientTimeout(total=None, connect=_CALL, sock_read=silence)
        async with await self._send("GET", path, params=params, timeout=timeout) as response:
            yield response

    async def _send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Json | None = None,
        timeout: aiohttp.ClientTimeout | None = None,
    ) -> aiohttp.ClientResponse:
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        headers = {"Accept": "application/json", "Content-Type": kind, "User-Agent": "tekton-listener-e2e"}
        await self._client.update_params_for_auth(headers, [], ["BearerToken"])
        response: aiohttp.ClientResponse = await self._client.rest_client.request(
            method,
            self.host + path,
            query_params=dict(params or {}),
            headers=headers,
            body=body,
            _preload_content=False,
            _request_timeout=timeout or aiohttp.ClientTimeout(total=_CALL),
        )
        return response

    # Objects

    async def create(self, resource: str, namespace: str, body: Json) -> Json:
        return await self.call("POST", path_of(resource, namespace), body)

    async def get(self, resource: str, namespace: str, name: str) -> Json:
        return await self.call("GET", f"{path_of(resource, namespace)}/{name}")

    async def list(self, resource: str, namespace: str) -> list[Json]:
        return list((await self.call("GET", path_of(resource, namespace)))["items"])

    async def patch(self, resource: str, namespace: str, name: str, body: Json) -> Json:
        """Merge patch."""
        return await self.call("PATCH", f"{path_of(resource, namespace)}/{name}", body)

    async def delete(self, resource: str, namespace: str, name: str) -> None:
        """It is gone, or going, afterwards."""
        try:
            await self.call("DELETE", f"{path_of(resource, namespace)}/{name}")
        except ApiError as error:
            if error.status != 404:
                raise

    async def may(self, verb: str, what: str, *, group: str = "", namespace: str = "") -> bool:
        """Whether we may, as far as the cluster tells; ``what``: ``pods`` or ``pods/log``. True where it does not tell."""
        resource, _, subresource = what.partition("/")
        asked = {"verb": verb, "group": group, "resource": resource, "subresource": subresource, "namespace": namespace}
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {key: value for key, value in asked.items() if value}},
        }
        try:
            answer = await self.call("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body)
        except ApiError:
            return True
        return bool(answer.get("status", {}).get("allowed"))


def path_of(resource: str, namespace: str) -> str:
    """The path of a resource in a namespace."""
    return f"{GROUPS.get(resource, _CORE)}/namespaces/{namespace}/{resource}"
