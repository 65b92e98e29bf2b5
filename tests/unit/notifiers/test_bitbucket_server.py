"""What Bitbucket Data Center is told, and what its answers mean."""

from __future__ import annotations

import pytest

from notifiers.base import HostSettings, Notifier, PermanentError, Receipt
from notifiers.bitbucket_server import BitbucketServerNotifier
from tests.hosts.bitbucket_server import BitbucketServer
from tests.unit.notifiers.host import Answer, Host
from tests.unit.notifiers.scene import SHA, TOKEN, Connect, status
from tests.unit.notifiers.subject import Subject, utf16

SUBJECT = Subject(
    name="bitbucket-server",
    notifier=BitbucketServerNotifier,
    states=frozenset({"INPROGRESS", "SUCCESSFUL", "FAILED", "CANCELLED", "UNKNOWN"}),
    success="SUCCESSFUL",
    scope="'Repository read'",
    link="url",
    needs_link=True,
    limits={"key": 255, "description": 255, "name": 255, "url": 450},
    units=utf16,
    takes_no_content=True,
)


@pytest.fixture
def server(connect: Connect) -> Notifier:
    return connect(BitbucketServerNotifier)


async def test_what_is_posted(host: Host, server: Notifier) -> None:
    host.default = Answer(204, b"")
    assert await server.deliver(status(repository="PROJ/service.xyz", ref="main"), memo="7") == Receipt()
    asked = host.last
    path = f"/rest/api/latest/projects/PROJ/repos/service.xyz/commits/{SHA}/builds"
    assert (asked.method, asked.path) == ("POST", path)
    assert asked.headers["authorization"] == f"Bearer {TOKEN}"
    assert asked.json == {
        "key": "tekton/build",
        "state": "SUCCESSFUL",
        "name": "tekton/build",
        "description": "Passed in 2m 14s · 5 tasks",
        "url": "https://tekton.example.com/runs/ci/build-1",
    }


@pytest.mark.parametrize(
    ("repository", "path"),
    [
        ("~jane.doe/dots", "/projects/~jane.doe/repos/dots"),
        ("scm/PROJ/service", "/projects/PROJ/repos/service"),
        ("scm/~jane/dots", "/projects/~jane/repos/dots"),
    ],
)
async def test_personal_repositories_and_paths_of_clone_urls(
    host: Host, server: Notifier, repository: str, path: str
) -> None:
    await server.deliver(status(repository=repository))
    assert host.last.path == f"/rest/api/latest{path}/commits/{SHA}/builds"
    assert server.commit_url(repository, SHA) == f"{host.url}{path}/commits/{SHA}"


async def test_what_bitbucket_says_is_repeated(host: Host, server: Notifier) -> None:
    errors = [{"context": "url", "message": "is required", "exceptionName": None}, {"message": "and more"}, None]
    host.default = Answer(400, {"errors": errors})
    with pytest.raises(PermanentError, match="answered 400: is required; and more"):
        await server.deliver(status())


async def test_an_answer_of_lists_in_lists_without_end_does_no_harm(host: Host, server: Notifier) -> None:
    host.default = Answer(400, b'{"errors": ' + b"[" * 100_000, {"Content-Type": "application/json"})
    with pytest.raises(PermanentError):
        await server.deliver(status())


def offline(url: str | None = "https://bitbucket.example.com") -> BitbucketServerNotifier:
    return BitbucketServerNotifier(HostSettings(name="b", url=url, token="x"))


@pytest.mark.parametrize("path", ["PROJ/service", "P/s", "P_1/x.y_z-", "~jane/r", "scm/P/r", "P/" + "r" * 128])
def test_paths_that_bitbucket_can_have(path: str) -> None:
    assert offline().check_repository(path) is None


@pytest.mark.parametrize(
    "path",
    ["", "P", "P/", "/x", "P/b/c", "P/..", "P/.", "../x", "~/x", "1P/r", "P-1/r", "P/b.git", "P b/c", "P/b%2e", "P/b?c", "P/b#c",
     "P/b\n", "ü/b", "scm/P", "scm/scm/P/r", "P/" + "r" * 129],
)  # fmt: skip
def test_paths_that_bitbucket_cannot_have(path: str) -> None:
    assert offline().check_repository(path)


def test_there_is_no_public_one() -> None:
    with pytest.raises(ValueError, match="url is missing"):
        offline(None)


async def test_the_doctor_is_told_of_a_server_that_is_too_old() -> None:
    async with BitbucketServer() as host:
        host.add_project("ACME/service-xyz")
        host.version = "7.6.0"
        notifier = BitbucketServerNotifier(HostSettings(name="here", url=host.url, token="secret-token"))
        found = await notifier.examine(["ACME/service-xyz"])
        await notifier.close()
    assert [(finding.what, finding.said) for finding in found if finding.state == "problem"] == [
        ("version", "Data Center 7.6.0")
    ]
