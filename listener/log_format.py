"""How the service logs: one line per event, for people (``LOG_FORMAT=console``) or for machines (``LOG_FORMAT=json``).

Every line that belongs to a run says so (``run``, and within a delivery ``host``, ``repository``, ``attempt``), also those of libraries and
worker threads: one ``grep run=NAMESPACE/NAME`` gives the story of one run.

Libraries that print request headers or bodies at DEBUG stay at INFO whatever ``LOG_LEVEL`` says, so that no token is ever logged.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from listener.log_context import FIELDS, fields

_CHATTY: Final = (
    "aiohttp", "asyncio", "github", "gitlab", "kubernetes_asyncio", "opentelemetry", "requests", "urllib3",
)  # fmt: skip
LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR")
FORMATS: Final = ("console", "json")


class JsonFormatter(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **fields(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


class ConsoleFormatter(logging.Formatter):
    """What it is about stands at the line's end, as ``key=value``."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s", "%Y-%m-%dT%H:%M:%S%z")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        found = fields()
        about = "".join(f" {name}={found[name]}" for name in FIELDS if name in found)
        return super().formatMessage(record) + about


def set_up(env: Mapping[str, str]) -> None:
    """Configure logging from ``LOG_LEVEL`` and ``LOG_FORMAT``. Raises ``ValueError`` with a sentence for the user."""
    level = env.get("LOG_LEVEL", "INFO").upper()
    kind = env.get("LOG_FORMAT", "console").lower()
    if level not in LEVELS:
        raise ValueError(f"LOG_LEVEL={env['LOG_LEVEL']}: give one of {', '.join(LEVELS)}")
    if kind not in FORMATS:
        raise ValueError(f"LOG_FORMAT={env['LOG_FORMAT']}: give one of {', '.join(FORMATS)}")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if kind == "json" else ConsoleFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(max(logging.INFO, logging.getLevelName(level)))
