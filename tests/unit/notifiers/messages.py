"""What the channels' tests say."""

from __future__ import annotations

from typing import Any

from notifiers.base import Outcome
from notifiers.reports import Message, RunDetails, TaskDetails
from tests.unit.notifiers.scene import SHA

UID = "6f0c3f1e-1c1f-4d0e-9f5e-0a1b2c3d4e5f"
KEY = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
DETAILS = RunDetails(
    namespace="ci",
    name="service-xyz-run-1",
    uid=UID,
    pipeline="build",
    service="service-xyz",
    created="2026-01-01T00:00:00Z",
    started="2026-01-01T00:00:01Z",
    completed="2026-01-01T00:00:42Z",
    duration="41s",
    reason="Failed",
    tasks=(
        TaskDetails(name="fetch", state="succeeded", duration="3s"),
        TaskDetails(name="build", state="failed", duration="30s", note="compile exited 2"),
        TaskDetails(name="lint", state="skipped", note="build failed", optional=True),
    ),
    failed_task="build",
    failed_step="compile",
    exit_code=2,
    log_tail="cc -c main.c\nmain.c:7:1: error: oh no\n",
    commit_url=f"https://git.example.com/group/service-xyz/-/commit/{SHA}",
    repository_url="https://git.example.com/group/service-xyz",
)


def message(**fields: Any) -> Message:
    """A run that failed."""
    given: dict[str, Any] = {
        "repository": "group/service-xyz",
        "sha": SHA,
        "context": "tekton/build",
        "outcome": Outcome.FAILED,
        "description": "Failed in 41s: build › compile exited 2",
        "target_url": "https://tekton.example.com/runs/ci/service-xyz-run-1",
        "ref": "main",
        "event": "failed",
        "title": "service-xyz failed on main",
        "text": "**service-xyz** failed: `build` › `compile` exited 2",
        "details": DETAILS,
        **fields,
    }
    return Message(**given)
