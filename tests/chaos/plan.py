"""What happens in a chaos run, and when: all of it drawn from one seed before it begins."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, field
from typing import Any, Final

from listener.demo.githost import HostFault
from listener.demo.kubernetes import Fault
from listener.demo.kubernetes.faults import Seen
from tests.runs import CONDITIONS

NAMESPACE: Final = "team-a"
REPOSITORIES: Final = 6  # on each host
ENDS: Final = {
    "succeeded": ("success", "success"),
    "failed": ("failed", "failure"),
    "cancelled": ("canceled", "error"),
}  #: a run's last condition → what GitLab and GitHub call it
_CANCELLED: Final = {"type": "Succeeded", "status": "False", "reason": "Cancelled", "message": "cancelled"}
_PIPELINES: Final = ("build", "test", "scan")


@dataclass(frozen=True, slots=True)
class Lane:
    """Where a run is to be seen."""

    host: str  #: gitlab or github
    path: str
    sha: str
    context: str


@dataclass(slots=True)
class Life:
    """One PipelineRun of the plan."""

    name: str
    lane: Lane
    created: str
    end: str  #: a key of ``ENDS``
    pruned: bool  #: deleted soon after it ended; its service guarantees delivery

    @property
    def word(self) -> str:
        """The host's word for its end."""
        return ENDS[self.end][0 if self.lane.host == "gitlab" else 1]

    def body(self) -> dict[str, Any]:
        labels = {"tekton.dev/pipeline": self.lane.context.removeprefix("tekton/")}
        meta = {"name": self.name, "namespace": NAMESPACE, "labels": labels, "creationTimestamp": self.created}
        return {"metadata": meta, "spec": {"params": [{"name": "revision", "value": self.lane.sha}]}}

    def condition(self, state: str) -> dict[str, Any]:
        return {"status": {"conditions": [CONDITIONS.get(state, _CANCELLED)]}}


@dataclass(order=True, slots=True)
class Event:
    """Something to do at a time, in seconds from the beginning."""

    at: float
    what: str = field(compare=False)  #: create, move, delete; api, host, hosts-down; kill, freeze, stop
    life: Life | None = field(default=None, compare=False)
    detail: Any = field(default=None, compare=False)
    lasts: float = field(default=0.0, compare=False)  #: seconds


class Plan:
    """All events of a run of chaos, in order."""

    def __init__(self, seed: int, *, runs: int, seconds: float, replicas: int) -> None:
        self._random = random.Random(seed)
        self.seconds, self.replicas = seconds, replicas
        self.lives: list[Life] = []
        self.events: list[Event] = []
        for number in range(runs):
            self._live(number, self._random.uniform(0, seconds * 0.9))
        for make in (self._trouble_at_the_api, self._trouble_at_a_host, self._trouble_with_a_replica):
            at = self._random.uniform(2, 5)
            while at < seconds * 0.9:
                at = make(at) + self._random.uniform(1, 6)
        self.lives.sort(key=lambda life: (life.created, life.name))
        self.events.sort()

    def newest(self) -> dict[Lane, Life]:
        """The youngest run on each lane: what its commit must show in the end."""
        return {life.lane: life for life in self.lives}

    def _live(self, number: int, at: float) -> None:
        draw = self._random
        host = draw.choice(("gitlab", "github"))
        repository = draw.randrange(REPOSITORIES)
        owner, family = ("group", "glrun") if host == "gitlab" else ("acme", "ghrun")
        sha = hashlib.sha1(str(draw.random()).encode(), usedforsecurity=False).hexdigest()
        lane = Lane(host, f"{owner}/service-{repository}", sha, f"tekton/{draw.choice(_PIPELINES)}")
        earlier = [life.lane for life in self.lives[-40:] if life.lane.host == host]
        if earlier and draw.random() < 0.2:  # a re-run
            lane = draw.choice(earlier)
        service = lane.path.partition("/")[2]
        created = f"2026-11-23T{10 + int(at) // 3600:02d}:{int(at) // 60 % 60:02d}:{int(at) % 60:02d}Z"
        # Two runs of one second are ordered by their UIDs, which nobody can know beforehand: give each lane its own seconds.
        while any(life.lane == lane and life.created == created for life in self.lives):
            at += 1
            created = f"2026-11-23T{10 + int(at) // 3600:02d}:{int(at) // 60 % 60:02d}:{int(at) % 60:02d}Z"
        pruned = host == "gitlab" and draw.random() < 0.3
        life = Life(f"{service}-{family}-{number}", lane, created, draw.choice(tuple(ENDS)), pruned)
        self.lives.append(life)
        started, ended = at + draw.expovariate(1), at + 1 + draw.expovariate(0.25)
        self.events.append(Event(at, "create", life))
        if started < ended:
            self.events.append(Event(started, "move", life, "running"))
        self.events.append(Event(ended, "move", life, life.end))
        if pruned:
            self.events.append(Event(ended + draw.expovariate(1), "delete", life))

    def _trouble_at_the_api(self, at: float) -> float:
        draw, lasts = self._random, self._random.uniform(0.5, 4)
        chance = draw.uniform(0.3, 1.0)

        def unlucky(_: Seen) -> bool:
            return draw.random() < chance

        kind = draw.choice(("500", "429", "reset", "hang", "cut", "compact", "down"))
        fault = {
            "500": Fault(status=500, body=b"etcdserver: leader changed", when=unlucky),
            "429": Fault(status=429, headers={"Retry-After": "1"}, when=unlucky),
            "reset": Fault(reset=True, when=unlucky),
            "hang": Fault(hang=True, when=unlucky),
        }.get(kind)
        self.events.append(Event(at, "api", None, fault or kind, lasts))
        return at + lasts

    def _trouble_at_a_host(self, at: float) -> float:
        draw, lasts = self._random, self._random.uniform(0.5, 5)
        kind = draw.choice(("500", "502", "503", "reset", "lost", "429", "secondary", "down"))
        faults = {
            "500": HostFault(status=500),
            "502": HostFault(status=502, body="<html><title>Bad Gateway</title></html>"),
            "503": HostFault(status=503, headers={"Retry-After": "1"}),
            "reset": HostFault(reset=True),
            "lost": HostFault(accept_then_hang=True, times=draw.randint(1, 3)),
            "429": HostFault(status=429, headers={"Retry-After": "2"}),
            "secondary": HostFault(
                status=403,
                body='{"message": "You have exceeded a secondary rate limit."}',
                headers={"Retry-After": "1", "Content-Type": "application/json"},
            ),
        }
        which = "github" if kind == "secondary" else draw.choice(("gitlab", "github"))
        self.events.append(Event(at, "host", None, (which, faults.get(kind, "down")), lasts))
        return at + lasts

    def _trouble_with_a_replica(self, at: float) -> float:
        draw = self._random
        kind, lasts = draw.choice(("kill", "freeze", "stop")), draw.uniform(1, 6)
        self.events.append(Event(at, kind, None, draw.randrange(self.replicas), lasts))
        return at + lasts
