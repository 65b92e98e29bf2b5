"""What Azure DevOps is told, and what its answers mean."""

from __future__ import annotations

import pytest

from notifiers.azure_devops import AzureDevOpsNotifier
from notifiers.base import HostSettings, Notifier, PermanentError, RateLimit, Receipt, RetryableError, UnauthorizedError
from tests.unit.notifiers.host import Answer, Host
from tests.unit.notifiers.scene import PACKED, SHA, TOKEN, Connect, status
from tests.unit.notifiers.subject import Subject, utf16

SUBJECT = Subject(
    name="azure-devops",
    notifier=AzureDevOpsNotifier,
    states=frozenset({"notSet", "pending", "succeeded", "failed", "error", "notApplicable"}),
    success="succeeded",
    scope="'Code (status)'",
    link="targetUrl",
    limits={"description": 255, "context.name": 128, "context.genre": 128, "targetUrl": 2048},
    units=utf16,
    counts_requests=False,
)


@pytest.fixture
def azure(connect: Connect, host: Host) -> Notifier:
    return connect(AzureDevOpsNotifier, url=f"{host.url}/acme")


async def test_what_is_posted(host: Host, azure: Notifier) -> None:
    host.default = Answer(200, {"id": 1, "state": "succeeded"})
    assert await azure.deliver(status(repository="shop/service.xyz", ref="main"), memo="7") == Receipt()
    asked = host.last
    path = f"/acme/shop/_apis/git/repositories/service.xyz/commits/{SHA}/statuses?api-version=7.1"
    assert (asked.method, asked.path) == ("POST", path)
    assert asked.headers["authorization"] == f"Basic {PACKED}"
    assert asked.headers["x-tfs-fedauthredirect"] == "Suppress"
    assert asked.json == {
        "state": "succeeded",
        "context": {"genre": "tekton", "name": "build"},
        "description": "Passed in 2m 14s · 5 tasks",
        "targetUrl": "https://tekton.example.com/runs/ci/build-1",
    }


@pytest.mark.parametrize(
    ("context", "sent"),
    [
        ("build", {"name": "build"}),
        ("tekton/a/b", {"genre": "tekton", "name": "a/b"}),
    ],
)
async def test_a_context_is_a_genre_and_a_name(host: Host, azure: Notifier, context: str, sent: dict[str, str]) -> None:
    await azure.deliver(status(context=context))
    assert host.last.json["context"] == sent


async def test_the_path_of_a_clone_url_is_the_same_repository(host: Host, azure: Notifier) -> None:
    await azure.deliver(status(repository="shop/_git/service"))
    assert "/acme/shop/_apis/git/repositories/service/commits/" in host.last.path
    assert azure.commit_url("shop/_git/service", SHA) == azure.commit_url("shop/service", SHA)


async def test_a_sign_in_page_is_a_refused_token(host: Host, azure: Notifier) -> None:
    host.default = Answer(203, b"<html><title>Azure DevOps Services | Sign In</title>")
    with pytest.raises(UnauthorizedError, match=r"answered 401: Azure DevOps Services . Sign In; the token is refused"):
        await azure.deliver(status())


async def test_a_wish_for_a_pause_counts_with_a_success_too(host: Host, azure: Notifier) -> None:
    host.default = Answer(200, {"state": "succeeded"}, {"Retry-After": "12", "X-RateLimit-Remaining": "0"})
    assert await azure.deliver(status()) == Receipt(rate_limit=RateLimit(limit=1, remaining=0, resets_in=12.0))


async def test_neither_the_token_nor_its_disguise_is_told(host: Host, azure: Notifier) -> None:
    host.default = Answer(403, f"{'x' * 290}{PACKED}{TOKEN}")
    with pytest.raises(PermanentError) as raised:
        await azure.deliver(status())
    assert PACKED[:8] not in str(raised.value)
    assert TOKEN[:8] not in str(raised.value)


async def test_what_azure_says_is_repeated(host: Host, azure: Notifier) -> None:
    message = "TF401019: The Git repository with name or identifier x does not exist."
    host.default = Answer(
        404, {"$id": "1", "innerException": None, "message": message, "typeKey": "GitRepositoryNotFound"}
    )
    with pytest.raises(PermanentError, match=r"answered 404: TF401019: .*'Code \(status\)'"):
        await azure.deliver(status())


async def test_a_page_that_comes_with_200_is_no_success(host: Host, azure: Notifier) -> None:
    host.default = Answer(200, {"value": []})
    with pytest.raises(RetryableError, match="is the url right"):
        await azure.deliver(status())


def offline(url: str | None = "https://dev.azure.com/acme") -> AzureDevOpsNotifier:
    return AzureDevOpsNotifier(HostSettings(name="a", url=url, token="x"))


@pytest.mark.parametrize(
    "path",
    [
        "shop/service",
        "a/b",
        "Shop.2/x.y_z-",
        "shop/_git/service",
        "2f3d5e7a-1b2c-4d5e-8f90-a1b2c3d4e5f6/r",
        "p/" + "r" * 64,
    ],
)
def test_paths_that_azure_can_have(path: str) -> None:
    assert offline().check_repository(path) is None


@pytest.mark.parametrize(
    "path",
    ["", "shop", "shop/", "/x", "a/b/c", "a/..", "../x", "_a/b", "a./b", "a/.b", "a/b.", "a b/c", "a/b%20c", "a/b?c", "a/b#c", "a/b\n",
     "ü/b", "a/_git/b/c", "a/_git/../b", "a/" + "r" * 65],
)  # fmt: skip
def test_paths_that_azure_cannot_have(path: str) -> None:
    assert offline().check_repository(path)


def test_a_commit_has_its_page() -> None:
    assert offline().commit_url("shop/r", "abc") == "https://dev.azure.com/acme/shop/_git/r/commit/abc"
    server = offline("https://tfs.example.com/tfs/DefaultCollection")
    assert server.commit_url("shop/r", "abc") == "https://tfs.example.com/tfs/DefaultCollection/shop/_git/r/commit/abc"


@pytest.mark.parametrize("url", [None, "https://dev.azure.com", "https://dev.azure.com/"])
def test_the_organization_is_asked_for(url: str | None) -> None:
    with pytest.raises(ValueError, match="url"):
        offline(url)
