"""Values that cannot work are refused before anything is installed, each with what to write instead; all problems at once."""

from __future__ import annotations

from typing import Any

import pytest

from tests.chart.combinations import ARCHIVE_S3, AUTH, GITLAB_TOKEN, HOSTS, REPORTING
from tests.chart.rendering import RefusedError, render

ORIGINAL = {
    "image": "capchriscap/tekton-pipeline-listener:latest",
    "auth": {"existing_secret": "old", "username": "admin", "password": "admin"},
    "tekton_pipelines": {"ns": "tekton-pipelines"},
    "service": {"type": "NodePort", "port": 8080},
    "deployment": {"replicas": 1, "limits": {"cpu": "1"}, "requests": {"memory": "1Gi"}},
}
ONE_HOST = {"config": {"hosts": {"gitlab": HOSTS["gitlab"]}}}
MOUNTED = {"mountPath": "/keys", "name": "keys"}


def refusal(values: dict[str, Any]) -> str:
    with pytest.raises(RefusedError) as refused:
        render(values)
    return str(refused.value)


def test_the_originals_values_are_refused_with_their_new_names_all_at_once() -> None:
    words = refusal(ORIGINAL)
    for word in (
        'image: {repository: capchriscap/tekton-pipeline-listener, tag: "latest"}',
        "auth.existingSecret: old",
        "config.default_namespace: tekton-pipelines",
        'deployment.resources.limits: {"cpu":"1"}',
        'deployment.resources.requests: {"memory":"1Gi"}',
    ):
        assert word in words


@pytest.mark.parametrize(
    ("image", "repository", "tag"),
    [
        ("localhost:5000/a/listener:1.2", "localhost:5000/a/listener", "1.2"),
        ("localhost:5000/a/listener", "localhost:5000/a/listener", "latest"),
    ],
)
def test_an_image_in_one_word_is_taken_apart(image: str, repository: str, tag: str) -> None:
    assert f'image: {{repository: {repository}, tag: "{tag}"}}' in refusal({**AUTH, "image": image})


@pytest.mark.parametrize("key", ["existing_secret", "existingSecret"])
def test_the_originals_first_names_of_the_secret(key: str) -> None:
    assert f"{key}: write auth.existingSecret: mine" in refusal({key: "mine"})


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({}, "nobody may log in: create a Secret"),
        ({"auth": {"username": "me"}}, "auth: give username and password"),
        ({"auth": {"username": "me:too", "password": "x"}}, "auth.username: a user name has no ':'"),
        ({**AUTH, "deployment": {"replicas": 3}, "leases": {"enabled": False}}, "deployment.replicas: 3 replicas would"),
        ({**AUTH, "autoscaling": {"enabled": True}, "leases": {"enabled": False}}, "autoscaling.maxReplicas: 5 replicas"),
        ({**AUTH, "autoscaling": {"enabled": True, "minReplicas": 9}}, "autoscaling.minReplicas: 9 is more than maxReplicas, 5"),
        ({**AUTH, "namespaces": ["a"], "config": {"namespaces": ["b"]}}, "config.namespaces: says something else"),
        ({**AUTH, "tektonPipelines": {"ns": "a"}, "config": {"default_namespace": "b"}}, "tektonPipelines.ns: says something else"),
        ({**AUTH, "deployment": {"replicas": 2}, "archive": {"enabled": True}}, "archive.accessMode: replicas share one archive"),
        ({**AUTH, "ingress": {"enabled": True}}, "ingress.hosts: give one, or config.public_url"),
        ({**AUTH, "ingress": {"enabled": True}, "config": {"public_url": "https://x.example.com/ci"}}, "config.public_url: https://x.example.com/ci has a path"),
        ({**AUTH, "httpRoute": {"enabled": True}}, "httpRoute.parentRefs: name a Gateway"),
        ({**AUTH, "service": {"nodePort": 30000}}, "service.nodePort: is for service.type NodePort"),
        ({**AUTH, "config": {"logs": {"record": True}}}, "config.logs.archive: logs are to be recorded, so say where"),
        ({**AUTH, "config": {"logs": {"archive": "/logs"}}}, "config.logs.archive: /logs is on no volume"),
        ({**AUTH, **ARCHIVE_S3, "archive": {"enabled": True}}, "config.logs.archive: s3://ci-logs/tekton is not on the volume"),
        ({**AUTH, "config": {"logs": {"spool_folder": "/x"}}}, "config.logs.spool_folder: the chart sets it"),
        ({**AUTH, "config": {"logs": {"spool_total": "11GiB"}}}, "config.logs.spool_total: 11GiB do not fit into spool.size, 10Gi"),
        ({**AUTH, **ONE_HOST}, f"config.hosts.gitlab.token_file: nothing is mounted at {GITLAB_TOKEN}"),
        ({**AUTH, **ONE_HOST}, "config.hosts.gitlab.ca_file: nothing is mounted at"),
        ({**REPORTING, "secretEnv": {}}, "config.signed_links.key_env: the container has no variable LINK_KEY"),
        ({**REPORTING, "secretFiles": {"gitlab": {"existingSecret": "x"}}}, "config.users[0].password_file: nothing is mounted"),
    ],
)  # fmt: skip
def test_values_that_do_not_go_together(values: dict[str, Any], word: str) -> None:
    assert word in refusal(values)


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"replicaCount": 2}, "additional properties 'replicaCount' not allowed"),
        ({"ingress": {"enable": True}}, "at '/ingress': additional properties 'enable' not allowed"),
        ({"config": {"host": {}}}, "at '/config': additional properties 'host' not allowed"),
        (
            {"config": {"hosts": {"g": {"kind": "github", "token": "secret"}}}},
            "additional properties 'token' not allowed",
        ),
        ({"config": {"services": [{"name": "x"}]}}, "at '/config/services/0': missing properties"),
        ({"secretFiles": {"gitlab": {"token": "secret"}}}, "additional properties 'token' not allowed"),
        ({"secretEnv": {"A": "secret"}}, "at '/secretEnv/A': got string, want object"),
        ({"deployment": {"replicas": "three"}}, "at '/deployment/replicas': got string, want integer"),
        ({"service": {"type": "ExternalName"}}, "at '/service/type': value must be one of"),
        ({"archive": {"accessMode": "ReadOnlyMany"}}, "at '/archive/accessMode': value must be one of"),
        ({"spool": {"size": "10GB"}}, "at '/spool/size'"),
        ({"namespaces": ["Not A Name"]}, "at '/namespaces/0'"),
        ({"podDisruptionBudget": {"maxUnavailable": 0}}, "at '/podDisruptionBudget/maxUnavailable'"),
        ({"deployment": {"terminationGracePeriodSeconds": 5}}, "at '/deployment/terminationGracePeriodSeconds'"),
    ],
)
def test_what_is_unknown_or_of_another_kind_is_named(values: dict[str, Any], word: str) -> None:
    assert word in refusal({**AUTH, **values})


@pytest.mark.parametrize(
    "values",
    [
        {"extraVolumeMounts": [MOUNTED], "config": {"signed_links": {"key_file": "/keys/link"}}},
        {
            "extraVolumeMounts": [{**MOUNTED, "mountPath": "/keys/"}],
            "config": {"signed_links": {"key_file": "/keys/link"}},
        },
        {
            "extraVolumeMounts": [{**MOUNTED, "mountPath": "/keys/link", "subPath": "link"}],
            "config": {"signed_links": {"key_file": "/keys/link"}},
        },
        {"extraEnv": [{"name": "KEY", "value": "x"}], "config": {"signed_links": {"key_env": "KEY"}}},
        {"extraEnvFrom": [{"secretRef": {"name": "x"}}], "config": {"signed_links": {"key_env": "KEY"}}},
        {"namespaces": ["a"], "config": {"namespaces": ["a"]}},
        {"auth": {"existingSecret": "x", "username": "left", "password": "over"}},
    ],
)
def test_what_an_operator_brings_is_taken(values: dict[str, Any]) -> None:
    assert not render({**AUTH, "extraVolumes": [{"name": "keys", "secret": {"secretName": "k"}}], **values}).all(
        "Secret"
    )


def test_a_folder_that_only_begins_alike_is_not_the_one_that_is_mounted() -> None:
    values = {**AUTH, "extraVolumes": [{"name": "keys", "secret": {"secretName": "k"}}], "extraVolumeMounts": [MOUNTED]}
    assert "nothing is mounted" in refusal({**values, "config": {"signed_links": {"key_file": "/keys-of-others/link"}}})
