"""JSON schemas for the resources that others define: the fields that the chart may use, as the published definitions have them.

prometheus-operator's ServiceMonitor and PrometheusRule (monitoring.coreos.com/v1) and the Gateway API's HTTPRoute (v1, standard channel, 1.2 and
later, which has ``timeouts``). No package for Python ships these definitions in a form that can be used here. Every object is closed, so a
field that is misspelt or unknown here is an error.
"""

from __future__ import annotations

from typing import Any, Final

Schema = dict[str, Any]
_STRING: Final[Schema] = {"type": "string"}
_STRINGS: Final[Schema] = {"type": "object", "additionalProperties": _STRING}
_DNS: Final = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
_PORT: Final[Schema] = {"type": "integer", "minimum": 1, "maximum": 65535}
#: Prometheus' own.
_DURATION: Final[Schema] = {
    "type": "string",
    "pattern": r"^(0|(([0-9]+)y)?(([0-9]+)w)?(([0-9]+)d)?(([0-9]+)h)?(([0-9]+)m)?(([0-9]+)s)?(([0-9]+)ms)?)$",
    "minLength": 1,
}
#: The Gateway API's.
_TIMEOUT: Final[Schema] = {"type": "string", "pattern": r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"}


def _closed(required: tuple[str, ...] = (), **properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


def _many(items: Schema, *, least: int = 1, most: int = 1000) -> Schema:
    return {"type": "array", "items": items, "minItems": least, "maxItems": most}


def _resource(api_version: str, kind: str, spec: Schema) -> Schema:
    return _closed(
        ("apiVersion", "kind", "metadata", "spec"),
        apiVersion={"const": api_version},
        kind={"const": kind},
        metadata={"$ref": "#/$defs/metadata"},
        spec=spec,
    )


_SERVICE_MONITOR: Final = _closed(
    ("selector", "endpoints"),
    selector=_closed(matchLabels=_STRINGS),
    namespaceSelector=_closed(any={"type": "boolean"}, matchNames=_many(_STRING)),
    endpoints=_many(_closed(port=_STRING, path=_STRING, interval=_DURATION, scrapeTimeout=_DURATION)),
)
_RULE: Final[Schema] = {
    **_closed(
        ("expr",),
        alert={"type": "string", "minLength": 1},
        record={"type": "string", "minLength": 1},
        expr={"type": ["string", "integer"]},
        **{"for": _DURATION},
        keep_firing_for=_DURATION,
        labels=_STRINGS,
        annotations=_STRINGS,
    ),
    "oneOf": [{"required": ["alert"]}, {"required": ["record"]}],
}
_PROMETHEUS_RULE: Final = _closed(
    ("groups",),
    groups=_many(
        _closed(
            ("name", "rules"),
            name={"type": "string", "minLength": 1},
            interval=_DURATION,
            limit={"type": "integer"},
            labels=_STRINGS,
            rules=_many(_RULE),
        )
    ),
)
_HTTP_ROUTE: Final = _closed(
    parentRefs=_many(
        _closed(
            ("name",),
            group=_STRING,
            kind=_STRING,
            namespace=_STRING,
            name={"type": "string", "minLength": 1},
            sectionName=_STRING,
            port=_PORT,
        ),
        most=32,
    ),
    hostnames=_many({"type": "string", "pattern": rf"^(\*\.)?{_DNS}$", "maxLength": 253}, most=16),
    rules=_many(
        _closed(
            matches=_many(
                _closed(
                    path=_closed(
                        type={"enum": ["Exact", "PathPrefix", "RegularExpression"]},
                        value={"type": "string", "pattern": "^/", "maxLength": 1024},
                    )
                ),
                most=64,
            ),
            backendRefs=_many(_closed(("name",), name=_STRING, namespace=_STRING, port=_PORT), most=16),
            timeouts=_closed(request=_TIMEOUT, backendRequest=_TIMEOUT),
        ),
        most=16,
    ),
)
SCHEMAS: Final[dict[tuple[str, str], Schema]] = {
    (api_version, kind): _resource(api_version, kind, spec)
    for api_version, kind, spec in (
        ("monitoring.coreos.com/v1", "ServiceMonitor", _SERVICE_MONITOR),
        ("monitoring.coreos.com/v1", "PrometheusRule", _PROMETHEUS_RULE),
        ("gateway.networking.k8s.io/v1", "HTTPRoute", _HTTP_ROUTE),
    )
}
