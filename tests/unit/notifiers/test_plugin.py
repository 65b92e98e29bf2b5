"""The example of a plug-in does what the contract wants of every notifier, as the suite sees; here is what is its own."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from notifiers.base import HostSettings
from tests.unit.notifiers.host import Answer, Host
from tests.unit.notifiers.messages import message
from tests.unit.notifiers.scene import TOKEN, Connect
from tests.unit.notifiers.subject import Subject

PUBLISHED = Answer(200, {"id": "hwQ2YpKdmg", "event": "message"})
FILE = Path(__file__).parents[3] / "config" / "examples" / "notifier-plugin" / "tekton_ntfy" / "__init__.py"


def _loaded() -> ModuleType:
    """The example, which is not installed here: ``tests/e2e/test_plugin.py`` does that."""
    spec = importlib.util.spec_from_file_location("example_of_a_plugin", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


NtfyChannel = _loaded().NtfyChannel
SUBJECT = Subject(
    name="plug-in",
    notifier=NtfyChannel,
    settings=lambda place: {"options": {"topic": "builds"}},
    report=message,
    long=lambda text: {"title": text, "text": f"{text}\n\n" * 30},
    answers=(("POST", "^/$", PUBLISHED),),
    limits={"title": 250, "message": 4096},
    counted={"message": lambda text: len(text.encode())},
    reads_success=False,
)


async def test_what_is_posted(host: Host, connect: Connect) -> None:
    host.default = PUBLISHED
    await connect(NtfyChannel, options={"topic": "builds"}).deliver(message())
    assert (host.last.method, host.last.path) == ("POST", "/")
    assert host.last.headers["authorization"] == f"Bearer {TOKEN}"
    assert host.last.json == {
        "topic": "builds",
        "title": message().title,
        "message": message().text,
        "markdown": True,
        "click": message().target_url,
    }


@pytest.mark.parametrize("options", [{}, {"topic": ""}, {"topic": "a", "tpoic": "b"}], ids=repr)
def test_options_that_cannot_be_are_told(options: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="give the topic"):
        NtfyChannel(HostSettings(name="x", url=None, token="t", options=options))


def test_it_fits_on_a_page() -> None:
    code = [line for line in FILE.read_text().splitlines() if line.strip()]
    assert len(code) <= 45, "the example is meant to be small"
