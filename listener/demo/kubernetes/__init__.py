"""A Kubernetes API server in memory, on a real socket: what ``make demo`` runs against and what the tests call their cluster.

``store`` holds objects, resourceVersions and the history that watches read; ``api`` speaks HTTP; ``podlogs`` are the containers' logs;
``faults`` makes it misbehave; ``replay`` plays recordings of a real cluster. It answers as a real one does as far as the
listener (and ``tests/contract``) ask: no admission, no garbage collection, no controllers.
"""

from listener.demo.kubernetes.api import KubernetesApi
from listener.demo.kubernetes.faults import Fault

__all__ = ["Fault", "KubernetesApi"]
