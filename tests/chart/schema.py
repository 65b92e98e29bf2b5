"""``python -m tests.chart.schema`` writes the listener's configuration into the chart's ``values.schema.json``.

The rest of that file is written by hand. What is below ``$defs`` is made from the configuration's types, so that a key of ``config:`` that does
not exist is refused before anything is installed; ``make schema`` does it, and a test sees when it was forgotten.
"""

from __future__ import annotations

import json
from typing import Any, Final

from listener.config import json_schema
from tests.chart.rendering import CHART

PATH: Final = CHART / "values.schema.json"


def text() -> str:
    """What the file is to hold."""
    whole = json.loads(PATH.read_text())
    config = json_schema()
    definitions = {f"Config{name}": schema for name, schema in config.pop("$defs").items()}
    for key in ("$schema", "title"):
        config.pop(key)
    whole["$defs"] = {"Config": _renamed(config), **{name: _renamed(schema) for name, schema in definitions.items()}}
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


def _renamed(schema: Any) -> Any:
    """With its references, and without the titles that pydantic makes of names."""
    if isinstance(schema, list):
        return [_renamed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found = {}
    for key, value in schema.items():
        if key == "$ref":
            found[key] = value.replace("#/$defs/", "#/$defs/Config")
        elif key == "properties":
            found[key] = {name: _renamed(part) for name, part in value.items()}
            if "on" in found[key]:  # Helm reads YAML 1.1, in which that is the truth; _config.tpl puts it right
                found[key]["true"] = {**found[key]["on"], "description": "The key on, as Helm reads it."}
        elif key == "pattern":
            found[key] = value.replace(r"\d", "[0-9]")
        elif key != "title":
            found[key] = _renamed(value)
    return found


if __name__ == "__main__":
    PATH.write_text(text())
