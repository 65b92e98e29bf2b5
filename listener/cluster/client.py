"""The connection to the Kubernetes API: authentication through kubernetes_asyncio, plain calls on top.

kubernetes_asyncio finds the credentials (service account, kubeconfig with its exec plug-ins and OIDC) and signs requests; its
generated models and its ``Watch`` are not used (see ``reflector``). Promised here: every call has a timeout, a status other than
2xx is an ``ApiError`` and never a body, at a 401 the credentials are read again and the request is made once more, names are checked
before a URL is built, and watches, logs and short calls each have a connection pool of their own, so that a hundred open streams cannot
starve a patch.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import ssl
import urllib.request
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urlsplit

import aiohttp
import msgspec
import yaml

from listener.cluster.names import Key, is_name, is_namespace

if TYPE_CHECKING:  # half of the time that a command takes to start; what asks no cluster does without
    from kubernetes_asyncio.client import ApiClient, Configuration

log = logging.getLogger(__name__)

CALL_TIMEOUT: Final = 15.0  # seconds for a whole short call: get, patch, create
PAGE_TIMEOUT: Final = 60.0  # seconds for one page of a list
CONNECT_TIMEOUT: Final = 10.0
_POOL_SIZES: Final = {"calls": 100, "leases": 16, "watches": 100, "logs": 2048}
_MAX_ERROR_BODY: Final = 4096
_READ_BUFFER: Final = 2**18  # bytes

Pool = Literal["calls", "leases", "watches", "logs"]
_GROUPS: Final = {"pods": "/api/v1", "events": "/api/v1", "leases": "/apis/coordination.k8s.io/v1"}
_SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class ClusterError(Exception):
    """Anything that keeps the Kubernetes API from answering as asked."""


class ClusterConfigError(ClusterError):
    """No usable way to reach a cluster is configured: neither a service account nor a kubeconfig."""


class UnreachableError(ClusterError):
    """No answer: refused, timed out, reset, DNS or TLS trouble."""


class SilentError(UnreachableError):
    """Connected, and then nothing was heard in time."""


class ApiError(ClusterError):
    """The API server said no."""

    def __init__(self, status: int, reason: str, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(f"{status} {reason}: {message}" if reason else f"{status}: {message}")
        self.status = status  #: HTTP status
        self.reason = reason  #: ``reason`` of the Status object: NotFound, Expired, Conflict, …
        self.retry_after = retry_after  #: seconds


def worth_a_retry(error: BaseException) -> bool:
    """True for what may well work in a moment: no answer, 429, 5xx."""
    if isinstance(error, ApiError):
        return error.status == 429 or error.status >= 500
    return isinstance(error, ClusterError)


class _Status(msgspec.Struct):
    message: str = ""
    reason: str = ""
    code: int = 0


class _Version(msgspec.Struct):
    major: str = "0"
    minor: str = "0"


class Cluster:
    """One cluster's API. Make it with ``await Cluster.connect()``, end it with ``await close()``."""

    def __init__(self, configuration: Configuration, *, source: str, env: Mapping[str, str]) -> None:
        self.source = source  #: where the credentials come from, for messages
        self._env = env
        self._configuration = configuration
        self._clients: dict[str, ApiClient] = {}
        self._reloading = asyncio.Lock()
        self._reloads = 0
        self._version: tuple[int, int] | None = None

    @property
    def host(self) -> str:
        """The API server's URL."""
        return str(self._configuration.host)

    @classmethod
    async def connect(cls, *, env: Mapping[str, str] = os.environ) -> Cluster:
        """Find credentials: in-cluster service account, else ``KUBECONFIG``, else ``~/.kube/config``. Makes no request.

        Raises ``ClusterConfigError`` which says what was tried.
        """
        from kubernetes_asyncio.client import Configuration

        configuration = Configuration()
        source = await _load(configuration, env)
        return cls(configuration, source=source, env=env)

    async def close(self) -> None:
        """Close every connection."""
        clients, self._clients = list(self._clients.values()), {}
        for client in clients:
            await client.close()

    async def get(
        self,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        timeout: float = CALL_TIMEOUT,
        pool: Pool = "calls",
    ) -> bytes:
        """The body of a GET. ``path`` comes from ``object_path`` or ``collection_path``."""
        return await self._call("GET", path, params=params, timeout=timeout, pool=pool)

    async def version(self) -> tuple[int, int]:
        """Kubernetes' version, asked for once; (0, 0) where the server does not say. Raises ``UnreachableError``."""
        if self._version is None:
            try:
                answer = msgspec.json.decode(await self.get("/version"), type=_Version)
                self._version = (int(answer.major), int(answer.minor.rstrip("+")))
            except (ApiError, msgspec.DecodeError, ValueError):
                self._version = (0, 0)
        return self._version

    async def create(
        self,
        path: str,
        body: Mapping[str, Any],
        *,
        params: Mapping[str, str] | None = None,
        timeout: float = CALL_TIMEOUT,
        pool: Pool = "calls",
    ) -> bytes:
        """POST an object to a collection."""
        return await self._call("POST", path, params=params, body=body, timeout=timeout, pool=pool)

    async def update(
        self,
        path: str,
        body: Mapping[str, Any],
        *,
        params: Mapping[str, str] | None = None,
        timeout: float = CALL_TIMEOUT,
        pool: Pool = "calls",
    ) -> bytes:
        """PUT an object; with ``metadata.resourceVersion`` only if nobody wrote it since (else ``ApiError`` 409)."""
        return await self._call("PUT", path, params=params, body=body, timeout=timeout, pool=pool)

    async def merge_patch(
        self, path: str, body: Mapping[str, Any], *, params: Mapping[str, str] | None = None
    ) -> bytes:
        """PATCH with RFC 7386 merge semantics."""
        content_type = "application/merge-patch+json"
        return await self._call("PATCH", path, params=params, body=body, content_type=content_type)

    @contextlib.asynccontextmanager
    async def stream(
        self, path: str, *, params: Mapping[str, str], pool: Pool, read_timeout: float | None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """An answer that is read as it arrives. ``read_timeout``: seconds of silence until ``UnreachableError``."""
        timeout = aiohttp.ClientTimeout(
            total=None, connect=CONNECT_TIMEOUT, sock_connect=CONNECT_TIMEOUT, sock_read=read_timeout
        )
        with _translated(self.host):
            async with await self._request("GET", path, params=params, timeout=timeout, pool=pool) as response:
                yield response

    async def _call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
        timeout: float = CALL_TIMEOUT,
        pool: Pool = "calls",
    ) -> bytes:
        limits = aiohttp.ClientTimeout(total=timeout, sock_connect=min(timeout, CONNECT_TIMEOUT))
        with _translated(self.host):
            async with asyncio.timeout(timeout):  # of a second request, too
                response = await self._request(
                    method, path, params=params, body=body, content_type=content_type, timeout=limits, pool=pool
                )
                async with response:
                    return await response.read()

    async def _request(self, method: str, path: str, **options: Any) -> aiohttp.ClientResponse:
        """An answer with 2xx. A token may have been rotated since it was read, so one 401 is no reason to give up."""
        reloads = self._reloads
        try:
            return await self._request_once(method, path, **options)
        except ApiError as error:
            if error.status != 401:
                raise
        await self._reload(reloads)
        return await self._request_once(method, path, **options)

    async def _reload(self, reloads: int) -> None:
        """Read the credentials again, unless another request has done so since. Keeps the old ones if that fails."""
        async with self._reloading:
            if self._reloads != reloads:
                return
            self._reloads += 1
            try:
                await _load(self._configuration, self._env)
            except ClusterConfigError as error:
                log.warning("cannot read the cluster credentials again, keeping the old ones: %s", error)

    async def _request_once(
        self,
        method: str,
        path: str,
        *,
        timeout: aiohttp.ClientTimeout,
        pool: Pool,
        params: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
    ) -> aiohttp.ClientResponse:
        client = self._client(pool)
        headers = {"Accept": "application/json", "Content-Type": content_type, "User-Agent": client.user_agent}
        await client.update_params_for_auth(headers, [], ["BearerToken"])
        response: aiohttp.ClientResponse = await client.rest_client.request(
            method,
            self.host + path,
            query_params=dict(params or {}),
            headers=headers,
            body=body,
            _preload_content=False,  # with it, the library would read streams to their end and log bodies
            _request_timeout=timeout,
        )
        if not 200 <= response.status <= 299:
            async with response:
                raise await _api_error(response)
        return response

    def _client(self, pool: Pool) -> ApiClient:
        from kubernetes_asyncio.client import ApiClient

        if pool not in self._clients:
            self._configuration.connection_pool_maxsize = _POOL_SIZES[pool]
            client = self._clients[pool] = ApiClient(configuration=self._configuration)
            client.user_agent = "tekton-pipeline-listener"
            # The library's session looks for .netrc and for a proxy anew with every request, which costs more than the
            # request; the proxy is looked up here, once, and .netrc has no say in who we are.
            theirs = client.rest_client.pool_manager
            connector = theirs.connector
            theirs.detach()
            client.rest_client.pool_manager = aiohttp.ClientSession(connector=connector, read_bufsize=_READ_BUFFER)
            client.rest_client.proxy = self._configuration.proxy or _proxy_for(self.host, self._env) or ""
        return self._clients[pool]


def collection_path(resource: str, namespace: str | None = None) -> str:
    """The URL path of a resource's list: ``pipelineruns``, ``taskruns``, ``pods``, ``events``, ``leases``; None: all namespaces."""
    group = _GROUPS.get(resource, "/apis/tekton.dev/v1")
    if namespace is None:
        return f"{group}/{resource}"
    if not is_namespace(namespace):
        raise ValueError(f"not a namespace's name: {namespace!r}")
    return f"{group}/namespaces/{namespace}/{resource}"


def object_path(resource: str, key: Key) -> str:
    """The URL path of one object. Raises ``ValueError`` for what cannot be a name: nothing unchecked reaches a URL."""
    if not is_name(key.name):
        raise ValueError(f"not an object's name: {key.name!r}")
    return f"{collection_path(resource, key.namespace)}/{key.name}"


def own_namespace(env: Mapping[str, str]) -> str | None:
    """The namespace that this process runs in: ``POD_NAMESPACE``, or its service account's; None outside a pod."""
    if name := env.get("POD_NAMESPACE"):
        return name
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return _SERVICE_ACCOUNT.read_text().strip() or None
    return None


def _proxy_for(url: str, env: Mapping[str, str]) -> str | None:
    """The proxy that the environment names for ``url``, as curl reads it; None for none."""
    parts = urlsplit(url)
    exempt = env.get("no_proxy") or env.get("NO_PROXY") or ""
    if urllib.request.proxy_bypass_environment(parts.hostname or "", {"no": exempt}):  # type: ignore[attr-defined]  # not in the stubs
        return None
    name = f"{parts.scheme}_proxy"
    return env.get(name) or (env.get(name.upper()) if parts.scheme == "https" else None) or None


async def _load(configuration: Configuration, env: Mapping[str, str]) -> str:
    from kubernetes_asyncio.config import ConfigException, incluster_config, kube_config

    tried = []
    if env.get("KUBERNETES_SERVICE_HOST"):
        try:
            incluster_config.load_incluster_config(  # type: ignore[no-untyped-call]  # has no annotations
                client_configuration=configuration, environ=dict(env)
            )
        except (ConfigException, OSError) as error:
            tried.append(f"service account: {error}")
        else:
            return "the pod's service account"
    else:
        tried.append("service account: not in a pod (KUBERNETES_SERVICE_HOST is not set)")
    given = env.get("KUBECONFIG", "")
    paths = given or str(Path("~/.kube/config").expanduser())  # noqa: ASYNC240 - at start and after a 401 only
    label = f"KUBECONFIG={given}" if given else paths
    if not any(Path(path).expanduser().is_file() for path in paths.split(os.pathsep) if path):  # noqa: ASYNC240 - as above
        tried.append(f"{label}: no such file")
    else:
        try:
            await kube_config.load_kube_config(
                config_file=paths, client_configuration=configuration, persist_config=False
            )
        except (ConfigException, OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
            tried.append(f"{label}: {error}")
        else:
            return label
    raise ClusterConfigError("no cluster configured; tried " + "; ".join(tried))


@contextlib.contextmanager
def _translated(host: str) -> Iterator[None]:
    """Turn the client library's many exceptions into ours."""
    try:
        yield
    except aiohttp.SocketTimeoutError as error:
        raise SilentError(f"{host}: no answer in time") from error
    except TimeoutError as error:
        raise UnreachableError(f"{host}: no answer in time") from error
    except (aiohttp.ClientError, ssl.SSLError, OSError) as error:
        raise UnreachableError(f"{host}: {str(error) or type(error).__name__}") from error


async def _api_error(response: aiohttp.ClientResponse) -> ApiError:
    body = await response.content.read(_MAX_ERROR_BODY)
    try:
        status = msgspec.json.decode(body, type=_Status)
    except (msgspec.DecodeError, UnicodeDecodeError):
        status = _Status(message=" ".join(body.decode("utf-8", "replace").split())[:200])
    return ApiError(
        response.status,
        status.reason,
        status.message or response.reason or "",
        retry_after=float(after) if (after := response.headers.get("Retry-After", "")).isdecimal() else None,
    )
