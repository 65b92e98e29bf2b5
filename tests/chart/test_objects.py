"""Every documented combination of values gives objects that Kubernetes takes, that fit together, and that the service can run with."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import helm_python as helm
import pytest
import yaml

from listener.assembly import GRACE
from listener.config import load
from listener.config_units import bytes_of
from listener.service import _NOTING, _RELEASE
from notifiers.registry import known_kinds
from tests.chart import published
from tests.chart.combinations import AUTH, COMBINATIONS, EVERYTHING, GITLAB_TOKEN, REPORTING
from tests.chart.rendering import NAME, NAMESPACE, Object, Rendered, render


def routes() -> set[str]:
    """The paths of the application, by their first part."""
    from unittest.mock import MagicMock

    from listener.web.app import create_app

    app = create_app(**dict.fromkeys(_PARTS, MagicMock()))
    return {f"/{route.resource.canonical.split('/')[1]}" for route in app.router.routes() if route.resource}


_PARTS = [
    "access",
    "runs",
    "log_source",
    "streams",
    "past",
    "past_summary",
    "read_task_runs",
    "describe",
    "service_of",
    "signer",
    "troubles",
    "metrics",
]


# Objects


@pytest.mark.parametrize("version", [published.OLDEST, published.NEWEST])
def test_kubernetes_takes_every_object(release: Rendered, version: str) -> None:
    found = [problem for one in release.objects for problem in published.problems(one, version=version)]
    assert not found


def test_a_field_that_is_misspelt_or_of_another_type_is_seen(everything: Rendered) -> None:
    deployment, route = everything.one("Deployment"), everything.one("HTTPRoute")
    pod = {**everything.pod, "terminationGracePeriod": 3}
    template = {**deployment["spec"]["template"], "spec": pod}
    assert published.problems({**deployment, "spec": {**deployment["spec"], "template": template}})
    assert published.problems({**deployment, "spec": {**deployment["spec"], "replicas": "3"}})
    assert published.problems({**route, "spec": {**route["spec"], "hostname": "x"}})


def test_everything_is_rendered_somewhere(everything: Rendered) -> None:
    kinds = {one["kind"] for one in everything.objects} | {one["kind"] for one in render(AUTH).objects}
    kinds |= {one["kind"] for one in render(COMBINATIONS["a trial"]).objects}
    assert kinds == {
        *("ClusterRole", "ClusterRoleBinding", "ConfigMap", "Deployment", "HTTPRoute", "HorizontalPodAutoscaler", "Ingress"),
        *("NetworkPolicy", "PersistentVolumeClaim", "Pod", "PodDisruptionBudget", "PrometheusRule", "Role", "RoleBinding"),
        *("Secret", "Service", "ServiceAccount", "ServiceMonitor"),
    }  # fmt: skip


def test_no_two_objects_have_one_name(release: Rendered) -> None:
    names = [(one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"]) for one in release.objects]
    assert len(names) == len(set(names))


def test_objects_fit_together(release: Rendered) -> None:
    template = release.one("Deployment")["spec"]["template"]
    labels: dict[str, str] = template["metadata"]["labels"]
    service = release.one("Service")
    selectors = [service["spec"]["selector"], release.one("Deployment")["spec"]["selector"]["matchLabels"]]
    selectors += [one["spec"]["selector"]["matchLabels"] for one in release.all("PodDisruptionBudget")]
    selectors += [one["spec"]["podSelector"]["matchLabels"] for one in release.all("NetworkPolicy")]
    for selector in selectors:
        assert selector.items() <= labels.items()
    for monitor in release.all("ServiceMonitor"):
        assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
        assert [e["port"] for e in monitor["spec"]["endpoints"]] == [service["spec"]["ports"][0]["name"]]
    assert service["spec"]["ports"][0]["targetPort"] == release.container["ports"][0]["name"]
    for scaler in release.all("HorizontalPodAutoscaler"):
        assert scaler["spec"]["scaleTargetRef"]["name"] == release.one("Deployment")["metadata"]["name"]
        assert "replicas" not in release.one("Deployment")["spec"]
    backends = [
        p["backend"]["service"] for i in release.all("Ingress") for r in i["spec"]["rules"] for p in r["http"]["paths"]
    ]
    assert all(b == {"name": service["metadata"]["name"], "port": {"name": "http"}} for b in backends)
    for route in release.all("HTTPRoute"):
        (backend,) = route["spec"]["rules"][0]["backendRefs"]
        assert backend == {"name": service["metadata"]["name"], "port": service["spec"]["ports"][0]["port"]}
    account = release.pod["serviceAccountName"]
    for binding in release.all("RoleBinding") + release.all("ClusterRoleBinding"):
        assert [(s["name"], s["namespace"]) for s in binding["subjects"]] == [(account, NAMESPACE)]
        role = (
            release.one(binding["roleRef"]["kind"], binding["roleRef"]["name"])
            if "namespace" not in binding["metadata"]
            else next(
                r
                for r in release.all("Role")
                if r["metadata"]["name"] == binding["roleRef"]["name"]
                and r["metadata"]["namespace"] == binding["metadata"]["namespace"]
            )
        )
        assert role["rules"]
    for constraint in release.pod.get("topologySpreadConstraints", []):
        assert constraint["labelSelector"]["matchLabels"]


# The pod


def test_the_pod_is_as_security_point_13_wants_it(release: Rendered) -> None:
    pods = [release.pod, *(pod["spec"] for pod in release.all("Pod"))]
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        for container in pod["containers"]:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] is True
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}
    assert release.pod["automountServiceAccountToken"] is True
    assert release.pod["enableServiceLinks"] is False, "a Service might be called such that PORT is its address"


def test_all_that_is_mounted_is_there(release: Rendered) -> None:
    volumes = {volume["name"] for volume in release.pod["volumes"]}
    mounts = release.container["volumeMounts"]
    assert {mount["name"] for mount in mounts} <= volumes
    assert len({mount["mountPath"] for mount in mounts}) == len(mounts)
    claims = {c["metadata"]["name"] for c in release.all("PersistentVolumeClaim")}
    for volume in release.pod["volumes"]:
        if "persistentVolumeClaim" in volume and not claims:
            assert volume["persistentVolumeClaim"]["claimName"] == "logs"  # the combination's own
        elif "persistentVolumeClaim" in volume:
            assert volume["persistentVolumeClaim"]["claimName"] in claims
        if "secret" in volume:
            assert volume["secret"]["defaultMode"] == 0o440


def test_the_probes_ask_what_there_is(release: Rendered) -> None:
    probes = [release.container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")]
    probes += [
        {"path": e["path"], "port": e["port"]} for m in release.all("ServiceMonitor") for e in m["spec"]["endpoints"]
    ]
    assert {probe["path"] for probe in probes} <= routes()
    (port,) = release.container["ports"]
    assert {probe["port"] for probe in probes} == {port["name"]}
    assert environment(release)["PORT"] == str(port["containerPort"])


def test_the_service_has_the_time_to_end_properly(release: Rendered) -> None:
    command = release.container["lifecycle"]["preStop"]["exec"]["command"]
    needs = float(command[1]) + GRACE + _NOTING + _RELEASE + 1
    assert command[0] == "sleep"
    assert release.pod["terminationGracePeriodSeconds"] >= needs + 5


def test_only_a_service_with_leases_overlaps_with_the_next_one(release: Rendered) -> None:
    config, spec = yaml.safe_load(release.config_text), release.one("Deployment")["spec"]
    if "leases" not in config:
        assert spec["strategy"] == {"type": "Recreate"}
        assert spec["replicas"] == 1
    elif spec["strategy"]["type"] == "RollingUpdate":
        replicas = spec.get("replicas") or release.one("HorizontalPodAutoscaler")["spec"]["maxReplicas"]
        assert config["leases"]["shards"] >= replicas


def test_a_volume_that_one_pod_can_have_is_not_wanted_by_two() -> None:
    assert render(COMBINATIONS["logs on a volume"]).one("Deployment")["spec"]["strategy"] == {"type": "Recreate"}
    assert render(EVERYTHING).one("Deployment")["spec"]["strategy"]["type"] == "RollingUpdate"


# The configuration


def environment(release: Rendered) -> dict[str, str]:
    """The container's variables; those from Secrets hold something."""
    return {entry["name"]: entry.get("value", "something") for entry in release.container["env"]}


def files_of(config: Any) -> list[str]:
    """The values of all keys that end in ``_file``."""
    if isinstance(config, list):
        return [path for part in config for path in files_of(part)]
    if not isinstance(config, dict):
        return []
    own = [value for key, value in config.items() if key.endswith("_file")]
    return own + [path for part in config.values() for path in files_of(part)]


def test_the_service_reads_the_configuration_and_has_what_it_names(release: Rendered, tmp_path: Path) -> None:
    path = tmp_path / "listener.yaml"
    path.write_text(release.config_text)
    config = load(
        path, known_kinds={*known_kinds(), "apprise", "webhook"}, env=environment(release), check_files=False
    ).config
    mounts = {mount["mountPath"]: mount for mount in release.container["volumeMounts"]}
    for name in files_of(yaml.safe_load(release.config_text)):
        assert str(Path(name).parent) in mounts
    volumes = {volume["name"]: volume for volume in release.pod["volumes"]}
    where = Path(environment(release)["TEKTON_LISTENER_CONFIG"])
    assert where.name in release.one("ConfigMap", release.one("Deployment")["metadata"]["name"])["data"]
    assert "configMap" in volumes[mounts[str(where.parent)]["name"]]
    spool = volumes[mounts[config.logs.spool_folder or ""]["name"]]
    assert not mounts[config.logs.spool_folder or ""].get("readOnly")
    size = spool["emptyDir"]["sizeLimit"] if "emptyDir" in spool else _claim_size(spool)
    assert config.logs.spool_total <= bytes_of(size)
    if config.logs.archive and "://" not in config.logs.archive:
        assert any(
            Path(config.logs.archive).is_relative_to(m) for m, mount in mounts.items() if not mount.get("readOnly")
        )
    assert config.users or "AUTH_USERNAME" in environment(release)
    roles = {
        role["metadata"]["namespace"]
        for role in release.all("Role")
        if not role["metadata"]["name"].endswith("-leases")
    }
    assert roles == set(config.namespaces)


def _claim_size(volume: Object) -> str:
    size: str = volume["ephemeral"]["volumeClaimTemplate"]["spec"]["resources"]["requests"]["storage"]
    return size


def test_the_key_on_stays_what_it_is() -> None:
    text = "{auth: {existingSecret: x}, config: {hosts: {h: {kind: github, token_file: /etc/ssl/t}}, channels: {chat: {kind: apprise}},"
    text += " services: [{name: a, runs: {namespace: ci}, repository: h:a/b, notify: [{channel: chat, on: [fixed]}]}]}}"
    release = render(helm.values_from_yaml(text))
    (service,) = yaml.safe_load(release.config_text)["services"]
    assert service["notify"] == [{"channel": "chat", "on": ["fixed"]}]


def test_numbers_stay_whole() -> None:
    config = yaml.safe_load(render(REPORTING).config_text)
    assert config["hosts"]["github"]["app_id"] == 12345678
    assert config["hosts"]["github"]["installation_id"] == 123456789012


def test_a_change_of_the_configuration_starts_new_pods_or_only_where_it_must() -> None:
    def checksum(links: str, *, roll: bool, **more: Any) -> str:
        values = {**AUTH, "rollOnConfigChange": roll, "config": {"links": links, **more}}
        annotations = render(values).one("Deployment")["spec"]["template"]["metadata"]["annotations"]
        return str(annotations["checksum/config"])

    a, b = "https://a.example.com", "https://b.example.com"
    assert checksum(a, roll=True) != checksum(b, roll=True)
    assert checksum(a, roll=False) == checksum(b, roll=False)
    assert checksum(a, roll=False) != checksum(a, roll=False, namespaces=["ci"])


def test_the_public_url_is_made_of_the_first_host() -> None:
    def url(values: Any) -> Any:
        return yaml.safe_load(render(values).config_text).get("public_url")

    assert url(COMBINATIONS["ingress by host"]) == "https://listener.example.com"
    assert url({**AUTH, "ingress": {"enabled": True, "hosts": ["x.example.com"]}}) == "http://x.example.com"
    assert (
        url({**REPORTING, "ingress": {"enabled": True, "hosts": ["x.example.com"]}}) == "https://listener.example.com"
    )
    assert url(AUTH) is None


# Who may log in


def test_secrets_are_only_referred_to(release: Rendered) -> None:
    for secret in release.all("Secret"):
        assert secret["metadata"]["name"] == f"{NAME}-auth"
        assert secret["data"].keys() == {"AUTH_USERNAME", "AUTH_PASSWORD"}
    for config_map in release.all("ConfigMap"):
        assert "correct horse" not in str(config_map)


def test_a_trials_password_gets_into_the_secret_and_nowhere_else() -> None:
    password = COMBINATIONS["a trial"]["auth"]["password"]
    release = render(COMBINATIONS["a trial"])
    secret = release.one("Secret")
    assert base64.b64decode(secret["data"]["AUTH_PASSWORD"]).decode() == password
    others = [one for one in release.objects if one is not secret]
    assert password not in str(others)
    assert password not in release.notes
    assert "WARNING" in release.notes


def test_the_user_comes_from_the_secrets_keys() -> None:
    release = render(COMBINATIONS["keys of one's own"])
    user = next(e for e in release.container["env"] if e["name"] == "AUTH_USERNAME")
    assert user["valueFrom"] == {"secretKeyRef": {"name": "x", "key": "username"}}


# Reaching it


def test_people_and_jobs_reach_what_is_for_them_and_nothing_else(everything: Rendered) -> None:
    rules = everything.one("Ingress")["spec"]["rules"]
    assert [rule["host"] for rule in rules] == ["listener.example.com", "ci.example.com"]
    public = routes() - {"/metrics", "/livez", "/readyz"}
    for rule in rules:
        assert {path["path"] for path in rule["http"]["paths"]} == public
    matches = everything.one("HTTPRoute")["spec"]["rules"][0]["matches"]
    assert {match["path"]["value"] for match in matches} == public


def test_hosts_are_those_of_the_public_url_unless_said() -> None:
    release = render(COMBINATIONS["ingress by public_url"])
    assert [rule["host"] for rule in release.one("Ingress")["spec"]["rules"]] == ["listener.example.com"]
    assert render(COMBINATIONS["gateway"]).one("HTTPRoute")["spec"]["hostnames"] == ["listener.example.com"]


def test_the_network_policy_opens_the_ports_of_the_git_hosts() -> None:
    (rule,) = render(COMBINATIONS["network policy"]).one("NetworkPolicy")["spec"]["egress"]
    assert [port["port"] for port in rule["ports"]] == [53, 53, 443, 6443, 80, 8443]


def test_the_notes_say_what_to_try_next() -> None:
    notes = render(AUTH).notes
    assert 'curl -N --user "$LISTENER_USER" http://localhost:8080/logs/NAMESPACE/RUN' in notes
    assert f"port-forward service/{NAME} 8080:8080" in notes
    assert "nothing is reported to a Git host" in notes
    notes = render(REPORTING).notes
    assert 'curl --user "USER:PASSWORD" https://listener.example.com/status/ci/RUN' in notes
    assert "port-forward" not in notes
    assert "check-config" in notes
    assert GITLAB_TOKEN not in notes


def test_the_dashboard_and_the_alerts_are_the_files() -> None:
    from tests.chart.rendering import CHART

    release = render(COMBINATIONS["watched by the operator"])
    dashboard = release.one("ConfigMap", f"{NAME}-dashboard")["data"]["tekton-pipeline-listener.json"]
    assert yaml.safe_load(dashboard) == yaml.safe_load((CHART / "files/dashboard.json").read_text())
    assert release.one("PrometheusRule")["spec"] == yaml.safe_load((CHART / "files/alerts.yaml").read_text())
