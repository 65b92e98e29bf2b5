"""What is missing is said in one sentence, before anything is made."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml
from kubernetes_asyncio.client import Configuration
from kubernetes_asyncio.config import kube_config

from e2e import place, rules
from e2e.api import Api, ApiError, Json
from e2e.catalogue import Manifests
from e2e.mirror import Mirror
from e2e.preflight import NotReadyError, look
from e2e.settings import SettingError, Settings
from listener.demo.kubernetes import Fault, KubernetesApi
from tests.scene import RECORDINGS

NAMESPACE = "e2e"


@pytest.fixture
async def api(cluster: KubernetesApi, tmp_path: Path) -> AsyncIterator[Api]:
    async with Api.connect(str(cluster.kubeconfig(tmp_path / "kubeconfig"))) as api:
        yield api


async def test_a_cluster_with_tekton_is_ready(api: Api) -> None:
    facts = await look(api, namespace=NAMESPACE)
    assert facts.api_versions == ("v1", "v1beta1")
    assert facts.missing_to_restrict == ()
    assert "Kubernetes v1.36.2, Tekton unknown (tekton.dev v1, v1beta1)" in str(facts)


async def test_a_cluster_without_tekton(cluster: KubernetesApi, api: Api) -> None:
    cluster.faults.add(Fault(when=lambda seen: seen.path == "/apis/tekton.dev", status=404))
    with pytest.raises(NotReadyError, match=r"has no API tekton\.dev: install Tekton Pipelines first"):
        await look(api, namespace=NAMESPACE)


async def test_a_tekton_that_is_too_old(cluster: KubernetesApi, api: Api) -> None:
    body = json.dumps({"versions": [{"version": "v1beta1"}]}).encode()
    cluster.faults.add(Fault(when=lambda seen: seen.path == "/apis/tekton.dev", status=200, body=body))
    with pytest.raises(NotReadyError, match=r"serves tekton\.dev/v1beta1, and v1 is needed"):
        await look(api, namespace=NAMESPACE)


async def test_a_cluster_that_does_not_answer(cluster: KubernetesApi, api: Api) -> None:
    await cluster.stop()
    with pytest.raises(NotReadyError, match=r"http://\S+ does not answer: Cannot connect"):
        await look(api, namespace=NAMESPACE)


async def test_credentials_that_are_not_accepted(cluster: KubernetesApi, api: Api) -> None:
    cluster.faults.add(Fault(when=lambda seen: seen.path == "/version", status=401))
    with pytest.raises(NotReadyError, match="does not accept the credentials in KUBECONFIG"):
        await look(api, namespace=NAMESPACE)


async def test_credentials_that_do_not_suffice(cluster: KubernetesApi, api: Api, tmp_path: Path) -> None:
    await place_account(cluster, api, {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]}, tmp_path)
    async with Api.connect(str(tmp_path / "account")) as account:
        with pytest.raises(NotReadyError, match=r"one may not create namespaces, .*get pods/log"):
            await look(account, namespace=NAMESPACE)


async def place_account(cluster: KubernetesApi, api: Api, rule: Json, folder: Path) -> None:
    pipelineruns = {"verbs": ["list"], "apiGroups": ["tekton.dev"], "resources": ["pipelineruns"]}
    cluster.create("namespaces", {"metadata": {"name": NAMESPACE}})
    await place.restricted_kubeconfig(api, NAMESPACE, [pipelineruns, rule], folder / "account")


async def test_an_account_may_do_what_its_rules_say_and_is_told_what_it_may_not(
    cluster: KubernetesApi, api: Api, tmp_path: Path
) -> None:
    await place_account(cluster, api, {"verbs": ["get"], "apiGroups": [""], "resources": ["pods/log"]}, tmp_path)
    async with Api.connect(str(tmp_path / "account")) as account:
        assert await account.list("pipelineruns", NAMESPACE) == []
        user = f'User "system:serviceaccount:{NAMESPACE}:tekton-listener"'
        for refused in (account.list("pods", NAMESPACE), account.list("pipelineruns", "other")):
            with pytest.raises(ApiError, match=f"403: .* is forbidden: {user} cannot list resource"):
                await refused
        with pytest.raises(ApiError, match="404"):
            await account.call("GET", f"/api/v1/namespaces/{NAMESPACE}/pods/none/log?container=c")


async def test_a_kubeconfig_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ApiError, match="cannot be used"):
        async with Api.connect(str(tmp_path / "nothing")):
            pass


async def warm_up(cluster: KubernetesApi, api: Api, *, timeout: float) -> None:
    runs, pods = Mirror(api, "pipelineruns", NAMESPACE), Mirror(api, "pods", NAMESPACE)
    tasks = [asyncio.create_task(mirror.run()) for mirror in (runs, pods)]
    try:
        manifests = Manifests(RECORDINGS / "runs.yaml", namespace=NAMESPACE)
        settings = Settings(kubeconfig="", timeout=timeout)
        await place.warm_up(api, runs=runs, pods=pods, manifests=manifests, settings=settings)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_tekton_that_does_nothing(cluster: KubernetesApi, api: Api) -> None:
    with pytest.raises(NotReadyError, match=r"Tekton has not looked at it within 0\.3 s; is its controller running"):
        await warm_up(cluster, api, timeout=0.3)


async def test_an_image_that_is_not_there_is_tried_once_more_with_another_and_then_named(
    cluster: KubernetesApi, api: Api
) -> None:
    for number in (1, 2):
        waiting = {"reason": "ErrImageNeverPull", "message": "is not present with pull policy of Never"}
        status = {"containerStatuses": [{"name": "step-x", "state": {"waiting": waiting}}]}
        labels = {"tekton.dev/pipelineRun": f"warm-up-{number}"}
        meta = {"name": f"pod-{number}", "namespace": NAMESPACE, "labels": labels}
        cluster.create("pods", {"metadata": meta, "spec": {}, "status": status})
    with pytest.raises(NotReadyError, match=r"of the image busybox:1.37 did not succeed here: ErrImageNeverPull: "):
        await warm_up(cluster, api, timeout=20)
    created = [seen for seen in cluster.requests if seen.verb == "create" and seen.resource == "pipelineruns"]
    assert len(created) == 2


def test_the_environment_is_read_in_one_place() -> None:
    env = {"KUBECONFIG": "/k", "E2E_TIMEOUT": "40", "E2E_RUNS": "a, b", "E2E_KEEP": "1", "E2E_IMAGE": "x:1"}
    settings = Settings.of(env)
    assert (settings.kubeconfig, settings.timeout, settings.only, settings.keep) == ("/k", 40.0, ("a", "b"), True)
    assert (settings.arrive, settings.image, settings.lease) == (8.0, "x:1", 15.0)
    assert not Settings.of({"E2E_KEEP": "0"}).keep


@pytest.mark.parametrize("value", ["soon", "0", "-1"])
def test_a_setting_that_is_no_number_of_seconds_is_named(value: str) -> None:
    with pytest.raises(SettingError, match=f"E2E_TIMEOUT={value}: give a number of seconds"):
        Settings.of({"E2E_TIMEOUT": value})


def test_rules_come_from_a_rendered_chart(tmp_path: Path) -> None:
    path = tmp_path / "rendered.yaml"
    path.write_text(
        "kind: ConfigMap\n---\n---\nkind: ClusterRole\nrules: [{apiGroups: [x]}, {nonResourceURLs: [/x]}]\n"
    )
    assert rules.rules(path, namespace=NAMESPACE)[1] == [{"apiGroups": ["x"]}]
    path.write_text("kind: ConfigMap\n")
    with pytest.raises(rules.RulesError, match="neither a Role nor a ClusterRole"):
        rules.rules(path, namespace=NAMESPACE)


def test_without_a_cluster_every_test_is_skipped_with_a_word_on_why(monkeypatch: pytest.MonkeyPatch) -> None:
    from e2e import conftest

    marks: list[pytest.MarkDecorator] = []

    class Item:
        name = "test_x"

        def add_marker(self, mark: pytest.MarkDecorator) -> None:
            marks.append(mark)

    monkeypatch.setattr(conftest, "SETTINGS", Settings(kubeconfig=""))
    conftest.pytest_collection_modifyitems([Item()])  # type: ignore[list-item]  # all that it asks of an item
    assert marks[0].kwargs["reason"].startswith("no cluster was given, so nothing was tested")


async def test_the_accounts_kubeconfig_trusts_whom_ours_trusts_and_carries_only_its_token(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("authority")
    ours = {
        "clusters": [
            {
                "name": "c",
                "cluster": {
                    "server": "https://cluster.example.com:6443",
                    "certificate-authority": str(tmp_path / "ca.pem"),
                    "tls-server-name": "other.example.com",
                },
            }
        ],
        "users": [{"name": "u", "user": {"token": "admin"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(ours))
    configuration = Configuration()
    await kube_config.load_kube_config(str(tmp_path / "kubeconfig"), client_configuration=configuration)
    written = place.kubeconfig_of(configuration, "theirs")
    cluster = written["clusters"][0]["cluster"]
    assert base64.b64decode(cluster.pop("certificate-authority-data")) == b"authority"
    assert cluster == {"server": "https://cluster.example.com:6443", "tls-server-name": "other.example.com"}
    assert written["users"] == [{"name": "e2e", "user": {"token": "theirs"}}]
