"""What there is to say: the state of a run on a commit, and whatever else can be told of it.

Plain values. Every report is a ``CommitStatus`` with more to it, so that whoever can say anything can say where, what and how it went. Texts are
complete and at full length: the listener writes them (Markdown, where a host shows Markdown), a notifier cuts them to its host's limits.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field


class Outcome(enum.Enum):
    """What became of a run so far, in words that every Git host's own states can be told from."""

    QUEUED = "queued"  #: accepted, nothing has run yet
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"  #: a task failed
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    BROKEN = "broken"  #: the run could not be started: missing task, invalid pipeline, …
    DELETED = "deleted"  #: the run was deleted before it finished

    @property
    def final(self) -> bool:
        """True when nothing can follow."""
        return self not in (Outcome.QUEUED, Outcome.RUNNING)

    @property
    def failure(self) -> bool:
        """True when somebody has to mend something."""
        return self in (Outcome.FAILED, Outcome.TIMED_OUT, Outcome.BROKEN)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskDetails:
    """One task of a run."""

    name: str  #: as the pipeline calls it; of a matrix with the values that tell it from the others
    state: str  #: waiting, running, succeeded, failed, timed_out, cancelled, skipped, unknown
    duration: str = ""  #: ``2m 14s``; "" while it runs
    note: str = ""  #: why it was skipped, what broke: ``compile exited 2``, ``after 3 attempts``
    optional: bool = False  #: its failure does not count


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDetails:
    """All that is known of a run, for hosts that show more than a sentence. Times are RFC 3339 text, or ""."""

    namespace: str = ""
    name: str = ""
    uid: str = ""
    pipeline: str = ""
    service: str = ""
    created: str = ""
    started: str = ""
    completed: str = ""
    duration: str = ""
    reason: str = ""  #: Tekton's word: ``Failed``, ``PipelineRunTimeout``, ``CouldntGetTask``, …
    tasks: tuple[TaskDetails, ...] = ()
    failed_task: str = ""
    failed_step: str = ""
    exit_code: int | None = None
    log_tail: str = ""  #: last lines of the step that broke, without escape sequences; many: a host cuts what it shows
    commit_url: str = ""
    repository_url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitStatus:
    """One thing to say about one commit.

    ``description`` and ``target_url`` come at full length: only the notifier knows its host's limits and cuts.
    """

    repository: str  #: the path on the host, ``group/sub/project`` or ``owner/repo``; already validated
    sha: str  #: 40 or 64 lower-case hex digits
    context: str  #: the status's name on the commit: GitHub ``context``, GitLab ``name``
    outcome: Outcome
    description: str
    target_url: str | None = None
    ref: str | None = None  #: the branch or tag, where the run knows it
    optional: bool = False  #: of a task: its failure must not block; ``description`` says so already


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRun(CommitStatus):
    """The same as a GitHub check run. ``details.log_tail`` may hold compiler's messages, ``path:line:column: error: …``."""

    text: str  #: Markdown: the table of tasks, the last lines of the step that broke
    details: RunDetails = field(default_factory=RunDetails)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comment(CommitStatus):
    """A section of the one comment on the open merge/pull requests that have this commit as their head.

    Each ``context`` has a section of its own; what an older run (``details.created``, then ``details.uid``) says never replaces a younger one's. With
    no such request there is nothing to say, which is success.
    """

    text: str  #: Markdown
    details: RunDetails = field(default_factory=RunDetails)
    only_update: bool = False  #: write no new section, but if there is one from an earlier run, say what became of it


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels(CommitStatus):
    """Labels on the open merge/pull requests that have this commit as their head: ``add`` these, ``remove`` those, leave all others."""

    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment(CommitStatus):
    """What became of the deployment of this commit (``ref``, where known) to ``environment``."""

    environment: str
    environment_url: str | None = None
    details: RunDetails = field(default_factory=RunDetails)


@dataclass(frozen=True, slots=True, kw_only=True)
class Message(CommitStatus):
    """A message for people or machines that watch no commit. Each run says each of its states once."""

    event: str  #: why it is sent: started, succeeded, failed, cancelled, or broken and fixed where that is new on its branch
    title: str  #: one line, plain text
    text: str  #: Markdown; what the operator's template says, or a good default
    templated: bool = False  #: ``text`` is the operator's own template; a webhook posts it as it is
    details: RunDetails = field(default_factory=RunDetails)
