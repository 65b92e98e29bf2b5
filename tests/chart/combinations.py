"""Values as operators write them: every key of values.yaml with another value than its default, alone and with what it needs.

``COMBINATIONS`` is rendered and checked as a whole; test_documented.py sees whether a key is in none of them.
"""

from __future__ import annotations

from typing import Any, Final

Values = dict[str, Any]
AUTH: Final[Values] = {"auth": {"existingSecret": "listener-user"}}
GITLAB_TOKEN: Final = "/run/secrets/tekton-listener/gitlab/token"
HOSTS: Final[Values] = {
    "gitlab": {
        "kind": "gitlab",
        "url": "https://gitlab.example.com:8443",
        "token_file": GITLAB_TOKEN,
        "ca_file": "/run/configmaps/tekton-listener/corp-ca/ca.pem",
    },
    "github": {
        "kind": "github",
        "app_id": 12345678,
        "installation_id": 123456789012,
        "private_key_file": "/run/secrets/tekton-listener/github-app/private-key.pem",
    },
    "bitbucket": {"kind": "bitbucket-server", "url": "http://bitbucket.git.svc", "token_env": "BITBUCKET_TOKEN"},
}
SERVICES: Final[list[Values]] = [
    {"name": "service-xyz", "runs": {"namespace": "ci", "name": "service-xyz-run-*"}, "repository": "gitlab:group/xyz"},
    {
        "name": "$(service)",
        "runs": {"namespace": "team-*", "name": "$(service)-run-*"},
        "repository": ["github:acme/$(service)", "bitbucket:acme/$(service)"],
        "deliver": "guaranteed",
    },
]
REPORTING: Final[Values] = {
    "config": {
        "public_url": "https://listener.example.com",
        "default_namespace": "ci",
        "users": [
            {
                "name": "ci",
                "password_file": "/run/secrets/tekton-listener/users/ci",
                "namespaces": ["ci"],
            }
        ],
        "hosts": HOSTS,
        "services": SERVICES,
        "links": "signed",
        "signed_links": {"key_env": "LINK_KEY"},
    },
    "secretFiles": {
        "gitlab": {"existingSecret": "gitlab-token"},
        "github-app": {"existingSecret": "github-app"},
        "users": {"existingSecret": "listener-users"},
    },
    "configMapFiles": {"corp-ca": {"existingConfigMap": "corp-ca"}},
    "secretEnv": {
        "BITBUCKET_TOKEN": {"existingSecret": "bitbucket", "key": "token"},
        "LINK_KEY": {"existingSecret": "links", "key": "key"},
    },
}
ARCHIVE_S3: Final[Values] = {
    "config": {
        "logs": {
            "record": True,
            "archive": "s3://ci-logs/tekton",
            "archive_options": {
                "endpoint": "https://minio.example.com:9000",
                "access_key_id_file": "/run/secrets/tekton-listener/s3/id",
                "secret_access_key_file": "/run/secrets/tekton-listener/s3/key",
            },
        }
    },
    "secretFiles": {"s3": {"existingSecret": "s3"}},
}
EVERYTHING: Final[Values] = {
    **REPORTING,
    **AUTH,
    "namespaces": ["ci", "team-a"],
    "rollOnConfigChange": False,
    "log": {"level": "WARNING", "format": "console"},
    "spool": {"size": "2Gi", "storageClass": "fast"},
    "archive": {"enabled": True, "size": "50Gi", "storageClass": "shared", "accessMode": "ReadWriteMany"},
    "image": {
        "repository": "images.example.com/ci/listener",
        "digest": "sha256:" + "0123456789abcdef" * 4,
        "pullPolicy": "Always",
        "pullSecrets": ["pull"],
    },
    "deployment": {
        "resources": {"limits": {"memory": "1Gi", "cpu": 2}},
        "annotations": {"owner": "platform"},
        "podAnnotations": {"sidecar.istio.io/inject": "false"},
        "podLabels": {"team": "platform", "app.kubernetes.io/name": "not-this"},
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "ci", "operator": "Exists", "effect": "NoSchedule"}],
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [{"matchExpressions": [{"key": "pool", "operator": "In", "values": ["ci"]}]}]
                }
            }
        },
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "rack",
                "whenUnsatisfiable": "DoNotSchedule",
                "labelSelector": {"matchLabels": {"x": "y"}},
            }
        ],
        "priorityClassName": "ci",
        "terminationGracePeriodSeconds": 60,
        "revisionHistoryLimit": 2,
        "podSecurityContext": {"runAsUser": None, "runAsGroup": None, "fsGroup": None},
        "securityContext": {"runAsUser": 1000},
    },
    "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
    "extraEnvFrom": [{"configMapRef": {"name": "proxy"}}],
    "extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}}],
    "extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/corp", "readOnly": True}],
    "serviceAccount": {"name": "listener", "annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/logs"}},
    "service": {"type": "NodePort", "port": 80, "nodePort": 30080, "annotations": {"a": "b"}},
    "ingress": {
        "enabled": True,
        "className": "nginx",
        "annotations": {"nginx.ingress.kubernetes.io/proxy-buffering": "off"},
        "hosts": ["listener.example.com", "ci.example.com"],
        "tlsSecret": "listener-tls",
    },
    "httpRoute": {
        "enabled": True,
        "parentRefs": [{"name": "public", "namespace": "gateways", "sectionName": "https"}],
        "hostnames": ["listener.example.com"],
        "annotations": {"a": "b"},
    },
    "autoscaling": {
        "enabled": True,
        "minReplicas": 3,
        "maxReplicas": 12,
        "targetCPUUtilizationPercentage": 50,
        "behavior": {"scaleUp": {"stabilizationWindowSeconds": 60}},
    },
    "podDisruptionBudget": {"maxUnavailable": "25%"},
    "networkPolicy": {
        "enabled": True,
        "from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress"}}}],
        "egressPorts": [443],
        "extraEgress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}],
    },
    "metrics": {
        "serviceMonitor": {"enabled": True, "namespace": "monitoring", "labels": {"release": "p"}, "interval": "1m"},
        "prometheusRule": {"enabled": True, "namespace": "monitoring", "labels": {"release": "p"}},
        "dashboard": {
            "enabled": True,
            "namespace": "monitoring",
            "labels": {"grafana": "yes"},
            "annotations": {"grafana_folder": "CI"},
        },
    },
    "test": {"enabled": False},
    "nameOverride": "listener",
    "fullnameOverride": "tekton-listener",
}
COMBINATIONS: Final[dict[str, Values]] = {
    "a secret's user": AUTH,
    "keys of one's own": {"auth": {"existingSecret": "x", "usernameKey": "username", "passwordKey": "password"}},
    "a trial": {"auth": {"username": "me", "password": "secret: with 'quotes' and $"}},
    "the original's values that go on": {
        "auth": {"existingSecret": None, "username": "admin", "password": "admin"},
        "tektonPipelines": {"ns": "tekton-pipelines"},
        "service": {"type": "NodePort", "port": 8080},
        "deployment": {"replicas": 1, "limits": {}, "requests": {}},
    },
    "reporting": REPORTING,
    "messages": {
        **AUTH,
        "config": {
            "public_url": "https://listener.example.com",
            "hosts": {"gitlab": HOSTS["gitlab"]},
            "channels": {
                "chat": {"kind": "apprise", "token_file": "/run/secrets/tekton-listener/chat/urls"},
                "audit": {"kind": "webhook", "url": "https://events.example.com:444/x", "token_env": "WEBHOOK_KEY"},
            },
            "services": [
                {
                    **SERVICES[0],
                    "comment": {"when": "always", "text": "**$(run.pipeline)** is $(run.state)\n\n$(run.tasks)\n"},
                    "notify": [
                        {"channel": "chat", "on": ["broken", "fixed"]},
                        {"channel": "audit", "true": "finished"},  # on, as Helm reads it
                    ],
                }
            ],
        },
        "secretFiles": {"gitlab": {"existingSecret": "gitlab-token"}, "chat": {"existingSecret": "chat"}},
        "configMapFiles": REPORTING["configMapFiles"],
        "secretEnv": {"WEBHOOK_KEY": {"existingSecret": "webhook", "key": "key"}},
    },
    "listed namespaces": {**REPORTING, "namespaces": ["ci", "team-a"]},
    "namespaces in the configuration": {**AUTH, "config": {"namespaces": ["ci"]}},
    "three replicas": {**AUTH, "deployment": {"replicas": 3}},
    "leases elsewhere": {
        **AUTH,
        "deployment": {"replicas": 2},
        "config": {"leases": {"namespace": "locks", "name": "ci", "shards": 4, "duration": 30, "renew_deadline": 20}},
    },
    "no leases": {**AUTH, "leases": {"enabled": False}},
    "as many as it needs": {**AUTH, "autoscaling": {"enabled": True}},
    "by another metric": {
        **AUTH,
        "autoscaling": {
            "enabled": True,
            "metrics": [
                {
                    "type": "Pods",
                    "pods": {
                        "metric": {"name": "tekton_listener_log_streams"},
                        "target": {"type": "AverageValue", "averageValue": "300"},
                    },
                }
            ],
        },
    },
    "logs in object storage": {**AUTH, **ARCHIVE_S3, "deployment": {"replicas": 2}},
    "logs on a volume": {**AUTH, "archive": {"enabled": True}, "config": {"logs": {"record": True}}},
    "logs on a volume that is there": {**AUTH, "archive": {"enabled": True, "existingClaim": "logs"}},
    "logs on a volume of one's own": {
        **AUTH,
        "config": {"logs": {"record": True, "archive": "/archive/logs"}},
        "extraVolumes": [{"name": "archive", "nfs": {"server": "nas", "path": "/logs"}}],
        "extraVolumeMounts": [{"name": "archive", "mountPath": "/archive"}],
    },
    "a small spool": {**AUTH, "spool": {"size": "512Mi"}},
    "a spool of one's own size": {**AUTH, "config": {"logs": {"spool_total": "9GB", "spool_bytes": "500MiB"}}},
    "ingress by public_url": {**REPORTING, "ingress": {"enabled": True}},
    "ingress by host": {**AUTH, "ingress": {"enabled": True, "hosts": ["listener.example.com"], "tlsSecret": "tls"}},
    "gateway": {**REPORTING, "httpRoute": {"enabled": True, "parentRefs": [{"name": "public"}]}},
    "network policy": {**REPORTING, "networkPolicy": {"enabled": True}},
    "watched by the operator": {
        **AUTH,
        "metrics": {
            "serviceMonitor": {"enabled": True},
            "prometheusRule": {"enabled": True},
            "dashboard": {"enabled": True},
        },
    },
    "an account of one's own": {**AUTH, "serviceAccount": {"create": False, "name": "mine"}, "rbac": {"create": False}},
    "a load balancer, no budget": {
        **AUTH,
        "service": {"type": "LoadBalancer"},
        "podDisruptionBudget": {"enabled": False},
        "image": {"tag": "1.2.3"},
    },
    "everything": EVERYTHING,
}
