"""The suite for real clusters: the whole service against whatever cluster ``KUBECONFIG`` names, with Tekton in it.

``KUBECONFIG=… make e2e``; CONTRIBUTING says how to get a cluster and what each check means. Nothing here knows whether the cluster is a
real one: ``tests/contract/test_e2e_suite.py`` runs it against the one in memory, which plays the recorded runs.
"""
