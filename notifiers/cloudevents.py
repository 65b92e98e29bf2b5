"""A message as a CloudEvents 1.0 event, for machines: its attributes, its data, and the two ways to put them into an HTTP request.

The event's id is made of the run and of why it is sent, and nothing else: an event that is sent again, by this replica or another, has the
same ``source`` and ``id``, so that a receiver can drop it. ``data`` holds every field of the message and of its details, see
``docs/webhook.md`` and ``config/webhook-event.schema.json``; what is not known is null. An event has at most 64 KB, the size that everybody
who passes events on must take: the log's end is kept, then the text's beginning, then the tasks that failed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlsplit

from notifiers.reports import Message, RunDetails, TaskDetails
from notifiers.text import usable_url

MAX_EVENT: Final = 64 * 1024  # bytes
_ROOMS: Final = (16 * 1024, 4 * 1024, 1024, 0)  # characters of the log and of the text: the first that fits
_FIELD: Final = 2048  # characters of any other field
_NOTE: Final = 500
_TYPE: Final = "dev.tekton-listener.pipelinerun.{event}.v1"
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)")
_TIMES: Final = ("created", "started", "completed")
_NOT_IN_TYPES: Final = re.compile(r"[^a-z0-9]+")
_PRINTABLE: Final = "".join(map(chr, range(0x21, 0x7F))).replace('"', "").replace("%", "")
_BROKE: Final = ("failed", "timed_out")


@dataclass(frozen=True, slots=True)
class Event:
    """The attributes, without ``specversion`` and ``datacontenttype`` which are always the same, and the data as JSON."""

    attributes: Mapping[str, str]
    data: bytes


def event_id(message: Message) -> str:
    """The same for the same run and event, however often it is sent; printable ASCII without a dot."""
    details = message.details
    run = details.uid or _digest(
        message.repository, message.sha, message.context, details.namespace, details.name, details.created
    )
    return _header_value(f"{run[:100]}-{_word(message.event)}").replace(".", "-")


def event_of(message: Message, *, source: str = "") -> Event:
    """The event that ``message`` is. ``source``: where it comes from, instead of what the message's link tells."""
    details = message.details
    attributes = {
        "id": event_id(message),
        "source": source or _source(message),
        "type": _TYPE.format(event=_word(message.event)),
        "subject": "/".join(filter(None, (details.namespace, details.name))),
        "time": _time(message),
    }
    return Event({name: value for name, value in attributes.items() if value}, _data(message))


def structured(event: Event) -> tuple[dict[str, str], bytes]:
    """Headers and body of a request that is the event: attributes and data in one JSON object."""
    attributes = {"specversion": "1.0", **event.attributes, "datacontenttype": "application/json"}
    head = json.dumps(attributes, ensure_ascii=False).encode("utf-8", "replace")
    return {"Content-Type": "application/cloudevents+json"}, head[:-1] + b', "data": ' + event.data + b"}"


def binary(event: Event) -> tuple[dict[str, str], bytes]:
    """Headers and body of a request that carries the attributes as headers, and whose body is the data."""
    headers = {f"ce-{name}": _header_value(value) for name, value in event.attributes.items()}
    return {"Content-Type": "application/json", "ce-specversion": "1.0", **headers}, event.data


def _header_value(text: str) -> str:
    """As the HTTP binding writes attributes into headers: printable ASCII, all else percent-encoded."""
    return quote(text.encode("utf-8", "replace"), safe=_PRINTABLE)


def _word(event: str) -> str:
    return _NOT_IN_TYPES.sub("-", event.lower()).strip("-")[:40] or "changed"


def _source(message: Message) -> str:
    """Where the listener is, as far as the link tells, and the run's namespace."""
    origin = ""
    if (url := usable_url(message.target_url, _FIELD)) is not None:
        parts = urlsplit(url)
        origin = f"{parts.scheme}://{parts.netloc}"
    return f"{origin}/namespaces/{quote(message.details.namespace[:_FIELD] or 'unknown', safe='')}"


def _time(message: Message) -> str:
    details = message.details
    moments = (details.completed if message.outcome.final else "", details.started, details.created)
    return next((moment for moment in moments if _TIME.fullmatch(moment)), "")


def _data(message: Message) -> bytes:
    for room in _ROOMS:
        data = _dumped(message, message.details.tasks, room)
        if len(data) <= _MAX_DATA:
            return data
    tasks = tuple(sorted(message.details.tasks, key=lambda task: task.state not in _BROKE))
    while len(data) > _MAX_DATA and tasks:
        tasks = tasks[: len(tasks) // 2]
        data = _dumped(message, tasks, 0)
    return data


_MAX_DATA: Final = MAX_EVENT - 12 * 1024  # the attributes are some hundred bytes, and a few fields at most


def _dumped(message: Message, tasks: tuple[TaskDetails, ...], room: int) -> bytes:
    run: dict[str, Any] = {
        field.name: _known(field.name, getattr(message.details, field.name))
        for field in dataclasses.fields(RunDetails)
        if field.name not in ("tasks", "log_tail", "commit_url", "repository_url", "service")
    }
    data = {
        "event": message.event,
        "outcome": message.outcome.value,
        "title": message.title[:_FIELD],
        "description": message.description[:_FIELD],
        "text": message.text[:room],
        "target_url": usable_url(message.target_url, _FIELD),
        "service": _known("service", message.details.service),
        "repository": message.repository[:_FIELD],
        "repository_url": usable_url(message.details.repository_url, _FIELD),
        "sha": message.sha,
        "commit_url": usable_url(message.details.commit_url, _FIELD),
        "ref": _known("ref", message.ref),
        "context": message.context[:_FIELD],
        "run": run,
        "tasks": [_task(task) for task in tasks],
        "tasks_left_out": len(message.details.tasks) - len(tasks),
        "log_tail": _end(message.details.log_tail, room),
    }
    # A lone surrogate is no Unicode text, and strict readers refuse all that it is in.
    return json.dumps(data, ensure_ascii=False).encode("utf-8", "replace")


def _known(name: str, value: str | int | None) -> str | int | None:
    """None for what is not known, and for a time that is none."""
    if name in _TIMES and not _TIME.fullmatch(str(value)):
        return None
    return value[:_FIELD] or None if isinstance(value, str) else value


def _task(task: TaskDetails) -> dict[str, Any]:
    fields = dataclasses.asdict(task)
    return {name: value[:_NOTE] if isinstance(value, str) else value for name, value in fields.items()}


def _end(text: str, room: int) -> str | None:
    """The last whole lines of ``text`` that have ``room``; of one long line its end."""
    if len(text) > room:
        text = text[len(text) - room :]
        text = text.partition("\n")[2] or text
    return text or None


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()[:32]
