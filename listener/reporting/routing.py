"""From a run to the commits it reports to: which service claims it, which repository, commit and context.

The operator's configuration decides; a run's own fields can only select among what the configuration allows. A value from a run fills
at most one segment of a repository's path, unless the configuration leaves the whole path to the run, and then a URL must match
the configured host exactly. A commit is 40 or 64 hex digits and nothing else: what cannot be told is reported as
``Unroutable`` with the reason, never guessed. Pure: the same run gives the same answer.
"""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, quote, urlsplit

from listener.cluster.objects import PipelineRun
from listener.config import Config, Service
from listener.reporting.aspects import expand, policy_of
from listener.reporting.target import Target
from listener.reporting.values import Values
from listener.template import Missing, Template
from notifiers.base import Notifier

_COMMIT: Final = re.compile(r"[0-9a-fA-F]{40}(?:[0-9a-fA-F]{24})?")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
DEFAULT_CONTEXT: Final = "tekton/$(run.pipeline)"

# Where runs carry their commit when nobody says so, tried in this order.
COMMIT_PARAMS: Final = (
    "revision",
    "git-revision",
    "commit",
    "sha",
    "git-commit",
    "git-sha",
    "commit-sha",
    "commit-id",
    "gitrevision",
    "gitsha",
    "git_revision",
    "git_commit",
    "commit_sha",
    "SHA",
    "GIT_COMMIT",
    "CI_COMMIT_SHA",
)
COMMIT_LABELS: Final = (
    "pipelinesascode.tekton.dev/sha",  # Pipelines-as-Code, as label and as annotation
    "tekton.dev/git-commit",
    "tekton.dev/commit",
    "tekton.dev/sha",
)
COMMIT_RESULTS: Final = ("commit", "CHAINS-GIT_COMMIT", "commit-sha", "revision")
_REF_PARAMS: Final = ("branch", "git-branch", "source-branch", "CI_COMMIT_REF_NAME")
_REF_ANNOTATIONS: Final = ("pipelinesascode.tekton.dev/source-branch",)


@dataclass(frozen=True, slots=True)
class Unroutable:
    """A service claims the run, but the run does not say what is needed."""

    service: str
    reason: str


@dataclass(frozen=True, slots=True)
class _Repository:
    host: str
    path: Template
    whole: bool  # the path is one reference and nothing else


class _Rule:
    """One service, compiled."""

    def __init__(self, service: Service, config: Config) -> None:
        self.name, self.service = service.name, service
        self.captures = "$(service)" in service.runs.name
        self.namespace = re.compile(_glob(service.runs.namespace))
        self.run_name = re.compile(_pattern(service.runs.name))
        self.labels = dict(service.runs.labels)
        self.repositories = [_repository(text) for text in service.repository]
        self.fallbacks = {wanted.host: wanted for wanted in map(_repository, service.fallback_repository)}
        self.commit = Template.parse(service.commit) if service.commit else None
        self.ref = Template.parse(service.ref) if service.ref else None
        self.context = Template.parse(service.context or DEFAULT_CONTEXT)
        link = service.target_url or (config.links if config.links not in ("page", "signed") else None)
        self.target_url = Template.parse(link) if link else None
        self.public_url = (config.public_url or "").rstrip("/")
        self.policy = policy_of(service)

    def match(self, run: PipelineRun) -> str | None:
        """The service's name if it claims ``run``, else None."""
        found = self.run_name.fullmatch(run.name)
        if found is None or not self.namespace.fullmatch(run.namespace):
            return None
        if any(run.labels.get(key) != value for key, value in self.labels.items()):
            return None
        return found["service"] if self.captures else self.name


class Router:
    """The configuration's services, ready to be asked."""

    def __init__(
        self,
        config: Config,
        notifiers: Mapping[str, Notifier],
        *,
        page: Callable[[PipelineRun], str] = lambda run: f"/runs/{run.namespace}/{run.name}",
    ) -> None:
        """``notifiers`` by host name: they know which paths and URLs their host can have; ``page``: a run's page, behind
        ``public_url``."""
        self._page = page
        self._rules = [_Rule(service, config) for service in config.services]
        self._notifiers = notifiers
        self._host_urls = {name: host.url for name, host in config.hosts.items()}
        self._records = [
            rule.service.logs == "record" if rule.service.logs else config.logs.record for rule in self._rules
        ]

    def records(self, run: PipelineRun) -> bool:
        """Whether the service that claims ``run`` wants its log recorded, with or without readers."""
        if not any(self._records):
            return False
        matching = (
            record for rule, record in zip(self._rules, self._records, strict=True) if rule.match(run) is not None
        )
        return next(matching, False)

    def route(self, run: PipelineRun) -> tuple[Target, ...] | Unroutable:
        """Where ``run`` reports to: nowhere if no service claims it. The first service that matches takes it."""
        for rule in self._rules:
            service = rule.match(run)
            if service is not None:
                try:
                    return self._targets(rule, service, run)
                except _NoRouteError as error:
                    return Unroutable(service, str(error))
        return ()

    @property
    def tells_more(self) -> bool:
        """Of some runs more is told than their status."""
        return any(rule.policy.tells_more for rule in self._rules)

    @property
    def remembers(self) -> bool:
        """Something that is told depends on how the run before ended."""
        return any(rule.policy.remembers for rule in self._rules)

    def service_of(self, run: PipelineRun) -> str | None:
        """The service that claims ``run``, or None."""
        return next((service for rule in self._rules if (service := rule.match(run)) is not None), None)

    def _targets(self, rule: _Rule, service: str, run: PipelineRun) -> tuple[Target, ...]:
        values = Values(run, service)
        context = _line(_rendered(rule.context, values, "context"))
        ref = find_ref(rule.ref, run, values)
        url = _target_url(rule, run, values, self._page)
        targets = []
        for wanted in rule.repositories:
            repository = self._repository(wanted, values)
            sha, place = find_commit(rule.commit, run, values, repository=repository)
            target = Target(
                wanted.host,
                sys.intern(repository),
                sha,
                sys.intern(context),
                url=url,
                ref=ref,
                service=service,
                commit_from=place,
                guaranteed=rule.service.deliver == "guaranteed",
                policy=rule.policy,
                page=rule.target_url is None,
            )
            targets.append(self._with_fallback(target, rule.fallbacks.get(wanted.host), values))
        taken = {(target.host, target.repository) for target in targets}
        places: list[Target] = []
        for target in targets:
            if target.fallback is not None and (target.host, target.fallback.repository) in taken:
                target = dataclasses.replace(target, fallback=None)
            if rule.policy.simple:  # most are, and there are very many runs
                places.append(target)
            else:
                places += expand(target, run, self._notifiers[target.host], values, first=not places)
        return tuple(places)

    def _with_fallback(self, target: Target, wanted: _Repository | None, values: Values) -> Target:
        """What is wrong with the fallback must not keep a run from the repository that it leads to."""
        if wanted is None:
            return target
        try:
            repository = self._repository(wanted, values)
        except _NoRouteError as error:
            return dataclasses.replace(target, no_fallback=str(error).removeprefix("repository: "))
        return dataclasses.replace(target, fallback=dataclasses.replace(target, repository=sys.intern(repository)))

    def _repository(self, wanted: _Repository, values: Values) -> str:
        path = _rendered(wanted.path, values, "repository")
        if wanted.whole:
            path = _path_of(path, host_url=self._host_urls[wanted.host], host=wanted.host)
        else:
            for reference in wanted.path.references:
                if "/" in (values(reference) or ""):
                    raise _NoRouteError(
                        f"repository: the value of {reference} holds a '/', it may fill one segment only"
                    )
        why_not = self._notifiers[wanted.host].check_repository(path)
        if why_not is not None:
            raise _NoRouteError(f"repository {path[:200]!r}: {why_not}")
        return path


class _NoRouteError(Exception):
    pass


def find_commit(template: Template | None, run: PipelineRun, values: Values, *, repository: str) -> tuple[str, str]:
    """The run's commit in lower case, and the place it was found in. Raises ``_NoRouteError`` with what was looked at."""
    if template is not None:
        text = _rendered(template, values, "commit").strip()
        if not _COMMIT.fullmatch(text):
            raise _NoRouteError(
                f"commit: {text[:80]!r} is not a commit (40 or 64 hex digits); a branch or tag is not enough"
            )
        return _lower(text), f"commit: {template}"
    seen = []
    for place, text in _commit_places(run, repository):
        if _COMMIT.fullmatch(text.strip()):
            return _lower(text.strip()), place
        seen.append(f"{place}={text[:40]!r}")
    looked = f"; found only {', '.join(seen[:3])}" if seen else ""
    raise _NoRouteError(
        f"no commit in the well-known params, labels, annotations or results{looked}; say where with 'commit:' in the service"
    )


def _lower(text: str) -> str:
    """``text`` in lower case; the same object where it is that already, for there is one per run."""
    lower = text.lower()
    return text if text == lower else lower


def _commit_places(run: PipelineRun, repository: str) -> list[tuple[str, str]]:
    places = [(f"params.{name}", run.params[name]) for name in COMMIT_PARAMS if name in run.params]
    places += [(f"labels.{name}", run.labels[name]) for name in COMMIT_LABELS if name in run.labels]
    places += [(f"annotations.{name}", run.annotations[name]) for name in COMMIT_LABELS if name in run.annotations]
    places += [(f"results.{name}", run.results[name]) for name in COMMIT_RESULTS if name in run.results]
    # The provenance names the commit that the *pipeline* came from: the right one only if it lives in this repository.
    source = _split(run.provenance_uri.removeprefix("git+"))
    path = source.path.strip("/").removesuffix(".git") if source is not None else ""
    if run.provenance_sha and path.casefold() == repository.casefold():
        places.append(("status.provenance", run.provenance_sha))
    return places


def find_ref(template: Template | None, run: PipelineRun, values: Values) -> str | None:
    """The run's branch or tag where it is known; a status is posted without one otherwise."""
    if template is not None:
        rendered = template.render(values)
        text = None if isinstance(rendered, Missing) else rendered
    else:
        found = [run.params[name] for name in _REF_PARAMS if name in run.params]
        found += [run.annotations[name] for name in _REF_ANNOTATIONS if name in run.annotations]
        text = next(iter(found), None)
    if not text:
        return None
    return _line(text.removeprefix("refs/heads/").removeprefix("refs/tags/")) or None


def _target_url(rule: _Rule, run: PipelineRun, values: Values, page: Callable[[PipelineRun], str]) -> str | None:
    if rule.target_url is not None:
        rendered = rule.target_url.render(lambda reference: quote(values(reference) or "", safe="") or None)
        return None if isinstance(rendered, Missing) else rendered
    return f"{rule.public_url}{page(run)}" if rule.public_url else None


def _rendered(template: Template, values: Values, what: str) -> str:
    text = template.render(values)
    if isinstance(text, Missing):
        raise _NoRouteError(f"{what}: the run has no {text.reference}")
    return text


def _line(text: str) -> str:
    return _CONTROL.sub(" ", text).strip()


def _path_of(text: str, *, host_url: str | None, host: str) -> str:
    """A repository's path from a path or from a URL of exactly this host (scheme, host, port; no user in it)."""
    if "://" not in text:
        return text.removesuffix(".git")
    base = urlsplit((host_url or "").rstrip("/"))
    given = _split(text)
    if given is None:
        raise _NoRouteError(f"repository {text[:200]!r} is not a URL")
    if (given.scheme, given.netloc) != (base.scheme, base.netloc) or not given.path.startswith(f"{base.path}/"):
        raise _NoRouteError(f"repository {text[:200]!r} is not on host {host} ({host_url})")
    return given.path.removeprefix(base.path).strip("/").removesuffix(".git")


def _split(text: str) -> SplitResult | None:
    """The parts of a URL that a run brings; None for what is none."""
    try:
        return urlsplit(text)
    except ValueError:
        return None


def _repository(text: str) -> _Repository:
    host, _, path = text.partition(":")
    template = Template.parse(path)
    return _Repository(
        host, template, whole=len(template.references) == 1 and path.startswith("$(") and path.endswith(")")
    )


def _pattern(glob: str) -> str:
    """A run-name glob as a regular expression; ``$(service)`` captures, as much as it can."""
    before, captured, after = glob.partition("$(service)")
    if not captured:
        return _glob(glob)
    return f"{_glob(before)}(?P<service>[a-z0-9](?:[-a-z0-9.]*[a-z0-9])?){_glob(after)}"


def _glob(text: str) -> str:
    """``*`` for any characters, ``?`` for one; everything else is literal."""
    return "".join({"*": ".*", "?": "."}.get(character) or re.escape(character) for character in text)
