"""``python -m tests.docs.reference`` writes docs/configuration.md from the types: every key, template value, variable and command.

The words of a key are its description in the types; nothing is written twice. What the code cannot tell (what an environment variable is
for) stands here, and a test compares the names with those that the code asks for.
"""

from __future__ import annotations

import argparse
import types
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le
from pydantic import AfterValidator, BaseModel, BeforeValidator
from pydantic.fields import FieldInfo

from listener import cli, config_logs, config_model, config_reports, config_units
from listener.config_model import Config
from listener.reporting import routing
from listener.template import FACTS, RUN_FIELDS, SOURCES
from tests.docs.markdown import ROOT, anchor

DOCUMENT: Final = ROOT / "docs" / "configuration.md"

#: In the order of the document: heading, type, the key that it stands under.
SECTIONS: Final[tuple[tuple[str, type[BaseModel], str], ...]] = (
    ("The whole file", Config, ""),
    ("A user", config_model.User, "users:"),
    ("A Git host", config_model.Host, "hosts: NAME:"),
    ("A channel", config_model.Channel, "channels: NAME:"),
    ("A service", config_model.Service, "services:"),
    ("Which runs", config_model.Runs, "services: runs:"),
    ("A comment", config_reports.CommentSettings, "services: comment:"),
    ("A message", config_reports.Notify, "services: notify:"),
    ("Signed links", config_model.SignedLinks, "signed_links:"),
    ("Leases", config_model.Leases, "leases:"),
    ("Logs", config_logs.LogSettings, "logs:"),
)
_HEADINGS: Final[Mapping[Any, str]] = {kind: heading for heading, kind, _ in SECTIONS}
_CALLED: Final[Mapping[Any, str]] = {
    config_model._url: "URL",
    config_model._template: "text with `$(…)`",
    config_model._repository: "`HOST:PATH`",
    config_model._links: "`page`, `signed`, or a URL with `$(…)`",
    config_model._namespace: "namespace",
    config_model._namespace_or_all: "namespace, or `*`",
    config_model._namespace_glob: "pattern",
    config_model._run_glob: "pattern",
    config_model._network: "address or network",
    config_model._environment_name: "name of a variable",
    config_model._lease_name: "name",
    config_model._user_name: "name",
    config_reports._text: "text with `$(…)` and facts",
    config_reports._plain_template: "text with `$(…)`",
    config_reports._label: "label",
    config_reports._comment: "",  # what it takes is in its types
    config_units.seconds_of: "time: `30s`, `5m`, `2h`, `30d`",
    config_units.bytes_of: "size: `500MiB`, `10GiB`",
    config_logs._archive: "folder or `s3://`, `gs://`, `az://` place",
}
_LISTED: Final = (config_model._as_tuple, config_reports._listed)
_PLAIN: Final[Mapping[Any, str]] = {str: "text", int: "whole number", float: "number", bool: "`true` or `false`"}

#: What the process reads beside its file. OpenTelemetry's own are in docs/operations.md.
VARIABLES: Final[Mapping[str, str]] = {
    "TEKTON_LISTENER_CONFIG": "The configuration's file, where no command line names one. Without it `config/listener.yaml`.",
    "PORT": "Where HTTP is served. Without it 8080.",
    "AUTH_USERNAME": "With `AUTH_PASSWORD`: one more user, who may read the runs of all namespaces.",
    "AUTH_PASSWORD": "That user's password.",
    "LOG_LEVEL": "`DEBUG`, `INFO`, `WARNING` or `ERROR`. Without it `INFO`.",
    "LOG_FORMAT": "`console` (for people) or `json` (for machines). Without it `console`.",
    "KUBECONFIG": "The cluster, outside of one. Without it `~/.kube/config`. Within a cluster the pod's service account is taken.",
    "POD_NAME": "This replica's name in Leases and traces. Without it the host's name. The chart sets it.",
    "POD_NAMESPACE": "The namespace of the Leases, where `leases.namespace` does not say. The chart sets it.",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "Where traces are sent, see [operations](operations.md#traces). Without it, or with `OTEL_TRACES_EXPORTER=none`, there are none. `OTEL_EXPORTER_OTLP_PROTOCOL` (or `OTEL_EXPORTER_OTLP_TRACES_PROTOCOL`) may say `http/protobuf` and nothing else.",
    "NO_PROXY": "As usual, with `HTTPS_PROXY` and `http_proxy`: the way to the API server and to Git hosts.",
}


def document() -> str:
    """The whole page."""
    return "\n\n".join(_parts()) + "\n"


def _parts() -> Iterator[str]:
    yield "# Configuration reference"
    yield "<!-- written by: make schema; from listener/config_*.py and tests/docs/reference.py -->"
    yield (
        "Every key, value and variable, written from the code. [config/listener.yaml](../config/listener.yaml) shows the same as a file with\n"
        "comments; [recipes](recipes.md) shows what is put together for what. `tekton-listener check-config FILE` names every mistake with its\n"
        "line. A key that does not exist is an error. Names of files are relative to the configuration's folder."
    )
    yield "\n".join(f"- [{heading}](#{anchor(heading)})" for heading in _contents())
    for heading, kind, place in SECTIONS:
        yield f"## {heading}"
        where = f" Stands under `{place}`." if place else ""
        if place:
            yield f"{(kind.__doc__ or '').strip().splitlines()[0]}{where}"
        yield table(kind)
    yield from _templates()
    yield from _archive_options()
    yield from _surroundings()


def _contents() -> list[str]:
    more = ["Values in texts", "Where a commit is looked for", "Options of the archive", "Environment", "Command line"]
    return [heading for heading, _, _ in SECTIONS] + more


def table(kind: type[BaseModel]) -> str:
    """The keys of one type, as Markdown."""
    rows = ["| key | type | default | |", "|---|---|---|---|"]
    for name, field in kind.model_fields.items():
        cells = (f"`{name}`", type_of(field), default_of(field), field.description or "")
        rows.append(f"| {' | '.join(_cell(cell) for cell in cells)} |")
    return "\n".join(rows)


def _cell(text: str) -> str:
    return text.replace("|", r"\|").replace("\n", " ")


def type_of(field: FieldInfo) -> str:
    """What may stand there, for people."""
    return _words(field.annotation, tuple(field.metadata))


def default_of(field: FieldInfo) -> str:
    """What it is without the key; a bold word where there is no default."""
    if field.is_required():
        return "**needed**"
    extra = field.json_schema_extra
    if isinstance(extra, dict) and "default" in extra:
        return f"`{extra['default']}`"
    if field.default_factory is not None:
        return ""
    value = field.get_default()
    match value:
        case None | () | "":
            return ""
        case bool():
            return f"`{str(value).lower()}`"
        case tuple():
            return f"`[{', '.join(map(str, value))}]`"
        case float():
            return f"`{value:g}`"
        case _:
            return f"`{value}`"


def _words(annotation: Any, metadata: tuple[Any, ...] = ()) -> str:
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *more = get_args(annotation)
        return _words(inner, (*metadata, *more))
    called = next((_CALLED[found.func] for found in metadata if _validates(found) and found.func in _CALLED), "")
    if called:
        return called
    if any(_validates(found) and found.func in _LISTED for found in metadata):
        return f"{_words(get_args(annotation)[0])}; or a list of these"
    if origin in (Union, types.UnionType):
        return " or ".join(_words(one, metadata) for one in get_args(annotation) if one is not type(None))
    if origin is Literal:
        return ", ".join(f"`{word}`" for word in get_args(annotation))
    if origin is tuple:
        return f"list: {_words(get_args(annotation)[0])}"
    if origin is dict:
        key, value = get_args(annotation)
        names = _words(key) if get_origin(key) is Literal else ""
        return f"map{f' of {names}' if names else ''}: {_words(value)}"
    if annotation in _HEADINGS:
        heading = _HEADINGS[annotation]
        return f"[{heading.lower()}](#{anchor(heading)})"
    return f"{_PLAIN[annotation]}{_range(metadata)}"


def _validates(found: Any) -> bool:
    return isinstance(found, AfterValidator | BeforeValidator)


def _range(metadata: tuple[Any, ...]) -> str:
    least = next((found.ge for found in metadata if isinstance(found, Ge)), None)
    above = next((found.gt for found in metadata if isinstance(found, Gt)), None)
    most = next((found.le for found in metadata if isinstance(found, Le)), None)
    if least is not None and most is not None:
        return f", {least} to {most}"
    if above is not None and most is not None:
        return f" above {above}, at most {most}"
    return f", at least {least}" if least is not None else ""


def _templates() -> Iterator[str]:
    yield "## Values in texts"
    yield (
        '`$(…)` is Tekton\'s own notation. There are no expressions. A name with dots is written `$(params["a.b"])`. Where a value that decides\n'
        "where to report is missing, the run is unroutable: an Event on it says which one. In a text for people it is left empty."
    )
    rows = ["| `$(…)` | in every key that takes `$(…)` |", "|---|---|"]
    rows += [
        f"| `$({source}.{'KEY' if source in ('labels', 'annotations') else 'NAME'})` | one of the run's {source} |"
        for source in SOURCES
    ]
    rows += [f"| `$(run.{name})` | the run's {name} |" for name in RUN_FIELDS]
    rows += ["| `$(service)` | the service's name; where a run reports to may use it only if `runs.name` captures it |"]
    yield "\n".join(rows)
    yield "Texts for people (`description`, `comment.text`, `notify.text`) take these facts as well:"
    rows = ["| source | names |", "|---|---|"]
    rows += [
        f"| `{source}` | {', '.join(f'`$({source}.{name})`' for name in names)} |" for source, names in FACTS.items()
    ]
    yield "\n".join(rows)
    yield "## Where a commit is looked for"
    yield (
        "With `commit:` only there. Without it these places are tried, in this order. Only 40 or 64 hex digits are a commit; a branch's name is\n"
        "passed over."
    )
    yield (
        "\n".join(
            f"{number}. {what}: {', '.join(f'`{name}`' for name in names)}"
            for number, (what, names) in enumerate(
                (
                    ("parameters", routing.COMMIT_PARAMS),
                    ("labels and annotations", routing.COMMIT_LABELS),
                    ("results", routing.COMMIT_RESULTS),
                ),
                1,
            )
        )
        + "\n4. `status.provenance`, where its source is the repository"
    )


def _archive_options() -> Iterator[str]:
    yield "## Options of the archive"
    yield (
        "`logs.archive_options` for each kind of place. Those that end in `_file` with a secret hold the name of a file. `ca_file` is taken by\n"
        "all of them. They need the extra `archive`."
    )
    rows = ["| place | options | files that are no secret | files with a secret |", "|---|---|---|---|"]
    for scheme in config_logs.PLAIN:
        cells = (config_logs.PLAIN[scheme], config_logs.PATHS[scheme], config_logs.SECRETS[scheme])
        rows.append(
            f"| `{scheme}://` | " + " | ".join(", ".join(f"`{one}`" for one in sorted(c)) for c in cells) + " |"
        )
    yield "\n".join(rows)


def _surroundings() -> Iterator[str]:
    yield "## Environment"
    yield "\n".join(
        ["| variable | |", "|---|---|"] + [f"| `{name}` | {_cell(text)} |" for name, text in VARIABLES.items()]
    )
    yield "## Command line"
    yield "\n".join(_commands())
    yield (
        "`python -m listener` is the same. Exit codes: 0 stopped by a signal, or all is well; 1 could not run (one line says why), problems were\n"
        "found (`doctor`), or the run leads nowhere (`check-config --run`); 2 a wrong configuration or command line. SIGHUP reads the\n"
        "configuration again; SIGTERM and SIGINT end the service in order."
    )


def commands() -> dict[str, argparse.ArgumentParser]:
    """The parser of each command."""
    parser = cli._parser()
    (found,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return dict(found.choices)


def options(parser: argparse.ArgumentParser) -> list[tuple[str, str]]:
    """The arguments of a command as they are written, each with its help."""
    found = []
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction):
            continue
        value = "" if action.nargs == 0 else f" {action.metavar or action.dest.upper()}"
        name = f"{action.option_strings[-1]}{value}" if action.option_strings else str(action.metavar)
        found.append((name, action.help or ""))
    return found


def _commands() -> Iterator[str]:
    parser = cli._parser()
    (found,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    helps = {action.dest: action.help or "" for action in found._choices_actions}
    yield "| command | option | |"
    yield "|---|---|---|"
    for name, command in commands().items():
        yield f"| `tekton-listener {name}` | | {_cell(helps[name])} |"
        for option, text in options(command):
            yield f"| | `{option}` | {_cell(text)} |"


if __name__ == "__main__":
    DOCUMENT.write_text(document())
