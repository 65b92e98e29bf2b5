"""Tekton Pipeline Listener: what Tekton made of a commit, on the commit.

The rooms import downwards only: ``service`` puts the parts together; ``web``, ``logs`` and ``reporting`` do not know
each other; ``cluster`` and ``config`` know nobody. ``demo`` is a Kubernetes API and Git hosts in memory.
"""

__version__ = "0.1.0"
