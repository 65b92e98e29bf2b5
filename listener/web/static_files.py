"""``GET /static/VERSION/NAME``: scripts, styles and icons, from the package's folder ``static``, without a password.

They are read once, at the first request. VERSION is made of what they hold, so that browsers may keep them for ever, and an upgrade is
never shown with an old script. Another version than ours, which a second replica may have, is answered with ours and not kept.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import Final

from aiohttp import web

_FOLDER: Final = Path(__file__).parent / "static"
_TYPES: Final = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",  # of an icon that is opened by itself
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}


@functools.cache
def _files() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(_FOLDER.iterdir()) if path.suffix in _TYPES}


@functools.cache
def version() -> str:
    """What tells these files from those of another release."""
    digest = hashlib.sha256()
    for name, content in _files().items():
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:12]


async def static_file(request: web.Request) -> web.Response:
    """One of the files, or 404."""
    name = request.match_info["name"]
    content = _files().get(name)
    if content is None:
        raise web.HTTPNotFound(text="no such file\n")
    ours = request.match_info["version"] == version()
    headers = {"Cache-Control": "public, max-age=31536000, immutable" if ours else "no-store"}
    return web.Response(
        body=content, content_type=_TYPES[Path(name).suffix], charset="utf-8", headers=_HEADERS | headers
    )
