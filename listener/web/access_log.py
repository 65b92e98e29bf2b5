"""What is logged of requests: one line each, and of malformed ones no word of what was in them."""

from __future__ import annotations

import contextlib
import logging
from typing import Final

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger
from aiohttp.http_exceptions import HttpProcessingError

from listener.links import scrubbed
from listener.log_context import about
from listener.web.about import run_of
from listener.web.requests import PEER

_ACCESS: Final = logging.getLogger("listener.access")
SERVER: Final = logging.getLogger("listener.http")  #: for aiohttp


class AccessLog(AbstractAccessLogger):
    """One line per request, without query strings, for these may carry what must not be logged; paths as they were sent, for they may
    hold newlines otherwise."""

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        run = run_of(request)
        with about(run=run) if run is not None else contextlib.nullcontext():
            _ACCESS.info(
                "%s %s %s %d %d bytes %.3f s", request.get(PEER) or request.remote, request.method, scrubbed(request.rel_url.raw_path),
                response.status, response.body_length, time,
            )  # fmt: skip


def _is_no_quotation(record: logging.LogRecord) -> bool:
    """What is wrong with a malformed request is said with a piece of it, and that may be a password or a signed link. The access log has
    it anyway."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


SERVER.addFilter(_is_no_quotation)
