"""A mail server that says what a test tells it to."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Self


class MailServer:
    """``async with MailServer() as server`` listens on a free port; ``answers``: command → what to say instead of yes."""

    def __init__(self, **answers: str) -> None:
        self.answers = {command.upper(): answer for command, answer in answers.items()}
        self.mails: list[str] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        writer.write(b"220 here\r\n")
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while line := (await reader.readline()).decode():
                command = line.strip().split(" ")[0].upper()
                if command in self.answers:
                    writer.write(f"{self.answers[command]}\r\n".encode())
                elif command == "EHLO":
                    writer.write(b"250-here\r\n250 AUTH PLAIN\r\n")
                elif command == "AUTH":
                    writer.write(b"235 welcome\r\n")
                elif command == "DATA":
                    writer.write(b"354 go on\r\n")
                    self.mails.append((await reader.readuntil(b"\r\n.\r\n")).decode())
                    writer.write(b"250 thanks\r\n")
                else:
                    writer.write(b"221 bye\r\n" if command == "QUIT" else b"250 yes\r\n")
                    if command == "QUIT":
                        break
        writer.close()
        self._tasks.discard(task)
