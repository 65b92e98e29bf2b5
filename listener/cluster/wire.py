"""How lists and watches look on the wire: pages, events, bookmarks, errors; lines cut from chunks. No sockets here.

What ``reflector`` and ``families`` share. Field names follow Kubernetes' API concepts ("Resource versions", "Efficient detection of changes").
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Final

import msgspec

from listener.cluster.client import ApiError, UnreachableError

PAGE_SIZE: Final = 500
MAX_LINE: Final = (
    16 * 1024 * 1024
)  # bytes of one watch event; etcd's own limit is 1.5 MiB, this is only against exhaustion


class Meta(msgspec.Struct, rename="camel"):
    """Metadata of a list or a bookmark."""

    resource_version: str = ""
    continue_: str = msgspec.field(name="continue", default="")
    annotations: dict[str, str] | None = None


class Page(msgspec.Struct):
    """One page of a list, its items unread."""

    metadata: Meta = msgspec.field(default_factory=Meta)
    items: list[msgspec.Raw] | None = None


class Event(msgspec.Struct):
    """One line of a watch, its object unread."""

    type: str
    object: msgspec.Raw


class _Bookmark(msgspec.Struct):
    metadata: Meta


class _Status(msgspec.Struct):
    code: int = 0
    reason: str = ""
    message: str = ""


_PAGE: Final = msgspec.json.Decoder(Page)
_EVENT: Final = msgspec.json.Decoder(Event)
_BOOKMARK: Final = msgspec.json.Decoder(_Bookmark)
_STATUS: Final = msgspec.json.Decoder(_Status)


def read_page(body: bytes, *, where: str) -> Page:
    """A page from an answer's body. Raises ``UnreachableError`` that names ``where`` for what is no list: a proxy's page, half an answer."""
    try:
        return _PAGE.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnreachableError(f"the list of {where} is no list: {error}") from None


def read_bookmark(event: Event) -> Meta:
    """A bookmark's metadata. Raises ``ValueError`` for what is none."""
    try:
        return _BOOKMARK.decode(event.object).metadata
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(str(error)) from None


def error_of(event: Event) -> ApiError:
    """What an ERROR event says."""
    try:
        status = _STATUS.decode(event.object)
    except (msgspec.DecodeError, UnicodeDecodeError):
        status = _Status(code=500, reason="Unreadable", message="the watch sent an ERROR that is no Status")
    return ApiError(status.code, status.reason, status.message)


async def read_events(chunks: AsyncIterator[bytes], *, on_skip: Callable[[str], None]) -> AsyncIterator[Event]:
    """The events of a watch. ``on_skip`` is told why a line is none; the lines after it are read all the same."""
    async for line in split_lines(chunks, limit=MAX_LINE):
        if line is None:
            on_skip(f"longer than {MAX_LINE} bytes")
            continue
        try:
            yield _EVENT.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            on_skip(str(error))


async def split_lines(chunks: AsyncIterator[bytes], *, limit: int) -> AsyncIterator[bytes | None]:
    """Lines without their newline, from chunks cut anywhere. None stands for a line longer than ``limit`` bytes.

    Works on bytes, so a character that is split across chunks is no special case. An unfinished last line is dropped: the
    sender was cut off.
    """
    pending: list[bytes] = []
    size, dropping = 0, False
    async for chunk in chunks:
        *complete, rest = chunk.split(b"\n")
        for part in complete:
            if dropping or size + len(part) > limit:
                yield None
            elif pending:
                pending.append(part)
                yield b"".join(pending)
            elif part:
                yield part
            pending, size, dropping = [], 0, False
        if rest and not dropping:
            size += len(rest)
            pending.append(rest)
            if size > limit:
                pending, dropping = [], True
