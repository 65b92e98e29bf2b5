"""The configuration's types: what each key may hold. Their descriptions are the reference, the editor's help and the JSON schema."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field

from listener.config_logs import LogSettings
from listener.config_reports import Model, Reports
from listener.template import Template

_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_NAMESPACE_GLOB: Final = re.compile(r"[-a-z0-9*?]{1,63}")
_RUN_GLOB: Final = re.compile(r"[-a-z0-9.*?]*(?:\$\(service\))?[-a-z0-9.*?]*")
_ENVIRONMENT_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


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


def _links(text: str) -> str:
    if text in ("page", "signed"):
        return text
    if not text.startswith(("https://", "http://")):
        raise ValueError("give page, signed, or a URL with $(…) that begins with https:// (or http://)")
    return _template(text)


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


def _network(text: str) -> str:
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError("not an address or network, for example 10.0.0.7 or 10.42.0.0/16") from None
    if not network.prefixlen:
        raise ValueError("that is everybody, and then anybody could claim any address; name the proxies' own network")
    return str(network)


def _environment_name(text: str) -> str:
    if not _ENVIRONMENT_NAME.fullmatch(text):
        raise ValueError("not the name of an environment variable")
    return text


Url = Annotated[str, AfterValidator(_url)]
Namespace = Annotated[str, AfterValidator(_namespace)]
TemplateText = Annotated[str, Field(min_length=1), AfterValidator(_template)]
EnvironmentName = Annotated[str, AfterValidator(_environment_name)]
Text = Annotated[str, Field(min_length=1)]


class User(Model):
    """One who may read logs and states."""

    name: Annotated[str, AfterValidator(_user_name)] | None = Field(
        None,
        description="The user name of HTTP Basic authentication. With htpasswd_file it may be left out: all users of the file.",
    )
    password_file: Text | None = Field(
        None, description="File that holds the password. Relative to this file's folder."
    )
    password_env: EnvironmentName | None = Field(
        None, description="Environment variable that holds the password, instead of password_file."
    )
    htpasswd_file: Text | None = Field(
        None,
        description=(
            "Instead of a password: an htpasswd file with bcrypt hashes (htpasswd -B), read again when it changes. With a name:"
            " this one user of the file; without: all users of the file that no other entry names."
        ),
    )
    namespaces: Annotated[
        tuple[Annotated[str, AfterValidator(_namespace_or_all)], ...], Field(min_length=1, strict=False)
    ] = Field(description='Namespaces whose runs this user may read. ["*"] means all.')


class Receiver(Model):
    """What hosts and channels have in common."""

    kind: Text
    url: Url | None = None
    token_file: Text | None = None
    token_env: EnvironmentName | None = Field(
        None, description="Environment variable that holds the token, instead of token_file."
    )
    ca_file: Text | None = Field(None, description="PEM file with the certificate authority of a self-signed host.")
    threads: int = Field(4, ge=1, le=32, description="Reports sent there at once.")
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
        description="Pause after each report. Without it: 1 for github, as GitHub asks for; 0 for others.",
    )
    options: dict[Text, str] = Field(
        default_factory=dict, description="What only this kind knows; its documentation names them. No secrets."
    )


class Channel(Receiver):
    """Where messages about runs go: a chat, whoever is on call, a webhook."""

    kind: Text = Field(description="apprise (chat, mail, on-call), webhook (CloudEvents), or what a plug-in adds.")
    url: Url | None = Field(
        None, description="Where a webhook is posted to. A URL that is a secret goes into token_file."
    )
    token_file: Text | None = Field(
        None,
        description=(
            "apprise: a file with its URLs, one per line. webhook: a file with the key that events are signed with. Read again when"
            " it changes. Relative to this file's folder."
        ),
    )


class Host(Receiver):
    """A Git host that takes commit statuses."""

    kind: Text = Field(
        description="gitlab, github, another one of README's table of Git hosts, or what a plug-in adds."
    )
    url: Url | None = Field(
        None,
        description=(
            "Base URL. Without it the kind's public host: https://gitlab.com, https://github.com, another one of README's table of Git hosts;"
            " where that names none, a URL is needed."
        ),
    )
    token_file: Text | None = Field(
        None,
        description=(
            "File that holds the token. GitLab: scope api, role Developer. GitHub: repo:status, or Commit statuses: write. Other kinds:"
            " see README's table of Git hosts."
        ),
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


class Runs(Model):
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


class Service(Reports):
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
    fallback_repository: Annotated[
        tuple[Annotated[str, AfterValidator(_repository)], ...],
        BeforeValidator(_as_tuple),
        Field(strict=False),
    ] = Field(
        (),
        description=(
            "HOST:PATH of a second repository on the same host, for commits of forks: where the first one answers 403 or 404,"
            " the commit's statuses go there. Or a list, one for each host of repository."
        ),
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
        description="The status's link, for example into the Tekton Dashboard. Without it: what links: says.",
    )
    deliver: Literal["best-effort", "guaranteed"] = Field(
        "best-effort",
        description=(
            "guaranteed: a finalizer keeps the run until its final status has arrived, where runs are pruned fast."
            " Without it a status goes out for as long as the run exists and this service runs."
        ),
    )
    logs: Literal["on-demand", "record"] | None = Field(
        None,
        description=(
            "record: record the runs' logs with or without a reader, so that cancelled and deleted runs keep theirs."
            " on-demand: only once somebody reads. Without it: as logs.record says."
        ),
    )


class SignedLinks(Model):
    """Keys for links that open one run's page and log without a password, until they expire."""

    key_file: Text | None = Field(
        None,
        description=(
            "File with a key of at least 32 characters. Several lines: the first one signs, all are accepted, so that a key"
            " can be replaced. Relative to this file's folder."
        ),
    )
    key_env: EnvironmentName | None = Field(
        None, description="Environment variable that holds the key or keys, instead of key_file."
    )
    days: float = Field(30.0, gt=0, le=3650, strict=False, description="From a run's creation until its links expire.")


class Leases(Model):
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


class Config(Model):
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
    trusted_proxies: Annotated[tuple[Annotated[str, AfterValidator(_network)], ...], Field(strict=False)] = Field(
        (),
        description=(
            "Addresses or networks of the ingress or load balancer in front, for example 10.42.0.0/16: only from these"
            " X-Forwarded-For is believed, when failed logins are counted for each client."
        ),
    )
    hosts: dict[str, Host] = Field(default_factory=dict, description="Git hosts by a name of your choice.")
    channels: dict[str, Channel] = Field(
        default_factory=dict,
        description="Chats, on-call and webhooks by a name of your choice, for notify: of services.",
    )
    services: Annotated[tuple[Service, ...], Field(strict=False)] = Field(
        (), description="Which runs report to which repository. The first match wins."
    )
    links: Annotated[str, AfterValidator(_links)] = Field(
        "page",
        description=(
            "Where statuses lead, unless a service has a target_url. page: the run's page, which asks for a password; signed: the"
            " same page without one, see signed_links; or a URL with $(…), for example into the Tekton Dashboard."
        ),
    )
    signed_links: SignedLinks | None = Field(
        None, description="The key of links: signed. Links that it has signed are accepted as long as it stands here."
    )
    leases: Leases | None = Field(
        None, description="For several replicas. Without it this process reports every run, and must be the only one."
    )
    logs: LogSettings = Field(
        default_factory=lambda: LogSettings.model_validate({}),
        description="Recording of logs, where finished ones are kept, and limits for readers.",
    )

    @property
    def records(self) -> bool:
        """Logs of some runs are recorded with or without readers."""
        return self.logs.record or any(service.logs == "record" for service in self.services)
