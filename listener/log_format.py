"""How the service logs: one line per event, for people (``LOG_FORMAT=console``) or for machines (``LOG_FORMAT=json``).

Libraries that print request headers or bodies at DEBUG stay at INFO whatever ``LOG_LEVEL`` says, so that no token is ever logged.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

_CHATTY: Final = ("aiohttp", "asyncio", "github", "gitlab", "kubernetes_asyncio", "requests", "urllib3")
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
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


def set_up(env: Mapping[str, str]) -> None:
    """Configure logging from ``LOG_LEVEL`` and ``LOG_FORMAT``. Raises ``ValueError`` with a sentence for the user."""
    level = env.get("LOG_LEVEL", "INFO").upper()
    kind = env.get("LOG_FORMAT", "console").lower()
    if level not in LEVELS:
        raise ValueError(f"LOG_LEVEL={env['LOG_LEVEL']}: give one of {', '.join(LEVELS)}")
    if kind not in FORMATS:
        raise ValueError(f"LOG_FORMAT={env['LOG_FORMAT']}: give one of {', '.join(FORMATS)}")
    handler = logging.StreamHandler(sys.stderr)
    console = logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%Y-%m-%dT%H:%M:%S%z")
    handler.setFormatter(JsonFormatter() if kind == "json" else console)
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(max(logging.INFO, logging.getLevelName(level)))
