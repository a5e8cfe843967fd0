"""Many requests on one connection at once: frames go out once a loop tick, answers are found by their number.

nats-py's own request makes an id, a timer, a task hop and a flusher hop each time. This takes the short way through the
same connection, which nats-py still opens, watches and reconnects. It also sees to it that no login goes to a server
without TLS where TLS is wanted, and that a login that is taken away is no end. It uses nine private names of nats-py
(`_process_msg`, `_process_info`, `_process_err`, `_process_op_err`, `_connect_to_server`, `_pending`, `_transport`,
`_current_server`, `_status`); requirements.txt pins the version, tests/core/test_link.py tries them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from ..errors import TooLarge, Unavailable

VERSION = "NATS/1.0"
SWEEP_S = 0.1
MAX_IN_FLIGHT = 4096
NO_TLS = (
    "the server offers no TLS, but nats.url, nats.ca or nats.certificate want it: no login was sent. "
    "Give nats-server a tls {} block; if it has one, something on the way takes TLS out"
)
_TAKEN_AWAY = ("authorization violation", "authentication expired", "authentication revoked")
_NO_BREAKS = str.maketrans("\r\n", "  ")


class PipelinedClient(Client):
    """nats-py's client. What comes to `<inbox>.<number>` ends the request of that number, without a task of its own.

    A `secure` one tells a server nothing before there is TLS.
    """

    def __init__(self, inbox: str, *, secure: bool = False) -> None:
        super().__init__()
        self._secure = secure
        self._answers = f"{inbox}."
        self._receivers: dict[int, Callable[[Msg], None]] = {}
        self._waiting: dict[str, tuple[asyncio.Future[Msg], float]] = {}
        self._number = 0
        self._permits = asyncio.Semaphore(MAX_IN_FLIGHT)
        self._flush_scheduled = False
        self._sweep_scheduled = False

    async def listen(self) -> None:
        """Subscribe to the answers; once, after connecting: a reconnect subscribes again by itself."""
        await self.receive(f"{self._answers}*", self._answered)

    async def receive(
        self, subject: str, callback: Callable[[Msg], None], queue: str = ""
    ) -> Callable[[], Awaitable[None]]:
        """Subscribe, without the queue and the task that nats-py has for it; the function returned unsubscribes.

        It does so while NATS is away too: what is forgotten here is not subscribed to again.
        """
        subscription = await self.subscribe(subject, queue=queue)
        self._receivers[subscription._id] = callback

        async def end() -> None:
            self._receivers.pop(subscription._id, None)
            with contextlib.suppress(OSError, nats.errors.Error):  # the connection has ended, and so has this
                await subscription.unsubscribe()

        return end

    async def exchange(self, subject: str, payload: bytes, headers: Mapping[str, str] | None, timeout_s: float) -> Msg:
        """Publish with a reply subject and wait for the answer. Raises `Unavailable`."""
        if len(self._waiting) < MAX_IN_FLIGHT:
            return await self._exchange(subject, payload, headers, timeout_s)
        async with self._permits:
            return await self._exchange(subject, payload, headers, timeout_s)

    async def close(self) -> None:
        """Close, also where the connection breaks meanwhile: nats-py leaves off there, half closed."""
        try:
            await super().close()
        except OSError:
            self._status = Client.DISCONNECTED
            await super().close()

    def fail_all(self, why: str) -> None:
        """End every request that waits."""
        for future, _ in self._waiting.values():
            if not future.done():
                future.set_exception(Unavailable(why))

    async def _exchange(self, subject: str, payload: bytes, headers: Mapping[str, str] | None, timeout_s: float) -> Msg:
        if not self.is_connected:
            raise Unavailable("the connection to NATS is down")
        self._number += 1
        inbox = f"{self._answers}{self._number}"
        head = _head(headers)
        if (size := len(head) + len(payload)) > self.max_payload:
            raise TooLarge(f"the message has {size} bytes, this NATS takes {self.max_payload}")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Msg] = loop.create_future()
        self._waiting[inbox] = (future, loop.time() + timeout_s)
        try:
            self._write(loop, _frame(subject.encode(), inbox.encode(), head, payload))
            return await future
        finally:
            self._waiting.pop(inbox, None)

    def _write(self, loop: asyncio.AbstractEventLoop, frame: bytes) -> None:
        self._pending.append(frame)
        self._pending_data_size += len(frame)
        if not self._flush_scheduled:
            self._flush_scheduled = True
            loop.call_soon(self._flush_tick)
        if not self._sweep_scheduled:
            self._sweep_scheduled = True
            loop.call_later(SWEEP_S, self._sweep, loop)

    def _flush_tick(self) -> None:
        self._flush_scheduled = False
        if self._pending and self.is_connected and self._transport is not None:
            self._transport.write(b"".join(self._pending))
            self._pending = []
            self._pending_data_size = 0

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for future, deadline in self._waiting.values():
            if deadline < now and not future.done():
                future.set_exception(Unavailable("NATS did not answer in time"))
        self._sweep_scheduled = bool(self._waiting)
        if self._sweep_scheduled:
            loop.call_later(SWEEP_S, self._sweep, loop)

    async def _connect_to_server(self, s: Any) -> None:
        """nats-py leaves what it could not log in by open, at each try."""
        transport: Any = self._transport
        if transport:
            transport.close()
        await super()._connect_to_server(s)

    async def _process_err(self, err_msg: str) -> None:
        """nats-py closes for good where a login that is in use is taken away; the next connect reads the new one."""
        if self.is_connected and any(words in err_msg.lower() for words in _TAKEN_AWAY):
            error = nats.errors.Error(f"nats: {err_msg}")
            await self._error_cb(error)
            await self._process_op_err(error)
        else:
            await super()._process_err(err_msg)

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        """Before CONNECT, at each connect: nats-py begins TLS only where INFO says `tls_required`, as anybody may.

        `tls_available` is a server that takes both. Whatever else INFO says before TLS is nobody's word: other
        addresses of the cluster are in the one that follows CONNECT.
        """
        server: Any = self._current_server
        if self._secure and initial_connection and server.uri.scheme != "wss":
            if server.uri.scheme == "ws" or not (info.get("tls_required") or info.get("tls_available")):
                raise nats.errors.Error(NO_TLS)
            info["tls_required"] = True
            info.pop("connect_urls", None)
        await super()._process_info(info, initial_connection)

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
        receiver = self._receivers.get(sid)
        if receiver is None:
            await super()._process_msg(sid, subject, reply, data, headers or b"")
        else:
            receiver(Msg(self, subject.decode(), reply.decode(), data, _headers(headers)))

    def _answered(self, message: Msg) -> None:
        waiting = self._waiting.get(message.subject)
        if waiting is not None and not waiting[0].done():
            waiting[0].set_result(message)


def _head(headers: Mapping[str, str] | None) -> bytes:
    if not headers:
        return b""
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if not lines.count("\n") == lines.count("\r") == len(headers):  # nothing in a value may begin another header
        lines = "".join([f"{name}: {value.translate(_NO_BREAKS)}\r\n" for name, value in headers.items()])
    return f"{VERSION}\r\n{lines}\r\n".encode()


def _headers(raw: bytes | None) -> dict[str, str] | None:
    """Headers, and the status of a message that the server itself sends, as nats-py names it.

    https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-4.md
    """
    if not raw:
        return None
    first, *lines = raw.decode(errors="replace").split("\r\n")
    found = {}
    if status := first.removeprefix(VERSION).strip():
        found["Status"], _, description = status.partition(" ")
        if description:
            found["Description"] = description
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            found[name] = value.strip()
    return found


def _frame(subject: bytes, reply: bytes, head: bytes, payload: bytes) -> bytes:
    """PUB or HPUB (https://docs.nats.io/reference/reference-protocols/nats-protocol)."""
    if not head:
        return b"PUB %b %b %d\r\n%b\r\n" % (subject, reply, len(payload), payload)
    return b"HPUB %b %b %d %d\r\n%b%b\r\n" % (subject, reply, len(head), len(head) + len(payload), head, payload)
