"""The types of what a service tells beyond one commit status: checks and tasks, comments, labels, deployments, messages."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from listener.template import Template

#: When a message is sent. ``broken`` and ``fixed``: the run before it on its branch had ended the other way.
Event = Literal["started", "succeeded", "failed", "cancelled", "finished", "broken", "fixed"]
#: What labels can tell of a run.
LabelledState = Literal["running", "succeeded", "failed", "cancelled"]
_LABEL_LIMIT: Final = 255


def _text(text: str) -> str:
    Template.parse(text, facts=True)
    return text


def _plain_template(text: str) -> str:
    Template.parse(text)
    return text


def _listed(value: Any) -> Any:
    """One word may stand without the brackets of a list."""
    return [value] if isinstance(value, str) else value


def _comment(value: Any) -> Any:
    return {"when": value} if isinstance(value, str) else value


def _label(text: str) -> str:
    if not text.strip() or len(text) > _LABEL_LIMIT or "," in text or any(ord(character) < 32 for character in text):
        raise ValueError("not a label's name: 1 to 255 characters, no comma and no control characters")
    return text


FactsText = Annotated[str, Field(min_length=1), AfterValidator(_text)]
_TemplateText = Annotated[str, Field(min_length=1), AfterValidator(_plain_template)]
_What = Literal["run", "tasks", "checks"]


class Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class CommentSettings(Model):
    """A comment on the merge or pull requests that have the commit as their head."""

    when: Literal["on-failure", "always"] = Field(
        "on-failure",
        description=(
            "on-failure: when a run failed, and once more when a later one passed. always: whenever a run has ended."
        ),
    )
    text: FactsText | None = Field(None, description="The comment in Markdown with $(…). Without it: a good default.")


class Notify(Model):
    """A rule: on which events a run is told to a channel."""

    channel: Annotated[str, Field(min_length=1)] = Field(description="A name from channels:.")
    on: Annotated[
        tuple[Event, ...],
        BeforeValidator(_listed, json_schema_input_type=Event | tuple[Event, ...]),
        Field(min_length=1, strict=False),
    ] = Field(
        ("broken", "fixed"),
        description=(
            "started, succeeded, failed, cancelled, finished; broken and fixed: only where the run before on the same branch had"
            " ended the other way."
        ),
    )
    text: FactsText | None = Field(
        None,
        description="The message with $(…), in Markdown; for a webhook the whole body. Without it: a good default.",
    )


class Reports(Model):
    """What a service tells beyond one commit status. Part of an entry of ``services:``."""

    report: Annotated[
        tuple[_What, ...],
        BeforeValidator(_listed, json_schema_input_type=_What | tuple[_What, ...]),
        Field(min_length=1, strict=False),
    ] = Field(
        ("run",),
        description=(
            "run: one status for the run. tasks: one for each task of its pipeline as well, below the run's context. checks: GitHub"
            " check runs with a summary and annotations instead of statuses, where the host is a GitHub App. Or a list."
        ),
    )
    optional_tasks: Annotated[
        tuple[Annotated[str, Field(min_length=1)], ...],
        BeforeValidator(_listed, json_schema_input_type=str | tuple[str, ...]),
        Field(strict=False),
    ] = Field(
        (),
        description=(
            "Names or patterns ('*', '?') of tasks whose failure must not block: their status passes and says that they failed, as a"
            " check run they are neutral."
        ),
    )
    description: FactsText | None = Field(
        None, description="The status's sentence with $(…), for example $(run.sentence) by $(params.author)."
    )
    comment: Annotated[
        CommentSettings | None,
        BeforeValidator(_comment, json_schema_input_type=Literal["on-failure", "always"] | CommentSettings | None),
    ] = Field(
        None,
        description=(
            "One comment on the merge or pull request, which updates itself: on-failure, always, or {when: …, text: …}. GitLab and"
            " GitHub."
        ),
    )
    labels: dict[LabelledState, Annotated[str, AfterValidator(_label)]] = Field(
        default_factory=dict,
        description=(
            "Labels on the merge or pull request by the run's state: running, succeeded, failed, cancelled. The one of the state is"
            " there, the others are not. GitLab and GitHub."
        ),
    )
    environment: _TemplateText | None = Field(
        None, description="The environment that the runs deploy to: each is told as a deployment. GitLab and GitHub."
    )
    environment_url: _TemplateText | None = Field(
        None, description="Where the environment is seen, for its link on GitHub."
    )
    notify: Annotated[tuple[Notify, ...], Field(strict=False)] = Field(
        (), description="Channels that are told of runs. Of several rules for one channel the first that fits counts."
    )
