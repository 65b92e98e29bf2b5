"""How each of the hosts in here is configured, and the words that a run becomes on it."""

from __future__ import annotations

from dataclasses import dataclass

from listener.demo.githost import GitHost
from tests.hosts.azure_devops import ORGANIZATION, AzureDevOps
from tests.hosts.bitbucket import BitbucketCloud
from tests.hosts.bitbucket_server import BitbucketServer
from tests.hosts.gitea import Gitea


@dataclass(frozen=True, slots=True, kw_only=True)
class Forge:
    """A kind of host, the stand-in for it, a repository that it has, and its words for what becomes of a run."""

    kind: str
    host: type[Gitea | BitbucketCloud | BitbucketServer | AzureDevOps]
    repository: str
    running: str
    succeeded: str
    failed: str
    cancelled: str
    scope: str  #: of a token that is too weak, in the refusal; empty where a weak token is no token
    below: str = ""  #: the part of the URL behind the host

    def url(self, host: GitHost) -> str:
        return f"{host.url}{self.below}"


FORGES = [
    Forge(
        kind="gitea",
        host=Gitea,
        repository="acme/service-xyz",
        running="pending",
        succeeded="success",
        failed="failure",
        cancelled="error",
        scope="write:repository",
    ),
    Forge(
        kind="bitbucket",
        host=BitbucketCloud,
        repository="acme/service-xyz",
        running="INPROGRESS",
        succeeded="SUCCESSFUL",
        failed="FAILED",
        cancelled="STOPPED",
        scope="'repository'",
    ),
    Forge(
        kind="bitbucket-server",
        host=BitbucketServer,
        repository="ACME/service-xyz",
        running="INPROGRESS",
        succeeded="SUCCESSFUL",
        failed="FAILED",
        cancelled="CANCELLED",
        scope="",
    ),
    Forge(
        kind="azure-devops",
        host=AzureDevOps,
        repository="shop/service-xyz",
        running="pending",
        succeeded="succeeded",
        failed="failed",
        cancelled="error",
        scope="'Code (status)'",
        below=f"/{ORGANIZATION}",
    ),
]
