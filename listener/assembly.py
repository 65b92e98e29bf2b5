"""From a configuration to the parts that it describes: notifiers, users, Leases. Reads secrets, makes no request."""

from __future__ import annotations

import logging
import os
import secrets
import socket
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from listener.cluster.client import Cluster, own_namespace
from listener.cluster.lease import Leases, Times
from listener.config import Config, Host, Place, Receiver, auth_from_environment, load, read_secret
from listener.config import User as UserEntry
from listener.config_htpasswd import read_htpasswd
from listener.config_logs import CA_FILE, DEFAULT_ARCHIVE, PATHS, PLAIN, SECRETS
from listener.config_problems import ConfigError, Problem
from listener.links import Signer, keys_of
from listener.logs.archive import Archive, ArchiveError, StoredArchive
from listener.logs.archive_folder import FolderStore
from listener.logs.archive_store import Store
from listener.reporting.pacing import Pace
from listener.reporting.traces import Traces
from listener.web.auth import User, Users
from notifiers.base import HostSettings, Notifier
from notifiers.registry import discover, known_kinds
from notifiers.reports import CommitStatus, Message

log = logging.getLogger(__name__)

GRACE: Final = 15.0  # seconds for what is queued to be delivered at the end
_RELOAD: Final = 2.0  # seconds between two looks at the configuration and its secrets


class Tracing(Traces, Protocol):
    """Draws traces and sends them."""

    async def close(self) -> None: ...


class StartError(Exception):
    """The service cannot run as it is set up; one sentence for the user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that a service is made from."""

    config: Config
    folder: Path  #: file names in the configuration are relative to this
    kinds: Mapping[str, type[Notifier]]
    env: Mapping[str, str]
    environment_user: tuple[str, str] | None = None  #: AUTH_USERNAME and AUTH_PASSWORD
    path: Path | None = None  #: the configuration's file, read again when it changes; None: never
    host: str = "0.0.0.0"  # noqa: S104 - a service in a pod listens on every address
    port: int = 8080
    grace: float = GRACE
    pace: Pace = field(default_factory=Pace)
    reload_every: float = _RELOAD  #: seconds
    watch_silence: tuple[float, float] = (75.0, 90.0)  #: seconds without a byte until a watch counts as dead


def read_settings(path: Path, env: Mapping[str, str], *, kinds: Mapping[str, type[Notifier]] | None = None) -> Settings:
    """The settings that a configuration file and the environment make. Raises ``ConfigError``.

    ``kinds``: notifiers that are loaded already; those that are needed beyond are loaded.
    """
    kinds = dict(kinds or {})
    loaded = load(path, known_kinds={*known_kinds(), *kinds}, env=env)
    for problem in loaded.warnings:
        log.warning("%s", problem)
    user = auth_from_environment(env)
    if user is None and not loaded.config.users:
        hint = "add users: to the file, or set AUTH_USERNAME and AUTH_PASSWORD"
        raise ConfigError([Problem(str(path), None, "users", "nobody may log in", hint)])
    receivers = [*loaded.config.hosts.values(), *loaded.config.channels.values()]
    wanted = {receiver.kind for receiver in receivers} - set(kinds)
    return Settings(
        config=loaded.config,
        folder=path.parent,
        kinds=kinds | (discover(only=wanted) if wanted else {}),
        env=env,
        environment_user=user,
        path=path,
    )


def receivers_of(config: Config) -> dict[str, Receiver]:
    """All that is written to, by name: ``hosts:`` and ``channels:``, whose names are different ones."""
    return {**config.hosts, **config.channels}


def build_notifiers(settings: Settings) -> dict[str, Notifier]:
    """A notifier for each entry of ``hosts:`` and ``channels:``. Raises ``StartError`` that names the entry."""
    return {name: build_notifier(name, entry, settings) for name, entry in receivers_of(settings.config).items()}


def build_notifier(name: str, receiver: Receiver, settings: Settings) -> Notifier:
    """The notifier of one entry. Raises ``StartError``."""
    where = f"hosts.{name}" if isinstance(receiver, Host) else f"channels.{name}"
    if receiver.kind not in settings.kinds:
        raise StartError(f"{where}: the notifier {receiver.kind} cannot be loaded, the log says why")
    kind, wanted = settings.kinds[receiver.kind], CommitStatus if isinstance(receiver, Host) else Message
    if wanted not in kind.reports:
        right = "channels" if isinstance(receiver, Host) else "hosts"
        raise StartError(f"{where}: an entry of kind {receiver.kind} belongs below {right}:")
    try:
        return kind(_host_settings(name, receiver, settings))
    except (ValueError, OSError) as error:
        raise StartError(f"{where}: {error}") from None


def _host_settings(name: str, receiver: Receiver, settings: Settings) -> HostSettings:
    app = receiver if isinstance(receiver, Host) else None
    key_file = app.private_key_file if app is not None else None
    return HostSettings(
        name=name,
        url=receiver.url,
        token_file=settings.folder / receiver.token_file if receiver.token_file else None,
        token=settings.env.get(receiver.token_env) if receiver.token_env else None,
        app_id=app.app_id if app is not None else None,
        private_key_file=settings.folder / key_file if key_file else None,
        installation_id=app.installation_id if app is not None else None,
        ca_file=settings.folder / receiver.ca_file if receiver.ca_file else None,
        request_timeout=receiver.timeout,
        threads=receiver.threads,
        seconds_between_writes=receiver.seconds_between_writes,
        options=receiver.options,
    )


def users_of(settings: Settings) -> Users:
    """The users of the configuration, of its htpasswd files and of the environment. Raises ``StartError`` for a password or a file
    that cannot be read, and for a name that is there twice."""
    users = []
    named = {user.name for user in settings.config.users}
    for user in settings.config.users:
        try:
            if user.htpasswd_file is not None:
                users += _listed_users(settings.folder / user.htpasswd_file, user, named)
                continue
            if user.password_file is not None:
                password = read_secret(settings.folder / user.password_file)
            else:
                password = settings.env[user.password_env or ""]
        except (OSError, ValueError, KeyError) as error:
            raise StartError(f"password of user {user.name or user.htpasswd_file}: {error}") from None
        users.append(User(user.name or "", password.encode(), frozenset(user.namespaces)))
    if settings.environment_user is not None:
        name, password = settings.environment_user
        users.append(User(name, password.encode(), frozenset({"*"})))
    try:
        return Users(users)
    except ValueError as error:
        raise StartError(f"users: {error}; AUTH_USERNAME and every htpasswd file count") from None


def _listed_users(path: Path, entry: UserEntry, named: Collection[str | None]) -> list[User]:
    """The users of an htpasswd file that ``entry`` stands for."""
    wanted = [
        one for one in read_htpasswd(path) if one.name == entry.name or (entry.name is None and one.name not in named)
    ]
    namespaces = frozenset(entry.namespaces)
    return [User(one.name, one.hash, namespaces, hashed=True, cost=one.cost) for one in wanted]


def build_signer(settings: Settings) -> Signer | None:
    """What signs links, or at least accepts them; None without ``signed_links:``. Raises ``StartError``."""
    wanted = settings.config.signed_links
    if wanted is None:
        return None
    try:
        if wanted.key_file is not None:
            text = read_secret(settings.folder / wanted.key_file)
        else:
            text = settings.env[wanted.key_env or ""]
        return Signer(keys_of(text), days=wanted.days)
    except (OSError, ValueError, KeyError) as error:
        raise StartError(f"signed_links: {error}") from None


def build_leases(
    settings: Settings, cluster: Cluster, *, catch_up: Callable[[], Awaitable[None]], on_change: Callable[[], None]
) -> Leases | None:
    """The Leases of ``leases:``; None without it. Raises ``StartError`` where no namespace is known."""
    wanted = settings.config.leases
    if wanted is None:
        return None
    namespace = wanted.namespace or own_namespace(settings.env)
    if namespace is None:
        raise StartError("leases.namespace: not in a pod, so say in which namespace the Leases are to be")
    pod = settings.env.get("POD_NAME") or socket.gethostname()
    return Leases(
        cluster,
        namespace=namespace,
        name=wanted.name,
        shards=wanted.shards,
        identity=f"{pod}_{os.getpid()}_{secrets.token_hex(4)}",
        times=Times(duration=wanted.duration, renew=wanted.renew_deadline, retry=wanted.retry_period),
        catch_up=catch_up,
        on_change=on_change,
    )


def build_tracing(env: Mapping[str, str]) -> Tracing | None:
    """What draws traces, where ``OTEL_EXPORTER_OTLP_ENDPOINT`` says whereto; None without. Makes no request and never fails."""
    endpoint = env.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "")
    if not endpoint and (base := env.get("OTEL_EXPORTER_OTLP_ENDPOINT")):
        endpoint = f"{base.rstrip('/')}/v1/traces"
    off = env.get("OTEL_SDK_DISABLED", "").lower() == "true" or env.get("OTEL_TRACES_EXPORTER") == "none"
    if not endpoint or off:
        return None
    protocol = env.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or env.get("OTEL_EXPORTER_OTLP_PROTOCOL") or ""
    if protocol not in ("", "http/protobuf"):
        log.warning("no traces: they are sent with http/protobuf, and OTEL_EXPORTER_OTLP_PROTOCOL says %s", protocol)
        return None
    try:
        from listener.tracing import Tracing as Drawing  # OpenTelemetry is an extra
    except ImportError as error:
        if not (error.name or "").startswith("opentelemetry"):
            raise
        log.warning("no traces: OpenTelemetry is not installed: pip install 'tekton-pipeline-listener[tracing]'")
        return None
    return Drawing(endpoint, env=env)


def build_archive(settings: Settings) -> Archive | None:
    """Where finished logs are kept; None where none are. Makes no request. Raises ``StartError``."""
    logs = settings.config.logs
    name = logs.archive or (DEFAULT_ARCHIVE if settings.config.records else None)
    if name is None:
        return None
    place = Place.of(name)
    store = FolderStore(settings.folder / name) if place is None else _cloud_store(place, settings)
    return StoredArchive(store=store, keep_seconds=logs.keep, keep_bytes=logs.keep_bytes)


def _cloud_store(place: Place, settings: Settings) -> Store:
    try:
        from listener.logs.archive_cloud import CloudStore  # obstore is an extra
    except ImportError as error:
        if error.name != "obstore":
            raise
        hint = "pip install 'tekton-pipeline-listener[archive]'"
        raise StartError(f"logs.archive: {place.scheme}:// needs obstore, which is not installed: {hint}") from None
    options, folder = settings.config.logs.archive_options, settings.folder
    plain = {key: value for key, value in options.items() if key in PLAIN[place.scheme]}
    paths = {key: str(folder / value) for key, value in options.items() if key in PATHS[place.scheme]}
    secret = {
        key.removesuffix("_file"): folder / value for key, value in options.items() if key in SECRETS[place.scheme]
    }
    ca_file = folder / options[CA_FILE] if CA_FILE in options else None
    try:
        return CloudStore(place=place, options=plain | paths, secrets=secret, ca_file=ca_file)
    except ArchiveError as error:
        raise StartError(f"logs.archive: {error}") from None


def files_of(settings: Settings) -> list[Path]:
    """The files that the configuration names, and itself: when one of them changes, it is time to read it again."""
    config, folder = settings.config, settings.folder
    names = [user.password_file or user.htpasswd_file for user in config.users]
    for host in config.hosts.values():
        names += [host.token_file, host.private_key_file, host.ca_file]
    for channel in config.channels.values():
        names += [channel.token_file, channel.ca_file]
    names.append(config.signed_links.key_file if config.signed_links is not None else None)
    files = [settings.path] if settings.path is not None else []
    return files + [folder / name for name in names if name]
