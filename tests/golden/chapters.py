"""The golden files: which requests of which place stand in which of them."""

from __future__ import annotations

from typing import Any

from listener.demo.githost import Asked
from listener.demo.github import GitHub
from tests.golden.telling import Told
from tests.golden.writing import Body, Chapter
from tests.hosts.forges import FORGES

_PREFIX = "tekton/service-xyz-run-"


def _in(part: str) -> Any:
    return lambda asked: part in asked.path


def _to(end: str) -> Any:
    return lambda asked: asked.path.endswith(end)


def _named(*fields: str) -> Any:
    """About what the body says in one of ``fields``, in short: ``run`` or ``run/build``."""

    def thing(_: Told, __: Asked, body: Body) -> str:
        name = next(str(body[field]) for field in fields if field in body)
        if isinstance(body.get("context"), dict):
            name = f"{body['context']['genre']}/{body['context']['name']}"
        task = name.removeprefix(_PREFIX).partition("/")[2]
        return f"task {task}" if task else "run"

    return thing


def _check(told: Told, asked: Asked, body: Body) -> str:
    """A check run is changed by its number; what was made has a name."""
    if "name" in body:
        return str(_named("name")(told, asked, body))
    assert isinstance(told.host, GitHub)
    made = told.host.checks.all[int(asked.path.rpartition("/")[2])]
    return str(_named("name")(told, asked, {"name": made.name}))


def _nothing(*_: Any) -> str:
    return ""


def _state(*fields: str) -> Any:
    return lambda body: str(next((body[field] for field in fields if body.get(field)), ""))


def _is_post(asked: Asked) -> bool:
    return asked.method == "POST"


def _host(kind: str, name: str, belongs: Any) -> Chapter:
    return Chapter(
        file=kind,
        title=f"{name}: commit statuses",
        place=kind,
        about="With `report: [run, tasks]`: the status of the run, and one for each task.",
        belongs=belongs,
        thing=_named("key", "name", "context"),
        state=_state("state"),
        sentence="description",
        left_out=("pipeline_id",),
    )


def _of_both(file: str, title: str, about: str, parts: dict[str, Any], **more: Any) -> list[Chapter]:
    return [
        Chapter(
            file=f"{place}-{file}",
            title=f"{name}: {title}",
            place=place,
            about=about,
            belongs=parts[place],
            **more,
        )
        for place, name in (("gitlab", "GitLab"), ("github", "GitHub"))
    ]


CHAPTERS = [
    _host("gitlab", "GitLab", _in("/statuses/")),
    _host("github", "GitHub", _in("/statuses/")),
    *(_host(forge.kind, forge.kind, _is_post) for forge in FORGES),
    Chapter(
        file="github-checks",
        title="GitHub: check runs",
        place="github-app",
        about="With `report: [run, tasks, checks]`: a check run for the run, and one for each task. Below the fields stands the summary.",
        belongs=_in("/check-runs"),
        thing=_check,
        state=_state("conclusion", "status"),
        sentence="output.title",
        markdown=("output.summary",),
        left_out=("external_id",),
    ),
    *_of_both(
        "comment",
        "the comment",
        "With `comment: always`: what the one comment on the merge or pull request says of each run, as it is written.",
        {"gitlab": _in("/notes"), "github": _in("/comments")},
        thing=_nothing,
        state=_nothing,
        markdown=("body",),
    ),
    *_of_both(
        "labels",
        "labels",
        "Labels on the merge or pull request. The runs are told one after the other: the label of the one before goes first.",
        {"gitlab": _to("/merge_requests/7"), "github": _in("/labels")},
        thing=lambda _, asked, body: asked.method.lower(),
        state=lambda body: str(body.get("add_labels") or ", ".join(body.get("labels", ()))),
    ),
    *_of_both(
        "deployments",
        "deployments",
        "With `environment: review/$(run.name)`: one that each run has for itself.",
        {"gitlab": _in("/deployments"), "github": _in("/deployments")},
        thing=_nothing,
        state=_state("status", "state"),
    ),
    Chapter(
        file="apprise-markdown",
        title="Chat by Apprise, where Markdown is shown",
        place="chat",
        about="With `on: [started, finished]`: the title, and the message as it is written.",
        belongs=_in("/json"),
        thing=_nothing,
        state=_state("type"),
        markdown=("message",),
        left_out=("version", "attachments"),
    ),
    Chapter(
        file="apprise-text",
        title="Chat by Apprise, where it makes one text of title and message",
        place="chat",
        about="With `on: [started, finished]`: the same messages to Mattermost.",
        belongs=_in("/hooks"),
        thing=_nothing,
        state=_nothing,
        markdown=("text",),
        left_out=("icon_url", "username"),
    ),
    Chapter(
        file="webhook",
        title="Webhook: CloudEvents",
        place="hook",
        about="With `on: finished`: the event, and below it its text.",
        belongs=_in("/hooks"),
        thing=_nothing,
        state=_nothing,
        markdown=("data.text",),
    ),
    Chapter(
        file="webhook-template",
        title="Webhook: a template of one's own",
        place="slack",
        about="""With `text: '{"text": "$(run.name): $(run.sentence) <$(run.url)|Log>", "tail": "$(log.tail)"}'`.""",
        belongs=_in("/hooks"),
        thing=_nothing,
        state=_nothing,
    ),
]
