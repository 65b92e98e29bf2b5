"""Fixtures: the cluster is looked at, a namespace made, the stage set, everything played once; and put away, whatever happens."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from e2e import place, rules
from e2e.api import Api, ApiError
from e2e.catalogue import Expected
from e2e.performance import Performance, perform
from e2e.preflight import Facts, NotReadyError, look
from e2e.settings import NO_CLUSTER, SettingError, Settings
from e2e.stage import Stage, set_stage

_USAGE: list[str] = []
try:
    SETTINGS = Settings.of(os.environ)
except SettingError as error:
    SETTINGS = Settings(kubeconfig="")
    _USAGE.append(str(error))
_FEATURE: Final = re.compile(r"feature|enable-api-fields|alpha|beta", re.IGNORECASE)
_STAGE = pytest.StashKey[Stage]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without a cluster nothing is tested, and that is said. What is about runs that ``E2E_RUNS`` leaves out is left out."""
    items[:] = [item for item in items if "NOTSET" not in item.name]
    if not SETTINGS.kubeconfig:
        del items[1:]  # one word is enough
        for item in items:
            item.add_marker(pytest.mark.skip(reason=NO_CLUSTER))


@dataclass(frozen=True, slots=True)
class Ground:
    """Where the suite stands."""

    facts: Facts
    namespace: str
    kubeconfig: str
    restricted: bool


@pytest.fixture(scope="session")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """The cluster, looked at, with a namespace in it that goes at the end: also after a failure, Ctrl-C and SIGTERM."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    name = place.new_name()
    folder = tmp_path_factory.mktemp("account")
    made = False

    async def prepare() -> Ground:
        nonlocal made
        source, granted = rules.rules(SETTINGS.rules, namespace=name)
        async with Api.connect(SETTINGS.kubeconfig) as api:
            facts = await look(api, namespace=name)
            _say(f"{facts}; namespace {name}")
            made = True
            await place.make(api, name)
            kubeconfig, restricted = SETTINGS.kubeconfig, not facts.missing_to_restrict
            if restricted:
                _say(f"the service runs under a service account with the rules of {source}")
                kubeconfig = str(await place.restricted_kubeconfig(api, name, granted, folder / "kubeconfig"))
            return Ground(facts, name, kubeconfig, restricted)

    try:
        yield place.in_thread(prepare(), timeout=SETTINGS.timeout)
    except (NotReadyError, ApiError, rules.RulesError, TimeoutError) as error:
        pytest.exit(f"the e2e suite cannot run: {str(error) or 'the cluster is too slow'}", returncode=1)
    finally:
        if made:
            _put_away(name)
        signal.signal(signal.SIGTERM, before)


def _put_away(name: str) -> None:
    if SETTINGS.keep:
        _say(f"E2E_KEEP is set: namespace {name} stays; kubectl delete namespace {name}")
        return
    try:
        place.in_thread(place.remove(SETTINGS.kubeconfig, name))
    except (ApiError, TimeoutError) as error:
        if isinstance(error, ApiError) and error.status == 404:
            return
        _say(f"namespace {name} could not be deleted ({error}); kubectl delete namespace {name}")


def _say(text: str) -> None:
    reporter = _REPORTER[0] if _REPORTER else None
    if reporter is not None:
        reporter.ensure_newline()
        reporter.write_line(f"e2e: {text}")


_REPORTER: list[Any] = []


def pytest_configure(config: pytest.Config) -> None:
    """Remember where to write; refuse what the environment says where it makes no sense."""
    for why in _USAGE:
        raise pytest.UsageError(why)
    _REPORTER[:] = [config.pluginmanager.get_plugin("terminalreporter")]


@pytest.fixture(scope="session")
async def stage(
    ground: Ground, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> AsyncIterator[Stage]:
    """The Git hosts and the first replica, once a first run has shown that runs run here."""
    folder: Path = tmp_path_factory.mktemp("service")
    async with set_stage(
        settings=SETTINGS,
        facts=ground.facts,
        namespace=ground.namespace,
        folder=folder,
        kubeconfig=ground.kubeconfig,
        restricted=ground.restricted,
    ) as stage:
        request.session.stash[_STAGE] = stage
        try:
            await place.warm_up(
                stage.api, runs=stage.runs, pods=stage.pods, manifests=stage.manifests, settings=SETTINGS
            )
        except NotReadyError as error:
            pytest.exit(f"the e2e suite cannot run: {error}", returncode=1)
        await stage.start("one")
        yield stage


@pytest.fixture(scope="session")
async def performance(stage: Stage) -> Performance:
    """Everything played once."""
    return await perform(stage)


@pytest.fixture
def seen(performance: Performance, expected: Expected) -> Performance:
    """What was seen of ``expected``, which was taken by the cluster and came to its end."""
    if why := performance.refused.get(expected.name):
        if _FEATURE.search(why):
            pytest.skip(f"this cluster's Tekton does not allow the run {expected.name}: {why}")
        pytest.fail(f"the cluster refused this run: {why}", pytrace=False)
    if expected.name in performance.trouble:
        pytest.fail(performance.trouble[expected.name], pytrace=False)
    return performance


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """With each failure: the run, the service's log, the hosts' requests."""
    report: pytest.TestReport = yield
    stage = item.session.stash.get(_STAGE, None)
    if report.failed and stage is not None:
        params = getattr(item, "callspec", None)
        expected = params.params.get("expected") if params is not None else None
        run = expected.run if isinstance(expected, Expected) else stage.subject
        report.sections += [(title, text) for title, text in stage.report(run)]
    return report
