"""Messages to phones and desktops through ntfy: one ``POST`` each (https://docs.ntfy.sh/publish/#publish-as-json).

A ``Channel`` takes messages, and no statuses. ``RestNotifier`` sends what ``post`` says, on threads of its own: one request, never repeated, no redirect
followed, cut off when its time is over; it tells what to try again from what is refused for good, and shows the token to nobody but the host.

ntfy's rules: a message has at most 4,096 bytes, a longer one would become an attachment; 200 means published; 429 means later.
"""

from typing import ClassVar

from notifiers.base import Channel, CommitStatus, HostSettings, PermanentError
from notifiers.markdown import cut_bytes
from notifiers.reports import Message
from notifiers.rest import Login, Post, RestNotifier
from notifiers.text import cut, usable_url


class NtfyChannel(Channel, RestNotifier):
    """Publishes to one topic: ``options: {topic: …}``, ``token_file`` with an access token, and ``url`` for a server of one's own."""

    kind = "ntfy"
    public_url = "https://ntfy.sh"
    taken = frozenset({200})
    hints: ClassVar = {403: "the token may not write to this topic"}

    def __init__(self, settings: HostSettings) -> None:
        if set(settings.options) != {"topic"} or not settings.options["topic"]:
            raise ValueError("options: give the topic, and nothing else")
        self._topic = settings.options["topic"]
        super().__init__(settings)

    def api(self, url: str) -> str:
        return url

    def login(self, token: str) -> Login:
        return Login.with_scheme("Bearer", token)

    def post(self, status: CommitStatus) -> Post:
        if not isinstance(status, Message):
            raise PermanentError("ntfy takes messages only")
        text = cut_bytes(status.text, 4096)
        note = {"topic": self._topic, "title": cut(status.title, 250), "message": text, "markdown": True}
        if url := usable_url(status.target_url, 2048):
            note["click"] = url
        return Post("/", note)
