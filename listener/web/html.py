"""HTML answers: templates, and the headers that every page carries.

Everything is escaped by the template engine. The content security policy allows scripts and styles from this service's own files, none
in the page, and nothing from anywhere else; an address that somebody may keep secret (a signed link) is told to nobody by ``Referer``.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from listener.web.static_files import version

if TYPE_CHECKING:
    from jinja2 import Template

HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; frame-src 'self'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@functools.cache
def _template(name: str) -> Template:
    """A template by its name. Jinja is loaded when the first page is asked for: many services never serve one."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("listener.web", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def render(name: str, **values: Any) -> str:
    """A template with its values."""
    return _template(name).render(**values)


def page(name: str, *, root: str, status: int = 200, **values: Any) -> web.Response:
    """A page. ``root``: the way from it to the service's first path, as a relative address: a proxy may have put more before it."""
    text = render(name, static=f"{root}/static/{version()}", **values)
    return web.Response(text=text, status=status, content_type="text/html", headers=HEADERS)


def wants_html(request: web.Request) -> bool:
    """A browser asks, and not a program."""
    return "text/html" in request.headers.get("Accept", "")
