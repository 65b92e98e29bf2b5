"""For the log: which run a request is about, for its own lines and the access log's. Says nothing of whether the run exists."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from listener.cluster.names import is_name, is_namespace
from listener.log_context import about
from listener.web.requests import ACCESS


def run_of(request: web.BaseRequest) -> str | None:
    """``NAMESPACE/NAME`` of the run that a path names; None for every other path, and for what cannot be a run's name."""
    if not isinstance(request, web.Request):
        return None
    try:
        match = request.match_info
        default = request.app[ACCESS].default_namespace
    except (AssertionError, AttributeError):  # it was too malformed to lead anywhere, which aiohttp says so
        return None
    name, namespace = match.get("run", ""), match.get("namespace") or default or ""
    return f"{namespace}/{name}" if is_namespace(namespace) and is_name(name) else None


@web.middleware
async def about_run(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Lines that are written while a run is asked for say so."""
    run = run_of(request)
    if run is None:
        return await handler(request)
    with about(run=run):
        return await handler(request)
