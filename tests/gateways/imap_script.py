"""An IMAP server that says what a test wants it to say; it understands nothing of it."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

CLOSE = "close"
SILENCE = "silence"
CAPABILITIES = "IMAP4rev1 SASL-IR AUTH=PLAIN IDLE MOVE UIDPLUS"
GREETING = f"* OK [CAPABILITY {CAPABILITIES}] Ready\r\n"
OPEN = "* 3 EXISTS\r\n* OK [UIDVALIDITY 7] Valid\r\n* OK [UIDNEXT 4] Next\r\n{tag} OK [READ-WRITE] Open\r\n"
THREE = "".join(f"* {uid} FETCH (UID {uid} RFC822.SIZE 20)\r\n" for uid in (1, 2, 3)) + "{tag} OK Listed\r\n"
DEFAULTS = {
    "AUTHENTICATE|LOGIN": f"{{tag}} OK [CAPABILITY {CAPABILITIES}] In\r\n",
    "SELECT|EXAMINE": OPEN,
    "NOOP|LOGOUT|CREATE|UID STORE|UID MOVE|UID COPY|UID EXPUNGE": "{tag} OK Done\r\n",
    "CAPABILITY": f"* CAPABILITY {CAPABILITIES}\r\n{{tag}} OK Done\r\n",
    r"UID FETCH \d+:\S+ \(UID RFC822.SIZE\)": THREE,
    r"UID FETCH (?P<uid>\d+) ": "* 1 FETCH (UID {uid} BODY[] {{2}}\r\n{uid}! FLAGS ())\r\n{tag} OK Fetched\r\n",
    "IDLE": "+ idling\r\n",
    "DONE": "{idle} OK Idled\r\n",
    "STARTTLS": "{tag} OK Begin\r\n",
}

Says = str | list[str]
"""With {tag} and what the pattern names in it; CLOSE ends the connection there, SILENCE says no more. A list is used up
one by one, to its last."""


class ImapScript:
    """`said` is all that it was told, without tags."""

    def __init__(self, answers: Mapping[str, Says], greeting: str, tls: ssl.SSLContext | None) -> None:
        self.said: list[str] = []
        self.port = 0
        self._answers = {**answers, **{pattern: says for pattern, says in DEFAULTS.items() if pattern not in answers}}
        self._used: dict[str, int] = {}
        self._tasks: list[asyncio.Task[object]] = []
        self._greeting = greeting
        self._tls = tls

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.append(task)
        with suppress(ConnectionError, asyncio.CancelledError):
            await self._talk(reader, writer)
        writer.transport.abort()

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        idle = ""
        writer.write(self._greeting.encode())
        while read := await reader.readline():
            line = read.decode().rstrip("\r\n")
            tag, _, command = line.partition(" ") if line.startswith("S") else ("", "", line)
            self.said.append(command)
            idle = tag if command == "IDLE" else idle
            answer = self._answer(command, tag, idle)
            writer.write(answer.removesuffix(CLOSE).encode("latin-1"))
            await writer.drain()
            if answer.endswith(CLOSE):
                writer.close()
                await writer.wait_closed()
                break
            if command == "STARTTLS" and self._tls is not None:
                await writer.start_tls(self._tls)

    def _answer(self, command: str, tag: str, idle: str) -> str:
        for pattern, says in self._answers.items():
            if found := re.match(pattern, command):
                answer = says if isinstance(says, str) else self._next(pattern, says)
                return "" if answer == SILENCE else answer.format(tag=tag, idle=idle, **found.groupdict())
        return ""

    def _next(self, pattern: str, says: list[str]) -> str:
        at = self._used.get(pattern, 0)
        self._used[pattern] = at + 1
        return says[min(at, len(says) - 1)]


@asynccontextmanager
async def imap_script(
    answers: Mapping[str, Says] | None = None, *, greeting: str = GREETING, tls: ssl.SSLContext | None = None
) -> AsyncIterator[ImapScript]:
    """A server on loopback with these answers, and otherwise a mailbox of three mails."""
    script = ImapScript(answers or {}, greeting, tls)
    server = await asyncio.start_server(script.serve, "127.0.0.1", 0)
    script.port = server.sockets[0].getsockname()[1]
    try:
        yield script
    finally:
        server.close()
        await script.end()
