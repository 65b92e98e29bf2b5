"""A Kubernetes API server in memory, on a real socket: what ``make demo`` runs against and what the tests call their cluster.

``store`` holds objects, resourceVersions and the history that watches read; ``api`` speaks HTTP; ``podlogs`` are the containers' logs;
``faults`` makes it misbehave; ``replay`` plays recordings of a real cluster, ``tekton`` when somebody creates the run; ``rbac`` knows service
accounts. It answers as a real one does as far as the listener (and ``tests/contract``) ask: no admission, and no garbage collection or
controllers beside those in ``tekton``.
"""

from listener.demo.kubernetes.api import KubernetesApi
from listener.demo.kubernetes.faults import Fault

__all__ = ["Fault", "KubernetesApi"]
