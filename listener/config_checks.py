"""What one field's type cannot say: whether the configuration's fields fit together, and whether the files it names can be used."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from listener.config_htpasswd import WEAKEST, HtpasswdError, read_htpasswd
from listener.config_logs import CA_FILE, DEFAULT_ARCHIVE, PATHS, PLAIN, SECRETS, Place
from listener.config_model import Channel, Config, Host, Leases, Receiver, Service, User
from listener.config_problems import Problem, did_you_mean
from listener.config_reports import Model
from listener.config_secrets import check_private_key, read_secret
from listener.config_yaml import Document
from listener.template import Template
from notifiers.registry import needs_token

_APP: Final = (
    "app_id",
    "private_key_file",
    "installation_id",
)  # what github may be given instead; the first two are needed
K = TypeVar("K", int, str)
M = TypeVar("M", bound=Model)


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a file that are right by themselves, with their places, even when others are wrong."""

    users: dict[int, User]
    hosts: dict[str, Host]
    services: dict[int, Service]
    channels: dict[str, Channel]
    host_names: tuple[str, ...]  # also of hosts that are wrong
    channel_names: tuple[str, ...]

    @classmethod
    def of(cls, data: Any) -> Parts:
        hosts, channels = _named(data.get("hosts")), _named(data.get("channels"))
        return cls(
            users=_valid(User, _numbered(data.get("users"))),
            hosts=_valid(Host, hosts),
            services=_valid(Service, _numbered(data.get("services"))),
            channels=_valid(Channel, channels),
            host_names=tuple(hosts),
            channel_names=tuple(channels),
        )


def _named(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _numbered(value: Any) -> dict[int, Any]:
    return dict(enumerate(value)) if isinstance(value, list) else {}


def _valid(model: type[M], entries: dict[K, Any]) -> dict[K, M]:
    found = {}
    for key, entry in entries.items():
        with contextlib.suppress(ValidationError):
            found[key] = model.model_validate(entry)
    return found


class Checks:
    """What one field's type cannot say: whether the fields fit together, and the files they name."""

    def __init__(
        self, parts: Parts, document: Document, *, env: Mapping[str, str], known_kinds: Collection[str]
    ) -> None:
        self._parts, self._document, self._env, self._kinds = parts, document, env, known_kinds
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []

    def run(self, *, check_files: bool) -> None:
        self._check_users()
        for name, host in self._parts.hosts.items():
            self._check_host(name, host)
        for name, channel in self._parts.channels.items():
            self._check_channel(name, channel)
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

    def check_links(self, config: Config, *, check_files: bool) -> None:
        """Signed links need a key, and a template's $(…) a service to take it from."""
        signed = config.signed_links
        if config.links == "signed" and signed is None:
            self._problem(
                ("links",), "signed needs a key", "add signed_links: {key_file: FILE}, from openssl rand -hex 32"
            )
        if "$(service)" in config.links:
            self._problem(("links",), "$(service) has no value here", "write it into the service's target_url")
        if signed is None:
            return
        where = ("signed_links",)
        self._one_of(where, "key_file", signed.key_file, "key_env", signed.key_env)
        if signed.key_file and check_files:
            self._check_secret((*where, "key_file"), signed.key_file)

    def check_logs(self, config: Config, *, check_files: bool) -> None:
        """Whether the archive's options are some that its place has, its files are readable and the limits fit together."""
        logs = config.logs
        if logs.spool_total < logs.spool_bytes:
            self._problem(("logs", "spool_total"), "is less than one run may print, see spool_bytes")
        if logs.streams_per_user > logs.streams and "streams_per_user" in logs.model_fields_set:
            self._problem(("logs", "streams_per_user"), "is more than there are in all, see streams")
        place = Place.of(logs.archive) if logs.archive is not None else None
        for key, value in logs.archive_options.items():
            self._check_option(place, key, value, check_files=check_files)
        if config.records and logs.archive is None:
            self.warn(
                ("logs",),
                f"recorded logs are kept in the folder {DEFAULT_ARCHIVE} beside this file",
                "name another place in logs.archive, a folder or s3://BUCKET/PREFIX",
            )

    def _check_option(self, place: Place | None, key: str, value: str, *, check_files: bool) -> None:
        where = ("logs", "archive_options", key)
        if place is None:
            self._problem(where, "is for an archive in s3://, gs:// or az://")
            return
        scheme = place.scheme
        known = PLAIN[scheme] | PATHS[scheme] | SECRETS[scheme] | {CA_FILE}
        if f"{key}_file" in SECRETS[scheme]:
            self._problem(where, "a secret does not stand here", f"give {key}_file, the name of a file with it")
        elif key not in known:
            hint = did_you_mean(key, known) or f"known for {scheme}:// are {', '.join(sorted(known))}"
            self._problem(where, "unknown option", hint)
        elif check_files and key in SECRETS[scheme]:
            self._check_secret(where, value)
        elif check_files and (key in PATHS[scheme] or key == CA_FILE):
            self._check_readable(where, value)
        elif value.startswith("http://"):
            self.warn(where, f"{value} is not encrypted: logs can be read on the way", "use https://")

    def _problem(self, where: tuple[str | int, ...], message: str, hint: str = "") -> None:
        self.problems.append(self._document.problem(where, message, hint))

    def warn(self, where: tuple[str | int, ...], message: str, hint: str = "") -> None:
        """Note what works but is worth a second look."""
        self.warnings.append(self._document.problem(where, message, hint))

    def _check_users(self) -> None:
        seen: set[str] = set()
        for number, user in self._parts.users.items():
            where = ("users", number)
            if user.name is not None and user.name in seen:
                self._problem((*where, "name"), f"user {user.name} is there twice")
            seen.add(user.name or "")
            if user.htpasswd_file is None:
                if user.name is None:
                    self._problem(where, "name is missing")
                self._one_of(where, "password_file", user.password_file, "password_env", user.password_env)
            elif user.password_file or user.password_env:
                self._problem((*where, "htpasswd_file"), "give a password or htpasswd_file, not both")

    def _check_host(self, name: str, host: Host) -> None:
        where = ("hosts", name)
        if ":" in name or not name:
            self._problem(where, "a host's name has no ':'")
        self._check_receiver(where, host)
        if any(getattr(host, field) is not None for field in _APP):
            self._check_app(where, host)
        elif needs_token(host.kind) or host.token_file or host.token_env:
            self._one_of(where, "token_file", host.token_file, "token_env", host.token_env)

    def _check_channel(self, name: str, channel: Channel) -> None:
        where = ("channels", name)
        if name in self._parts.host_names:
            self._problem(where, f"a host is called {name} as well", "each receiver needs a name of its own")
        self._check_receiver(where, channel)
        if channel.token_file or channel.token_env:
            self._one_of(where, "token_file", channel.token_file, "token_env", channel.token_env)

    def _check_receiver(self, where: tuple[str, str], receiver: Receiver) -> None:
        if receiver.kind not in self._kinds:
            hint = did_you_mean(receiver.kind, self._kinds) or f"known are {', '.join(sorted(self._kinds))}"
            self._problem((*where, "kind"), f"no notifier of kind {receiver.kind}", hint)
        if receiver.url and receiver.url.startswith("http://"):
            what = "the token" if where[0] == "hosts" else "what is sent"
            self.warn(
                (*where, "url"), f"{receiver.url} is not encrypted: {what} can be read on the way", "use https://"
            )

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
        # A single repository may stand without a list; its line is then the field's own.
        for field in ("repository", "fallback_repository"):
            for place, text in enumerate(getattr(service, field)):
                host, _, path = text.partition(":")
                spot = (*where, field, place)
                if host not in self._parts.host_names:
                    known = ", ".join(self._parts.host_names) or "none"
                    hint = did_you_mean(host, self._parts.host_names) or f"hosts: has {known}"
                    self._problem(spot, f"no host {host}", hint)
                self._check_capture(spot, path, captures=captures)
        self._check_fallbacks(where, service)
        for field in ("name", "commit", "ref", "context", "target_url", "environment", "environment_url"):
            self._check_capture((*where, field), getattr(service, field) or "", captures=captures)
        self._check_reports(where, service)

    def _check_reports(self, where: tuple[str | int, ...], service: Service) -> None:
        for number, rule in enumerate(service.notify):
            spot = (*where, "notify", number)
            if rule.channel not in self._parts.channel_names:
                known = ", ".join(self._parts.channel_names) or "none"
                hint = did_you_mean(rule.channel, self._parts.channel_names) or f"channels: has {known}"
                self._problem((*spot, "channel"), f"no channel {rule.channel}", hint)
        if service.environment_url and not service.environment:
            self._problem((*where, "environment_url"), "there is no environment", "name it with environment:")
        if service.optional_tasks and "tasks" not in service.report:
            self.warn((*where, "optional_tasks"), "says nothing without report: [run, tasks]")
        if "checks" in service.report:
            self._check_checks((*where, "report"), service)

    def _check_checks(self, where: tuple[str | int, ...], service: Service) -> None:
        """GitHub's check runs can be written by a GitHub App alone; other hosts have none and get statuses."""
        hosts = [self._parts.hosts.get(text.partition(":")[0]) for text in service.repository]
        ours = [host for host in hosts if host is not None and host.kind == "github"]
        if not ours and all(host is not None and needs_token(host.kind) for host in hosts):
            self._problem(where, "checks are GitHub's, and the service reports to no host of kind github")
        for host in ours:
            if host.app_id is None:
                hint = "give the host app_id and private_key_file, with the permission Checks: write"
                self._problem(where, "checks can be written by a GitHub App only, and the host has a token", hint)

    def _check_fallbacks(self, where: tuple[str | int, ...], service: Service) -> None:
        """One for each host of ``repository`` at most."""
        first = {text.partition(":")[0] for text in service.repository}
        seen: set[str] = set()
        for place, text in enumerate(service.fallback_repository):
            host, spot = text.partition(":")[0], (*where, "fallback_repository", place)
            if host not in first and host in self._parts.host_names:
                hint = "it is tried when a repository of the same host answers 403 or 404"
                self._problem(spot, f"repository has nothing on host {host}", hint)
            if host in seen:
                self._problem(spot, f"a second one on host {host}", "there is one for each host")
            if text in service.repository:
                self._problem(spot, f"{text} is the repository itself")
            seen.add(host)

    def _check_capture(self, where: tuple[str | int, ...], text: str, *, captures: bool) -> None:
        if not captures and any(
            reference.source == "service" for reference in Template.parse(text, facts=True).references
        ):
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
        told = {rule.channel for service in self._parts.services.values() for rule in service.notify}
        for name in self._parts.channels:
            if name not in told:
                self.warn(("channels", name), f"channel {name} is not used by any service", "add notify: to a service")

    def _check_files(self) -> None:
        for number, user in self._parts.users.items():
            if user.password_file:
                self._check_secret(("users", number, "password_file"), user.password_file)
            if user.htpasswd_file:
                self._check_htpasswd(("users", number), user, user.htpasswd_file)
        for name, host in self._parts.hosts.items():
            if host.token_file:
                self._check_secret(("hosts", name, "token_file"), host.token_file)
            if host.private_key_file:
                self._check_key(("hosts", name, "private_key_file"), host.private_key_file)
            if host.ca_file:
                self._check_readable(("hosts", name, "ca_file"), host.ca_file)
        for name, channel in self._parts.channels.items():
            if channel.token_file:
                self._check_secret(("channels", name, "token_file"), channel.token_file)
            if channel.ca_file:
                self._check_readable(("channels", name, "ca_file"), channel.ca_file)

    def _check_readable(self, where: tuple[str | int, ...], name: str) -> None:
        path = self._document.path.parent / name
        if not path.is_file() or not os.access(path, os.R_OK):
            self._problem(where, f"{name}: no such file, or not readable")

    def _check_secret(self, where: tuple[str | int, ...], name: str) -> None:
        try:
            read_secret(self._document.path.parent / name)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            self._problem(where, f"{name}: {reason}", "mount the secret there, or correct the path")

    def _check_htpasswd(self, where: tuple[str | int, ...], user: User, name: str) -> None:
        spot = (*where, "htpasswd_file")
        try:
            entries = read_htpasswd(self._document.path.parent / name)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            self._problem(spot, f"{name}: {reason}", "mount the file there, or correct the path")
            return
        except HtpasswdError as error:
            for line, words in error.problems:
                self._problem(spot, f"{name}:{line}: {words}" if line else f"{name}: {words}")
            return
        if user.name is not None and all(entry.name != user.name for entry in entries):
            self.warn((*where, "name"), f"{name} has no user {user.name}: nobody can log in by that name")
        weak = [entry for entry in entries if entry.cost < WEAKEST]
        if weak:
            what = f"{name}:{weak[0].line}: a hash of cost {weak[0].cost} can be guessed fast by whoever gets the file"
            self.warn(
                spot,
                what,
                f"htpasswd -B -C 12 FILE NAME makes one of 12; {len(weak)} of {len(entries)} are below {WEAKEST}",
            )

    def _check_key(self, where: tuple[str | int, ...], name: str) -> None:
        try:
            check_private_key(self._document.path.parent / name)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            self._problem(where, f"{name}: {reason}", "mount the secret there, or correct the path")
        except ValueError as error:
            self._problem(where, f"{name}: {error}", "GitHub gives one on the App's page, under 'Private keys'")
