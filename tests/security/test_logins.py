"""Point 9: users, their namespaces, their passwords, and those who guess."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path

import bcrypt
import pytest

from listener.assembly import StartError, read_settings
from listener.config import ConfigError
from listener.service import Service
from listener.web import auth, logins
from listener.web.auth import Credentials, User, Users
from listener.web.peers import Proxies
from listener.web.throttle import BURST, DRAWERS, MOST, WINDOW, Throttle
from tests.faults.test_bad_objects import run
from tests.hearing import hearing
from tests.scene import USER, Scene, basic
from tests.security.wire import ask, request

RUN = b"/status/team-a/service-xyz-run-a"


def hashed(password: str, *, cost: int = 4, prefix: bytes = b"2b") -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(cost, prefix=prefix)).decode()


ALICE, BOB = hashed("wonderland"), hashed("builder", prefix=b"2a")


@pytest.fixture
def listed(scene: Scene) -> Scene:
    """Two users of a file: all may read team-b, alice team-a."""
    scene.cluster.create("pipelineruns", run("a"))
    write(scene, f"# ours\nalice:{ALICE.replace('$2b$', '$2y$')}\n\nbob:{BOB}\n")
    scene.services = (
        "users:\n  - {name: alice, htpasswd_file: htpasswd, namespaces: [team-a]}\n"
        "  - {htpasswd_file: htpasswd, namespaces: [team-b]}\n"
        "  - {name: ci, password_file: password, namespaces: [team-a]}\n" + scene.services
    )
    return scene


def write(scene: Scene, text: str) -> None:
    (scene.folder / "htpasswd").write_text(text)


@pytest.fixture
def own_users(listed: Scene, monkeypatch: pytest.MonkeyPatch) -> Scene:
    original = Scene.write_config

    def write_config(scene: Scene) -> Path:
        path = original(scene)
        first, _, rest = path.read_text().partition("users:\n")
        path.write_text(first + rest.split("\n", 1)[1])
        return path

    monkeypatch.setattr(Scene, "write_config", write_config)
    return listed


async def login(service: Service, user: str, password: str, *headers: bytes) -> tuple[int, dict[str, str]]:
    head = request(RUN, b"Authorization: " + basic(user, password).encode(), *headers)
    status, answered, _ = await ask(service.port, head)
    return status, answered


async def test_point_09_users_of_an_htpasswd_file_see_their_namespaces_and_nothing_else(own_users: Scene) -> None:
    async with own_users.serve() as service:
        await service.runs.synced()
        assert (await login(service, "alice", "wonderland"))[0] == 200
        assert (await login(service, "bob", "builder"))[0] == 404
        assert (await login(service, USER, "correct horse"))[0] == 200
        for user, password in [
            ("alice", "builder"),
            ("alice", ""),
            ("bob", ""),
            ("carol", "x"),
            ("", ""),
            ("alice", ALICE),
        ]:
            assert (await login(service, user, password))[0] == 401, (user, password)


async def test_point_09_an_unknown_run_and_a_forbidden_one_get_the_same_answer(own_users: Scene) -> None:
    own_users.cluster.store.create("pipelineruns", "team-c", run("a"))
    async with own_users.serve() as service:
        await service.runs.synced()
        credentials = b"Authorization: " + basic("alice", "wonderland").encode()
        for kind in (b"/status", b"/runs"):
            there = await ask(service.port, request(kind + b"/team-c/service-xyz-run-a", credentials))
            not_there = await ask(service.port, request(kind + b"/team-c/service-xyz-run-b", credentials))
            assert there[0] == not_there[0] == 404
            assert there[2].replace(b"run-a", b"run-b") == not_there[2]
            assert {*there[1]} == {*not_there[1]}


async def test_point_09_a_changed_file_counts_at_once_and_a_broken_one_changes_nothing(own_users: Scene) -> None:
    async with own_users.serve() as service:
        await service.runs.synced()
        assert (await login(service, "alice", "wonderland"))[0] == 200
        with hearing() as heard:
            write(own_users, f"bob:{BOB}\n")
            service.reloader.ask()
            await heard.logged("configuration read again")
            assert (await login(service, "alice", "wonderland"))[0] == 401, "though it was known a moment before"
            write(own_users, f"alice:{ALICE}\nbob:hunter2\n")
            service.reloader.ask()
            (line,) = await heard.logged("the last good one stays")
            assert "htpasswd:2: no bcrypt hash; only bcrypt" in line
            assert "htpasswd -B" in line
            assert "hunter2" not in line
            assert (await login(service, "bob", "builder"))[0] == 404
            (own_users.folder / "htpasswd").unlink()
            service.reloader.ask()
            assert "No such file" in (await heard.logged("the last good one stays", times=2))[1]
            assert (await login(service, "bob", "builder"))[0] == 404
            assert b"htpasswd" in (await ask(service.port, request(b"/readyz")))[2]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "holds no user"),
        ("# nobody\n\n", "holds no user"),
        ("alice:secret\n", "htpasswd:1: no bcrypt hash; only bcrypt"),
        ("\nalice:$apr1$x$yyyyyyyyyyyyyyyyyyyyyy\n", "htpasswd:2: an MD5 hash; only bcrypt"),
        ("alice:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\n", "htpasswd:1: a SHA-1 hash; only bcrypt"),
        ("alice:$2x$05$" + "a" * 53 + "\n", "htpasswd:1: no whole bcrypt hash"),
        ("alice:$2y$31$" + ALICE[7:] + "\n", "htpasswd:1: its cost is 31; 4 to 14 are taken"),
        (f"alice:{ALICE}\nalice:{BOB}\n", "htpasswd:2: its user is there already, in line 1"),
        (f":{ALICE}\n", "htpasswd:1: no user name"),
        (f"alice:{ALICE[:-1]}\n", "htpasswd:1: no whole bcrypt hash"),
        ("alice\n", "htpasswd:1: not NAME:HASH"),
    ],
    ids=range(11),  # hashes have salts, and every worker must call them the same
)
def test_point_09_what_is_no_bcrypt_file_is_refused_with_its_line(own_users: Scene, content: str, words: str) -> None:
    write(own_users, content)
    with pytest.raises(ConfigError) as raised:
        read_settings(own_users.write_config(), {})
    assert words in str(raised.value)
    assert "secret" not in str(raised.value).replace("secret:", "")


@pytest.mark.parametrize(
    ("env", "content", "error"),
    [
        ({"AUTH_USERNAME": "ci", "AUTH_PASSWORD": ""}, "x\n", ConfigError),
        ({"AUTH_USERNAME": "", "AUTH_PASSWORD": "x"}, "x\n", ConfigError),
        ({"AUTH_USERNAME": "ci"}, "x\n", ConfigError),
        ({}, "\n", ConfigError),
        ({}, "", ConfigError),
    ],
)
def test_point_09_nothing_starts_with_empty_credentials(
    scene: Scene, env: dict[str, str], content: str, error: type[Exception]
) -> None:
    path = scene.write_config()
    (scene.folder / "password").write_text(content)
    with pytest.raises(error):
        read_settings(path, env)


async def test_point_09_a_name_that_is_there_twice_starts_nothing(scene: Scene) -> None:
    with pytest.raises(StartError, match="user ci is there twice"):
        async with scene.serve(environment_user=(USER, "another")):
            pass


# Those who guess


@pytest.fixture
def bcrypt_work(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The work of each check: 2 to the power of its cost."""
    spent: list[int] = []
    original = bcrypt.checkpw

    def counted(password: bytes, hashed_password: bytes) -> bool:
        spent.append(2 ** int(hashed_password[4:6]))
        return original(password, hashed_password)

    monkeypatch.setattr(bcrypt, "checkpw", counted)
    return spent


@pytest.mark.parametrize("name", ["alice", "dora", "plain", "nobody", ""])
def test_point_09_a_wrong_password_costs_the_same_for_every_name(name: str, bcrypt_work: list[int]) -> None:
    users = Users(
        [
            User("alice", ALICE.encode(), frozenset({"*"}), hashed=True, cost=4),
            User("dora", hashed("explorer", cost=6).encode(), frozenset({"*"}), hashed=True, cost=6),
            User("plain", b"word", frozenset({"*"})),
        ]
    )
    for password in (b"wrong", b"", b"x" * 200, b"\0", b"\xff\xfe"):
        bcrypt_work.clear()
        assert users.check(Credentials(name.encode(), password)) is None
        assert sum(bcrypt_work) == 64


@pytest.mark.parametrize("password", [b"right", b"x" * 72, "pässwörd ✓".encode()])
def test_point_09_the_right_password_is_compared_as_bytes(password: bytes) -> None:
    made = bcrypt.hashpw(password, bcrypt.gensalt(4))
    users = Users(
        [User("hashed", made, frozenset(), hashed=True, cost=4), User("plain", password, frozenset())],
    )
    for name in (b"hashed", b"plain"):
        assert users.check(Credentials(name, password)) is not None
        assert users.check(Credentials(name, password[:-1])) is None
        assert users.check(Credentials(name, password + b"\0")) is None


async def test_point_09_a_job_that_polls_pays_for_its_password_once(own_users: Scene, bcrypt_work: list[int]) -> None:
    async with own_users.serve() as service:
        await service.runs.synced()
        together = await asyncio.gather(*(login(service, "alice", "wonderland") for _ in range(30)))
        again = [await login(service, "alice", "wonderland") for _ in range(30)]
    assert {status for status, _ in together + again} == {200}
    assert len(bcrypt_work) == 1


async def test_point_09_guessing_is_throttled_for_this_peer_and_this_name_only(own_users: Scene) -> None:
    own_users.more = "trusted_proxies: [127.0.0.0/8]\n"
    evil, good = b"X-Forwarded-For: 192.0.2.66", b"X-Forwarded-For: 198.51.100.7"
    async with own_users.serve() as service:
        await service.runs.synced()
        with hearing() as heard:
            guesses = [await login(service, "alice", f"guess{n}", evil) for n in range(BURST + 3)]
            assert [status for status, _ in guesses] == [401] * BURST + [429] * 3
            assert 1 <= int(guesses[-1][1]["retry-after"]) <= WINDOW
            assert (await login(service, "alice", "wonderland", evil))[0] == 429, "right or wrong is not looked at"
            assert (await login(service, "alice", "wonderland", good))[0] == 200
            assert (await login(service, USER, "correct horse", evil))[0] == 200, "another name"
            assert (await login(service, "alice", "wonderland", evil))[0] == 200, "who is known again is at work"
            assert len(await heard.logged("too many failed logins of user alice from 192.0.2.66")) == 1
            assert not heard.count("guess")
        metrics = (await ask(service.port, request(b"/metrics")))[2].decode()
        assert f"tekton_listener_logins_failed_total {BURST}.0" in metrics
        assert "tekton_listener_logins_throttled_total 4.0" in metrics


async def test_point_09_many_guesses_at_once_count_as_many(own_users: Scene) -> None:
    async with own_users.serve() as service:
        await service.runs.synced()
        answers = await asyncio.gather(*(login(service, "alice", f"guess{n}") for n in range(BURST * 3)))
    assert sum(status == 401 for status, _ in answers) <= BURST


@pytest.mark.parametrize(
    ("trusted", "headers", "client"),
    [
        ([], ["192.0.2.1"], "10.0.0.1"),  # nobody is trusted: a header is a claim
        (["172.16.0.0/12"], ["192.0.2.1"], "10.0.0.1"),  # not this proxy
        (["10.0.0.1"], ["192.0.2.1, 203.0.113.9"], "203.0.113.9"),  # the first one is what the client itself has sent
        (["10.0.0.1"], ["192.0.2.1", "203.0.113.9"], "203.0.113.9"),
        (["10.0.0.1"], ["192.0.2.1,nonsense"], "10.0.0.1"),
        (["10.0.0.1"], ["192.0.2.1, " * 5000 + "203.0.113.9"], "203.0.113.9"),
        (["10.0.0.1"], ["192.0.2.1"], "192.0.2.1"),
        (["10.0.0.1", "203.0.113.0/24"], ["192.0.2.1:4711, 203.0.113.9"], "192.0.2.1"),
        (["10.0.0.1"], ["[2001:db8::1]:4711"], "2001:db8::/64"),  # who has one has them all
        (["10.0.0.1"], ["::ffff:192.0.2.1"], "192.0.2.1"),
    ],
)
def test_point_09_a_forged_address_is_no_way_around_the_throttle(
    trusted: list[str], headers: list[str], client: str
) -> None:
    assert Proxies(trusted).client("10.0.0.1", headers) == client
    assert Proxies(trusted).client("::ffff:10.0.0.1", headers) == client


def test_point_09_what_the_throttle_keeps_is_bounded_and_is_paid_off() -> None:
    throttle = Throttle()
    for number in range(MOST + 500):
        throttle.charge(throttle.spot(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", b"x"), now=0.0)
    assert len(throttle) == MOST
    drawers = {throttle.spot("10.9.9.9", f"name{number}".encode()) for number in range(5000)}
    assert len(drawers) == DRAWERS
    spot = throttle.spot("192.0.2.1", b"alice")
    for _ in range(BURST):
        assert throttle.wait(spot, now=100.0) == 0
        throttle.charge(spot, now=100.0)
    wait = throttle.wait(spot, now=100.0)
    assert 0 < wait <= WINDOW / BURST
    assert throttle.wait(spot, now=100.0 + wait) == 0
    throttle.charge(spot, now=100.0 + WINDOW)
    assert len(throttle) == 1, "what is paid off is forgotten"


async def test_point_09_how_many_passwords_wait_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    released = asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow(self: Users, credentials: Credentials) -> None:
        asyncio.run_coroutine_threadsafe(released.wait(), loop).result()

    monkeypatch.setattr(Users, "check", slow)
    door = logins.Logins(Users([User("alice", ALICE.encode(), frozenset(), hashed=True, cost=4)]))

    async def attempt(number: int) -> str:
        text = base64.b64encode(f"user{number}:x".encode()).decode()
        try:
            await door.login(f"Basic {text}", peer=f"10.0.{number // 20}.1")
        except logins.LoginError as error:
            return type(error).__name__
        return "in"

    attempts = [asyncio.create_task(attempt(number)) for number in range(200)]
    await asyncio.sleep(0)
    busy = [task for task in attempts if task.done()]
    assert {task.result() for task in busy} == {"BusyError"}
    assert len(attempts) - len(busy) == logins._MOST_WAITING
    released.set()
    assert {await task for task in attempts} == {"BusyError", "WrongError"}
    assert not door._waiting
    door.close()


def test_point_09_credentials_are_in_no_repr() -> None:
    user = User("alice", ALICE.encode(), frozenset(), hashed=True, cost=4)
    credentials = auth.credentials_of(basic("alice", "wonderland"))
    shown = f"{user!r} {credentials!r} {Users([user])!r}"
    assert ALICE not in shown
    assert "wonderland" not in shown
