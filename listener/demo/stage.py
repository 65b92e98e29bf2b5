"""What stands around the service in the demo: the cluster, GitLab, GitHub with an App, a chat, an EventListener; and the configuration for all of it.

GitLab takes a token. GitHub takes a token for one repository and an App, which may write check runs, for another; the chat takes signed webhooks.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from listener.demo.chat import Chat
from listener.demo.event_listener import EventListener
from listener.demo.github import GitHub
from listener.demo.github_pulls import Pull
from listener.demo.gitlab import GitLab
from listener.demo.gitlab_merge_requests import MergeRequest
from listener.demo.kubernetes import KubernetesApi
from listener.demo.story import COMMITS, GITHUB_PATH, GITLAB_PATH, ON_MAIN, WEB_COMMITS, WEB_PATH, branch_of

USER: Final = "demo"
PASSWORD: Final = "demo"
TOKEN: Final = "demo-token"
NAMESPACE: Final = "ci"
PORTS: Final = 5  #: that follow the service's own: GitLab, GitHub, the cluster, the EventListener, the chat
_APP: Final = 1
_INSTALLATION: Final = 11
_LIMIT: Final = 10_000_000  # requests per hour on GitHub: whoever leaves the demo on shall not run into it


@dataclass(frozen=True, kw_only=True)
class Stage:
    """All of it, running. ``merge_request`` and ``pull`` are those of the first commit, ``web_pull`` is service-web's first."""

    cluster: KubernetesApi
    gitlab: GitLab
    github: GitHub
    triggers: EventListener
    chat: Chat
    config: Path
    kubeconfig: Path
    merge_request: MergeRequest
    pull: Pull
    web_pull: Pull


@contextlib.asynccontextmanager
async def stage(folder: Path, *, port: int) -> AsyncIterator[Stage]:
    """Everything but the service, which is to listen on ``port``; the others take the ports after it, any if it is 0. ``folder``: for the service's files."""
    async with contextlib.AsyncExitStack() as stack:
        gitlab, github, cluster, triggers, chat = (port + number if port else 0 for number in range(1, PORTS + 1))
        key = f"whsec_{secrets.token_urlsafe(32).replace('-', '+').replace('_', '/')}="
        kubernetes = await stack.enter_async_context(KubernetesApi(port=cluster, bookmark_interval=20))
        lab = await stack.enter_async_context(GitLab(port=gitlab, tokens=(TOKEN,)))
        hub = await stack.enter_async_context(GitHub(port=github, tokens=(TOKEN,), limit=_LIMIT))
        talk = await stack.enter_async_context(Chat(port=chat, key=key))
        listening = await stack.enter_async_context(EventListener(kubernetes, namespace=NAMESPACE, port=triggers))
        requests, pulls, web_pulls = _fill(lab, hub)
        public_url = f"http://127.0.0.1:{port or 8080}"
        config = write_config(
            folder, gitlab=lab.url, github=hub.url, chat=talk.url, chat_key=key, public_url=public_url
        )
        _add_app(hub, folder)
        yield Stage(
            cluster=kubernetes,
            gitlab=lab,
            github=hub,
            triggers=listening,
            chat=talk,
            config=config,
            kubeconfig=kubernetes.kubeconfig(folder / "kubeconfig"),
            merge_request=requests[0],
            pull=pulls[0],
            web_pull=web_pulls[0],
        )


def _fill(gitlab: GitLab, github: GitHub) -> tuple[list[MergeRequest], list[Pull], list[Pull]]:
    """Repositories, commits, and a merge or pull request for each commit that is not on main."""
    gitlab.add_project(GITLAB_PATH, ON_MAIN | COMMITS, any_commit=True)
    github.add_project(GITHUB_PATH, ON_MAIN | COMMITS, any_commit=True)
    github.add_project(WEB_PATH, dict(WEB_COMMITS))
    github.scopes[TOKEN] = "repo"

    def asked(host: Any, path: str, commits: dict[str, str]) -> list[Any]:
        return [host.open(path, sha, title=title, branch=branch_of(title)) for sha, title in commits.items()]

    return (
        asked(gitlab.merge_requests, GITLAB_PATH, COMMITS),
        asked(github.pulls, GITHUB_PATH, COMMITS),
        asked(github.pulls, WEB_PATH, WEB_COMMITS),
    )


def _add_app(github: GitHub, folder: Path) -> None:
    """An App that is installed for the owner of all repositories; its private key goes where the configuration looks for it."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    plain = serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    (folder / "app.pem").write_bytes(pem)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    github.add_app(_APP, public.decode(), {WEB_PATH.partition("/")[0]: _INSTALLATION})


def write_config(folder: Path, *, gitlab: str, github: str, chat: str, chat_key: str, public_url: str) -> Path:
    """The service's configuration, as a user would write it."""
    (folder / "token").write_text(f"{TOKEN}\n")
    (folder / "password").write_text(f"{PASSWORD}\n")
    (folder / "link-key").write_text(f"{secrets.token_hex(32)}\n")
    (folder / "chat-key").write_text(f"{chat_key}\n")
    told: dict[str, Any] = {
        "commit": "$(params.revision)",
        "ref": "$(params.branch)",
        "comment": "on-failure",
        "notify": [{"channel": "team-chat", "on": ["broken", "fixed"]}],
    }
    xyz: dict[str, Any] = told | {
        "name": "service-xyz",
        "repository": [f"gitlab:{GITLAB_PATH}", f"github:{GITHUB_PATH}"],
        "report": ["run", "tasks"],
        "optional_tasks": ["links"],
    }
    runs = {"namespace": NAMESPACE, "name": "service-xyz-run-*"}
    config = {
        "public_url": public_url,
        "default_namespace": NAMESPACE,
        "users": [{"name": USER, "password_file": "password", "namespaces": ["*"]}],
        "hosts": {
            "gitlab": {"kind": "gitlab", "url": gitlab, "token_file": "token"},
            "github": {"kind": "github", "url": github, "token_file": "token", "seconds_between_writes": 0},
            "github-app": {
                "kind": "github",
                "url": github,
                "app_id": _APP,
                "private_key_file": "app.pem",
                "seconds_between_writes": 0,  # this GitHub is in no hurry to be left alone
            },
        },
        "channels": {"team-chat": {"kind": "webhook", "url": f"{chat}/hooks", "token_file": "chat-key"}},
        "links": "signed",  # so that "Details" opens without a password
        "signed_links": {"key_file": "link-key"},
        "logs": {"record": True, "archive": "logs"},  # so that the cancelled run keeps its log
        "services": [
            xyz
            | {
                "runs": runs | {"labels": {"tekton.dev/pipeline": "lint"}},
                "labels": {"running": "lint::running", "succeeded": "lint::passed", "failed": "lint::failed"},
            },
            xyz
            | {
                "runs": runs | {"labels": {"tekton.dev/pipeline": "deploy"}},
                "environment": "$(params.environment)",
                "environment_url": "https://$(params.environment).example.com",
                "notify": [{"channel": "team-chat", "on": ["succeeded", "failed"]}],
            },
            xyz | {"runs": runs},
            told
            | {
                "name": "service-web",
                "runs": {"namespace": NAMESPACE, "name": "service-web-run-*"},
                "repository": f"github-app:{WEB_PATH}",
                "report": "checks",
            },
        ],
    }
    path = folder / "listener.yaml"
    path.write_text(yaml.dump(config, Dumper=_Plain, sort_keys=False))
    return path


class _Plain(yaml.SafeDumper):
    """Without anchors, which nobody writes by hand."""

    def ignore_aliases(self, data: Any) -> bool:
        return True
