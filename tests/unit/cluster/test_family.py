"""What lists and a watch say, in any order that a real cluster can give, ends in what the cluster holds, and never goes back."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from listener.cluster.decode import decode_task_run
from listener.cluster.family import Family, Members
from listener.cluster.names import Key
from listener.cluster.objects import PipelineRun, Pod

KEY = Key("team-a", "run")


def pod(name: str, version: int | str, *, uid: str = "u", task: str = "") -> Pod:
    return Pod("team-a", name, uid, str(version), "Running", (), task_run_uid=task)


@dataclass
class World:
    """A cluster with a history, a watch that lags behind it, and lists that take their time."""

    version: int = 10
    now: dict[str, Pod] = field(default_factory=dict)
    history: list[tuple[str, Pod]] = field(default_factory=list)
    told: int = 0  # events
    listing: tuple[list[Pod], int] | None = None
    seen: list[dict[str, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.members = Members[Pod](KEY, lambda _: True, self._look)

    def _look(self) -> None:
        self.seen.append({name: int(item.resource_version) for name, item in self.members.objects.items()})

    def write(self, name: str, *, delete: bool) -> None:
        known = self.now.get(name)
        if delete and known is None:
            return
        self.version += 1
        item = pod(name, self.version, uid=known.uid if known else f"u{self.version}")
        self.history.append(("DELETED" if delete else "ADDED", item))
        if delete:
            del self.now[name]
        else:
            self.now[name] = item

    def tell(self) -> None:
        if self.told < len(self.history):
            kind, item = self.history[self.told]
            self.told += 1
            if kind == "DELETED":
                self.members.gone(item.name, uid=item.uid, version=item.resource_version)
            else:
                self.members.apply(item)

    def begin(self) -> None:
        if self.listing is None:
            self.members.begin_list()
            self.listing = list(self.now.values()), self.version

    def end(self) -> None:
        if self.listing is not None:
            items, version = self.listing
            self.listing = None
            self.members.listed(items, version=str(version))

    def forget(self) -> None:
        """The watch loses its place: what was not told is never told, and a list begins."""
        self.end()
        self.told = len(self.history)
        self.begin()


NAMES = st.sampled_from("abc")
STEPS = st.lists(
    st.tuples(st.just("write"), NAMES)
    | st.tuples(st.just("delete"), NAMES)
    | st.tuples(st.sampled_from(["tell", "begin", "end", "forget"]), st.just("")),
    max_size=40,
)


@given(steps=STEPS)
def test_the_end_is_what_the_cluster_holds_and_no_object_ever_goes_back(steps: list[tuple[str, str]]) -> None:
    world = World()
    for what, name in steps:
        if what in ("write", "delete"):
            world.write(name, delete=what == "delete")
        else:
            getattr(world, what)()
    world.end()
    world.begin()
    world.end()
    after_list = dict(world.members.objects)
    assert after_list == world.now, "a list that began just now is not outdone by what the watch said before"
    while world.told < len(world.history):
        world.tell()
    assert world.members.objects == world.now
    newest: dict[str, int] = {}
    for state in world.seen:
        for name, version in state.items():
            assert version >= newest.get(name, 0), "it went back to an older version"
            newest[name] = version


def test_a_list_after_the_cluster_was_restored_from_a_backup_is_believed_although_its_versions_are_lower() -> None:
    members = Members[Pod](KEY, lambda _: True, lambda: None)
    members.begin_list()
    members.listed([pod("a", 900)], version="900")
    members.begin_list()
    members.listed([pod("a", 500)], version="600")
    assert members.objects["a"].resource_version == "500"
    members.apply(pod("a", 601))
    assert members.objects["a"].resource_version == "601"


def test_where_versions_are_no_numbers_the_watch_is_right_while_a_list_is_under_way() -> None:
    members = Members[Pod](KEY, lambda _: True, lambda: None)
    members.begin_list()
    members.apply(pod("a", "new"))
    members.apply(pod("b", "x"))
    members.gone("b", uid="u", version="y")
    members.listed([pod("a", "old"), pod("b", "x"), pod("c", "old")], version="list")
    assert {name: item.resource_version for name, item in members.objects.items()} == {"a": "new", "c": "old"}


def test_the_deletion_of_an_earlier_object_of_the_name_does_not_touch_the_one_that_is_there() -> None:
    members = Members[Pod](KEY, lambda _: True, lambda: None)
    members.begin_list()
    members.listed([pod("a", 20, uid="second")], version="x")
    members.gone("a", uid="first", version="19")
    assert members.objects["a"].uid == "second"


def test_the_pod_of_an_earlier_task_run_is_neither_there_nor_was() -> None:
    run = PipelineRun("team-a", "run", "uid", "1", "", "", {}, {}, {}, {})
    family = Family(run, lambda: None, lambda: "")
    task = decode_task_run(
        b'{"metadata":{"namespace":"team-a","name":"t","uid":"second","resourceVersion":"2"},"status":{}}'
    )
    family.pod_members.apply(pod("t-pod", 5, task="first"))
    assert family.pod("t-pod") is not None
    assert family.pod("t-pod", task) is None
    assert not family.pod_was_there("t-pod", task)
    family.pod_members.gone("t-pod", uid="u", version="6")
    assert family.pod_was_there("t-pod")
    assert not family.pod_was_there("t-pod", task)
    family.pod_members.apply(pod("t-pod", 7, uid="v", task="second"))
    family.pod_members.gone("t-pod", uid="v", version="8")
    assert family.pod("t-pod", task) is None
    assert family.pod_was_there("t-pod", task)
