"""The YAML file as types. Every problem is found at once, each with its file, line, field and what to do about it.

The types are pydantic models: their descriptions are the reference, the editor's help and the JSON schema. Reading promises that any
file whatever gives either a ``Config`` or a ``ConfigError``. Secrets never enter a model: it holds the names of files and
environment variables, and ``read_secret`` reads them where they are needed.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from listener.config_problems import ConfigError, Problem, did_you_mean, problems_of
from listener.config_secrets import check_private_key, read_secret
from listener.config_yaml import Document, parse_yaml
from listener.template import Template

__all__ = [
    "Config",
    "ConfigError",
    "Host",
    "Leases",
    "Loaded",
    "Problem",
    "Runs",
    "Service",
    "User",
    "load",
    "read_secret",
]

_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_NAMESPACE_GLOB: Final = re.compile(r"[-a-z0-9*?]{1,63}")
_RUN_GLOB: Final = re.compile(r"[-a-z0-9.*?]*(?:\$\(service\))?[-a-z0-9.*?]*")
_ENVIRONMENT_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
BUILT_IN: Final = ("gitlab", "github")  # kinds that need a token
_APP: Final = (
    "app_id",
    "private_key_file",
    "installation_id",
)  # what github may be given instead; the first two are needed


def _url(text: str) -> str:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"not a URL: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("give a URL that begins with https:// (or http://)")
    if parts.username is not None or parts.password is not None:
        raise ValueError("no user name or password in the URL; secrets go into files")
    if parts.query or parts.fragment or port == 0:
        raise ValueError("no '?', '#' or port 0 in this URL")
    return text.rstrip("/")


def _namespace(text: str) -> str:
    if not _LABEL.fullmatch(text):
        raise ValueError("not a namespace's name: lower-case letters, digits and '-', at most 63 characters")
    return text


def _lease_name(text: str) -> str:
    if not _LABEL.fullmatch(text) or len(text) > 60:
        raise ValueError("not a Lease's name: lower-case letters, digits and '-', at most 60 characters")
    return text


def _namespace_or_all(text: str) -> str:
    return text if text == "*" else _namespace(text)


def _namespace_glob(text: str) -> str:
    if not _NAMESPACE_GLOB.fullmatch(text):
        raise ValueError("not a namespace's name or pattern: lower-case letters, digits, '-', '*' and '?'")
    return text


def _run_glob(text: str) -> str:
    if text.count("$(service)") > 1:
        raise ValueError("$(service) may stand there once")
    if "$(" in text.replace("$(service)", ""):
        raise ValueError("only $(service) may stand in a run's name pattern")
    if not text or not _RUN_GLOB.fullmatch(text):
        raise ValueError("not a pattern for run names: lower-case letters, digits, '-', '.', '*', '?' and $(service)")
    return text


def _template(text: str) -> str:
    Template.parse(text)
    return text


def _repository(text: str) -> str:
    host, colon, path = text.partition(":")
    if "://" in text:
        rest = urlsplit(text).path.strip("/").removesuffix(".git")
        raise ValueError(f"write HOST:PATH with HOST from 'hosts:', for example gitlab:{rest or 'group/project'}")
    if not colon or not host or not path:
        raise ValueError("write HOST:PATH, for example gitlab:group/project")
    Template.parse(path)
    static = re.sub(r"\$\([^)]*\)", "x", path)
    if static.startswith("/") or static.endswith("/") or "//" in static:
        raise ValueError("a path has no '/' at its ends and no empty segment")
    if any(segment in (".", "..") for segment in static.split("/")) or re.search(r"[\s\\?#%]", static):
        raise ValueError("a path has no '.' or '..' segment, no spaces and none of \\ ? # %")
    if static.endswith(".git"):
        raise ValueError(f"leave out '.git': {text.removesuffix('.git')}")
    return text


def _as_tuple(value: Any) -> Any:
    """One repository may stand without the brackets of a list."""
    return [value] if isinstance(value, str) else value


def _user_name(text: str) -> str:
    if ":" in text or not text or any(ord(character) < 32 for character in text):
        raise ValueError("a user name has no ':' and no control characters (Basic authentication)")
    return text


def _environment_name(text: str) -> str:
    if not _ENVIRONMENT_NAME.fullmatch(text):
        raise ValueError("not the name of an environment variable")
    return text


Url = Annotated[str, AfterValidator(_url)]
Namespace = Annotated[str, AfterValidator(_namespace)]
TemplateText = Annotated[str, Field(min_length=1), AfterValidator(_template)]
EnvironmentName = Annotated[str, AfterValidator(_environment_name)]
Text = Annotated[str, Field(min_length=1)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class User(_Model):
    """One who may read logs and states."""

    name: Annotated[str, AfterValidator(_user_name)] = Field(description="The user name of HTTP Basic authentication.")
    password_file: Text | None = Field(
        None, description="File that holds the password. Relative to this file's folder."
    )
    password_env: EnvironmentName | None = Field(
        None, description="Environment variable that holds the password, instead of password_file."
    )
    namespaces: Annotated[
        tuple[Annotated[str, AfterValidator(_namespace_or_all)], ...], Field(min_length=1, strict=False)
    ] = Field(description='Namespaces whose runs this user may read. ["*"] means all.')


class Host(_Model):
    """A Git host that takes commit statuses."""

    kind: Text = Field(description="gitlab, github, or what a plug-in adds.")
    url: Url | None = Field(None, description="Base URL. Without it: https://gitlab.com or https://github.com.")
    token_file: Text | None = Field(
        None,
        description=(
            "File that holds the token. GitLab: scope api, role Developer. GitHub: repo:status, or Commit statuses: write."
        ),
    )
    token_env: EnvironmentName | None = Field(
        None, description="Environment variable that holds the token, instead of token_file."
    )
    app_id: int | None = Field(
        None, ge=1, description="Number of a GitHub App with the permission Commit statuses: write, instead of a token."
    )
    private_key_file: Text | None = Field(
        None, description="PEM file with a private key of the App. Relative to this file's folder."
    )
    installation_id: int | None = Field(
        None, ge=1, description="The App's installation for all repositories. Without it: looked up for each owner."
    )
    ca_file: Text | None = Field(None, description="PEM file with the certificate authority of a self-signed host.")
    threads: int = Field(4, ge=1, le=32, description="Statuses sent to this host at once.")
    timeout: float = Field(
        8.0,
        ge=0.1,
        le=60,
        strict=False,
        description="Seconds for connecting and for each wait for bytes; three times that for a whole request.",
    )
    seconds_between_writes: float | None = Field(
        None,
        ge=0,
        le=60,
        strict=False,
        description="Pause after each status. Without it: 1 for github, as GitHub asks for; 0 for others.",
    )


class Runs(_Model):
    """Which PipelineRuns a service claims. All conditions must hold."""

    namespace: Annotated[str, AfterValidator(_namespace_glob)] = Field(
        description="The runs' namespace; '*' and '?' are allowed."
    )
    name: Annotated[str, AfterValidator(_run_glob)] = Field(
        "*", description="Pattern of the runs' names: '*', '?', and $(service) once, which captures the service's name."
    )
    labels: dict[str, str] = Field(
        default_factory=dict, description="Labels that the runs must carry with just these values."
    )


class Service(_Model):
    """Runs of one service (or of a family of services) and the repository that they report to."""

    name: TemplateText = Field(description="A name for messages; $(service) for a family, see runs.name.")
    runs: Runs = Field(description="Which PipelineRuns. The first service whose conditions hold takes the run.")
    repository: Annotated[
        tuple[Annotated[str, AfterValidator(_repository)], ...],
        BeforeValidator(_as_tuple),
        Field(min_length=1, strict=False),
    ] = Field(
        description="HOST:PATH with HOST from hosts:, or a list of these. PATH may hold $(…); a value fills one segment."
    )
    commit: TemplateText | None = Field(
        None,
        description="Where a run carries its commit, for example $(params.revision). Without it the well-known places are tried.",
    )
    ref: TemplateText | None = Field(None, description="Where a run carries its branch or tag (GitLab shows it).")
    context: TemplateText | None = Field(
        None, description="The status's name on the commit. Without it: tekton/$(run.pipeline)."
    )
    target_url: TemplateText | None = Field(
        None,
        description="The status's link, for example into the Tekton Dashboard. Without it: public_url's page of the run.",
    )
    deliver: Literal["best-effort", "guaranteed"] = Field(
        "best-effort",
        description=(
            "guaranteed: a finalizer keeps the run until its final status has arrived, where runs are pruned fast."
            " Without it a status goes out for as long as the run exists and this service runs."
        ),
    )


class Leases(_Model):
    """Several replicas: Kubernetes Leases say who reports which runs."""

    namespace: Namespace | None = Field(None, description="Where the Leases are. Without it: the pod's own namespace.")
    name: Annotated[str, AfterValidator(_lease_name)] = Field(
        "tekton-listener", description="The Leases are called NAME-00, NAME-01, …; one name per installation."
    )
    shards: int = Field(
        1, ge=1, le=64, description="Parts that the runs are divided into; as many as there are replicas."
    )
    duration: float = Field(
        15.0, ge=1, le=600, strict=False, description="Seconds without renewal after which another replica takes over."
    )
    renew_deadline: float = Field(
        10.0, gt=0, le=600, strict=False, description="Seconds without renewal after which its holder stops."
    )
    retry_period: float = Field(2.0, gt=0, le=60, strict=False, description="Seconds between renewals.")


class Config(_Model):
    """The whole file."""

    public_url: Url | None = Field(
        None,
        description="Where people reach this service; links on commits begin with it. Without it statuses carry no link.",
    )
    default_namespace: Namespace | None = Field(None, description="The namespace of /logs/RUN and /status/RUN.")
    namespaces: Annotated[tuple[Namespace, ...], Field(strict=False)] = Field(
        (), description="Namespaces to watch. Empty: the whole cluster (needs a ClusterRole)."
    )
    users: Annotated[tuple[User, ...], Field(strict=False)] = Field(
        (),
        description="Who may read logs. AUTH_USERNAME and AUTH_PASSWORD in the environment add one for all namespaces.",
    )
    hosts: dict[str, Host] = Field(default_factory=dict, description="Git hosts by a name of your choice.")
    services: Annotated[tuple[Service, ...], Field(strict=False)] = Field(
        (), description="Which runs report to which repository. The first match wins."
    )
    leases: Leases | None = Field(
        None, description="For several replicas. Without it this process reports every run, and must be the only one."
    )


K = TypeVar("K", int, str)
M = TypeVar("M", bound=_Model)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration that is right, and what is worth a warning."""

    config: Config
    warnings: tuple[Problem, ...]
    path: Path


def load(
    path: Path, *, known_kinds: Collection[str], env: Mapping[str, str] = os.environ, check_files: bool = True
) -> Loaded:
    """Read and check ``path``. Raises ``ConfigError`` with every problem.

    ``known_kinds``: kinds of hosts for which there is a notifier; ``check_files``: secrets and certificates must be readable.
    """
    document = parse_yaml(path)
    problems: list[Problem] = []
    config: Config | None = None
    try:
        config = Config.model_validate(document.data)
    except ValidationError as error:
        problems = problems_of(error, document)
    checks = _Checks(_Parts.of(document.data), document, env=env, known_kinds=known_kinds)
    checks.run(check_files=check_files)
    if config is not None and config.leases is not None:
        checks.check_leases(config.leases)
    problems += checks.problems
    if config is None or problems:
        raise ConfigError(sorted(problems, key=lambda problem: problem.line or 0))
    if config.public_url is None and any(service.target_url is None for service in config.services):
        checks.warn((), "public_url is not set: statuses on commits will carry no link to the log")
    if config.public_url and config.public_url.startswith("http://"):
        checks.warn(("public_url",), f"{config.public_url} is not encrypted: passwords can be read on the way")
    return Loaded(config, tuple(checks.warnings), path)


@dataclass(frozen=True, slots=True)
class _Parts:
    """The parts of a file that are right by themselves, with their places, even when others are wrong."""

    users: dict[int, User]
    hosts: dict[str, Host]
    services: dict[int, Service]
    host_names: tuple[str, ...]  # also of hosts that are wrong

    @classmethod
    def of(cls, data: Any) -> _Parts:
        hosts = data.get("hosts")
        hosts = hosts if isinstance(hosts, dict) else {}
        return cls(
            users=_valid(User, _numbered(data.get("users"))),
            hosts=_valid(Host, hosts),
            services=_valid(Service, _numbered(data.get("services"))),
            host_names=tuple(hosts),
        )


def _numbered(value: Any) -> dict[int, Any]:
    return dict(enumerate(value)) if isinstance(value, list) else {}


def _valid(model: type[M], entries: dict[K, Any]) -> dict[K, M]:
    found = {}
    for key, entry in entries.items():
        with contextlib.suppress(ValidationError):
            found[key] = model.model_validate(entry)
    return found


class _Checks:
    """What one field's type cannot say: whether the fields fit together, and the files they name."""

    def __init__(
        self, parts: _Parts, document: Document, *, env: Mapping[str, str], known_kinds: Collection[str]
    ) -> None:
        self._parts, self._document, self._env, self._kinds = parts, document, env, known_kinds
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []

    def run(self, *, check_files: bool) -> None:
        self._check_users()
        for name, host in self._parts.hosts.items():
            self._check_host(name, host)
        for number, service in self._parts.services.items():
            self._check_service(number, service)
        self._check_order()
        self._warn()
        if check_files:
            self._check_files()

    def check_leases(self, leases: Leases) -> None:
        """client-go's rules: the holder must have stopped before another one may begin, and have had a second try."""
        if leases.renew_deadline >= leases.duration:
            self._problem(
                ("leases", "renew_deadline"),
                f"{leases.renew_deadline:g} s is not shorter than the duration of {leases.duration:g} s",
                "the holder must stop before another one may begin, for example 10 and 15",
            )
        if leases.retry_period * 2 > leases.renew_deadline:
            self._problem(
                ("leases", "retry_period"),
                f"{leases.retry_period:g} s leaves no second try within the renew_deadline of {leases.renew_deadline:g} s",
                "make it a fifth, for example 2 and 10",
            )

    def _problem(self, where: tuple[str | int, ...], message: str, hint: str = "") -> None:
        self.problems.append(self._document.problem(where, message, hint))

    def warn(self, where: tuple[str | int, ...], message: str, hint: str = "") -> None:
        """Note what works but is worth a second look."""
        self.warnings.append(self._document.problem(where, message, hint))

    def _check_users(self) -> None:
        seen: set[str] = set()
        for number, user in self._parts.users.items():
            where = ("users", number)
            if user.name in seen:
                self._problem((*where, "name"), f"user {user.name} is there twice")
            seen.add(user.name)
            self._one_of(where, "password_file", user.password_file, "password_env", user.password_env)

    def _check_host(self, name: str, host: Host) -> None:
        where = ("hosts", name)
        if ":" in name or not name:
            self._problem(where, "a host's name has no ':'")
        if host.kind not in self._kinds:
            hint = did_you_mean(host.kind, self._kinds) or f"known are {', '.join(sorted(self._kinds))}"
            self._problem((*where, "kind"), f"no notifier of kind {host.kind}", hint)
        if any(getattr(host, field) is not None for field in _APP):
            self._check_app(where, host)
        elif host.kind in BUILT_IN or host.token_file or host.token_env:
            self._one_of(where, "token_file", host.token_file, "token_env", host.token_env)
        if host.url and host.url.startswith("http://"):
            self.warn((*where, "url"), f"{host.url} is not encrypted: the token can be read on the way", "use https://")

    def _check_app(self, where: tuple[str | int, ...], host: Host) -> None:
        first = next(field for field in _APP if getattr(host, field) is not None)
        token = "token_file" if host.token_file else "token_env" if host.token_env else None
        if host.kind != "github":
            self._problem((*where, first), "is for hosts of kind github", "give token_file (or token_env)")
        elif token is not None:
            self._problem((*where, first), f"give {token} or a GitHub App, not both")
        elif missing := [field for field in _APP[:2] if getattr(host, field) is None]:
            needs = "a GitHub App needs app_id and private_key_file; installation_id may be left out"
            self._problem(where, f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing", needs)

    def _one_of(self, where: tuple[str | int, ...], first: str, a: str | None, second: str, b: str | None) -> None:
        if a and b:
            self._problem((*where, second), f"give {first} or {second}, not both")
        elif not a and not b:
            self._problem(where, f"no secret: give {first} (or {second})")
        elif b and not self._env.get(b):
            self._problem((*where, second), f"the environment variable {b} is not set or empty")

    def _check_service(self, number: int, service: Service) -> None:
        where = ("services", number)
        captures = "$(service)" in service.runs.name
        if "$(" in service.name and service.name != "$(service)":
            self._problem((*where, "name"), "a name is plain text, or just $(service)")
        for place, text in enumerate(service.repository):
            host, _, path = text.partition(":")
            # A single repository may stand without a list; its line is then the field's own.
            spot = (*where, "repository", place)
            if host not in self._parts.host_names:
                known = ", ".join(self._parts.host_names) or "none"
                hint = did_you_mean(host, self._parts.host_names) or f"hosts: has {known}"
                self._problem(spot, f"no host {host}", hint)
            self._check_capture(spot, path, captures=captures)
        for field in ("name", "commit", "ref", "context", "target_url"):
            self._check_capture((*where, field), getattr(service, field) or "", captures=captures)

    def _check_capture(self, where: tuple[str | int, ...], text: str, *, captures: bool) -> None:
        if not captures and any(reference.source == "service" for reference in Template.parse(text).references):
            self._problem(where, "$(service) has no value", "capture it in runs.name, for example $(service)-run-*")

    def _check_order(self) -> None:
        seen: dict[str, int] = {}
        for number, service in self._parts.services.items():
            signature = json.dumps(service.runs.model_dump(), sort_keys=True)
            if signature in seen:
                first = self._document.line(("services", seen[signature]))
                self.warn(
                    ("services", number, "runs"), f"never matches: the service in line {first} claims the same runs"
                )
            seen.setdefault(signature, number)

    def _warn(self) -> None:
        used = {text.partition(":")[0] for service in self._parts.services.values() for text in service.repository}
        for name in self._parts.hosts:
            if name not in used:
                self.warn(("hosts", name), f"host {name} is not used by any service")

    def _check_files(self) -> None:
        for number, user in self._parts.users.items():
            if user.password_file:
                self._check_secret(("users", number, "password_file"), user.password_file)
        for name, host in self._parts.hosts.items():
            if host.token_file:
                self._check_secret(("hosts", name, "token_file"), host.token_file)
            if host.private_key_file:
                self._check_key(("hosts", name, "private_key_file"), host.private_key_file)
            if host.ca_file:
                path = self._document.path.parent / host.ca_file
                if not path.is_file() or not os.access(path, os.R_OK):
                    self._problem(("hosts", name, "ca_file"), f"{host.ca_file}: no such file, or not readable")

    def _check_secret(self, where: tuple[str | int, ...], name: str) -> None:
        try:
            read_secret(self._document.path.parent / name)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            self._problem(where, f"{name}: {reason}", "mount the secret there, or correct the path")

    def _check_key(self, where: tuple[str | int, ...], name: str) -> None:
        try:
            check_private_key(self._document.path.parent / name)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            self._problem(where, f"{name}: {reason}", "mount the secret there, or correct the path")
        except ValueError as error:
            self._problem(where, f"{name}: {error}", "GitHub gives one on the App's page, under 'Private keys'")


def auth_from_environment(env: Mapping[str, str]) -> tuple[str, str] | None:
    """``AUTH_USERNAME`` and ``AUTH_PASSWORD``, or None when neither is set. Raises ``ConfigError`` for half of it."""
    name, password = env.get("AUTH_USERNAME"), env.get("AUTH_PASSWORD")
    if name is None and password is None:
        return None
    if not name or not password:
        missing = "AUTH_USERNAME" if not name else "AUTH_PASSWORD"
        raise ConfigError([Problem("environment", None, missing, "is empty or not set", "set both, or neither")])
    if ":" in name:
        raise ConfigError([Problem("environment", None, "AUTH_USERNAME", "holds a ':'", "a user name cannot")])
    return name, password


def json_schema() -> dict[str, Any]:
    """The file's JSON schema, for editors."""
    schema = Config.model_json_schema()
    repository = schema["$defs"]["Service"]["properties"]["repository"]
    repository["anyOf"] = [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]
    for key in ("type", "items", "minItems"):
        repository.pop(key, None)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Tekton Pipeline Listener"}


def schema_text() -> str:
    """What ``config/listener.schema.json`` holds."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(schema_text())
