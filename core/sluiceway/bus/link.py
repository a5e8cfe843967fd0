"""The connection to NATS: pipelined requests that end with an answer or `Unavailable`, and never hang.

All publishing, KV and consumer traffic goes through `Link.request` (`bus.pipeline` has how).
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

import msgspec
import nats
import nats.errors
import structlog
from nats.aio.msg import Msg

from .. import metrics
from ..config import Nats
from ..errors import SluicewayError, Unavailable
from ..refrain import Refrain
from .pipeline import PipelinedClient

log = structlog.get_logger(__name__)

Heard: TypeAlias = Msg
"""A message as it comes: its subject, data and headers, and where an answer is wanted."""

TIMEOUT_S = 1.0
_DENIED = re.compile(r'permissions violation for publish to "(.+)"')
LOST = "the connection to NATS was lost before the answer"


class Refused(SluicewayError):
    """JetStream answered with an error; `err_code` is its number (nats-server's `err_code`)."""

    def __init__(self, description: str, err_code: int) -> None:
        super().__init__(f"{description} ({err_code})")
        self.err_code = err_code


class _ApiError(msgspec.Struct):
    code: int = 0
    err_code: int = 0
    description: str = ""


class Ack(msgspec.Struct):
    """JetStream's answer to a publish: the message is stored as `seq`; `duplicate`: it already was."""

    stream: str = ""
    seq: int = 0
    duplicate: bool = False
    error: _ApiError | None = None


_ack = msgspec.json.Decoder(Ack)


class Link:
    """One connection. `on_reconnect` are called when it is back after a loss, `closed` is set when it never will be."""

    def __init__(self, settings: Nats, name: str) -> None:
        self.settings = settings
        self.closed = asyncio.Event()
        self.on_reconnect: list[Callable[[], None]] = []
        self._name = name
        self._client = PipelinedClient(self.new_inbox(), secure=_wants_tls(settings))
        self._begun = False
        self._closing = False
        self._failure: Exception | None = None
        self._denied = ""
        self._errors = Refrain()
        self._logs_errors = True

    @property
    def connected(self) -> bool:
        return self._client.is_connected

    @property
    def failure(self) -> str:
        """What went wrong last with the connection, until it is there; empty: nothing."""
        return "" if self._failure is None or self.connected else str(self._failure)

    @property
    def max_payload(self) -> int:
        """The largest message, in bytes, that this NATS takes."""
        return int(self._client.max_payload)

    @property
    def server_version(self) -> tuple[int, int, int]:
        """Major, minor and patch version of the server that we are connected to, such as (2, 15, 1)."""
        version = self._client.connected_server_version
        return version.major, version.minor, version.patch

    def denied(self, subject: str) -> bool:
        """Whether the last word of the server about permissions was that we may not publish there.

        A server of our own domain names the subject without it.
        """
        return self._denied in (subject.lower(), subject.lower().replace(self.api("").lower(), "$js.api.", 1))

    async def connect(self, within_s: float | None = None) -> None:
        """Connect, and from then on reconnect, for ever. Raises `Unavailable` where it takes longer than `within_s`."""
        self._begun = True
        self._logs_errors = within_s is None
        try:
            async with asyncio.timeout(within_s):
                await self._client.connect(**self._options())
        except (TimeoutError, OSError, nats.errors.Error) as error:
            why = self._failure or error
            raise Unavailable(f"NATS at {self.settings.url} can't be reached: {why}") from error
        self._logs_errors = True
        await self._client.listen()

    async def close(self) -> None:
        """Send what is buffered and close."""
        self._closing = True
        try:
            if self._client.is_connected:
                await self._client.flush(timeout=2)
        except (TimeoutError, nats.errors.Error) as error:
            log.warning("nats.not_flushed", why=error.__class__.__name__)
        if self._begun:
            await self._client.close()

    async def request(
        self, subject: str, payload: bytes = b"", headers: Mapping[str, str] | None = None, timeout_s: float = TIMEOUT_S
    ) -> Msg:
        """Publish with a reply inbox and wait for the answer. Raises `Unavailable`.

        `Unavailable` does not mean that nothing happened: publish again only with the same Nats-Msg-Id.
        """
        return await self._client.exchange(subject, payload, headers, timeout_s)

    async def publish(
        self, subject: str, payload: bytes, headers: Mapping[str, str] | None = None, timeout_s: float = TIMEOUT_S
    ) -> Ack:
        """Store a message and return JetStream's acknowledgement. Raises `Unavailable` or `Refused`.

        A key goes by way of the domain, as a leaf node lets none of its own pass: NATS's ADR-19.
        """
        where = self.api(subject) if self.settings.domain and subject.startswith("$KV.") else subject
        answer = await self.request(where, payload, headers, timeout_s)
        if not answer.data:
            raise Unavailable(f"no stream takes {subject.split('.', maxsplit=1)[0]} subjects; run `sluiceway check`")
        ack = _ack.decode(answer.data)
        if ack.error is not None:
            raise Refused(ack.error.description, ack.error.err_code)
        return ack

    async def send(
        self, subject: str, payload: bytes = b"", reply: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        """Publish without waiting for anything. Raises `Unavailable`."""
        if not self._client.is_connected:
            raise Unavailable("the connection to NATS is down")
        try:
            await self._client.publish(subject, payload, reply, dict(headers) if headers else None)
        except (OSError, nats.errors.Error) as error:
            raise Unavailable(f"NATS can't take it: {error.__class__.__name__}") from error

    async def receive(
        self, subject: str, callback: Callable[[Msg], None], queue: str = ""
    ) -> Callable[[], Awaitable[None]]:
        """Call `callback` with each message as it comes, from the reading loop: it must neither wait nor raise.

        Of those with the same `queue` one gets each message. The function returned ends it. Raises `Unavailable`.
        """
        try:
            return await self._client.receive(subject, callback, queue)
        except (OSError, nats.errors.Error) as error:
            raise Unavailable(f"NATS can't be listened to: {error.__class__.__name__}") from error

    async def subscribe(
        self, subject: str, callback: Callable[[Msg], Awaitable[None]]
    ) -> Callable[[], Awaitable[None]]:
        """Call `callback` with each message, in order; the function returned unsubscribes."""
        subscription = await self._client.subscribe(subject, cb=callback)
        return subscription.unsubscribe

    def new_inbox(self) -> str:
        """A subject of our own that nobody else listens to."""
        return f"{self.settings.inbox_prefix}.{os.urandom(9).hex()}"

    def api(self, call: str) -> str:
        """The subject of a JetStream API call, such as "STREAM.INFO.X", in the configured domain."""
        domain = self.settings.domain
        return f"$JS.{domain}.API.{call}" if domain else f"$JS.API.{call}"

    def _callbacks(self) -> dict[str, Any]:
        """What nats-py calls."""

        async def on_error(error: Exception) -> None:
            self._failure = error
            if found := _DENIED.search(str(error).lower()):
                self._denied = found[1]
            metrics.count(metrics.nats_errors, "denied" if found else "other").inc()
            text = f"{error.__class__.__name__}: {error}"[:300]
            if self._logs_errors and (times := self._errors.times(text)):
                log.error("nats.error", error=text, times=times)

        async def on_disconnected() -> None:
            if not self._closing:
                log.warning("nats.disconnected")
            self._client.fail_all(LOST)

        async def on_reconnected() -> None:
            log.info("nats.reconnected")
            metrics.reconnects.inc()
            for callback in self.on_reconnect:
                callback()

        async def on_closed() -> None:
            self._client.fail_all(LOST)
            self.closed.set()

        return {
            "error_cb": on_error,
            "disconnected_cb": on_disconnected,
            "reconnected_cb": on_reconnected,
            "closed_cb": on_closed,
        }

    def _options(self) -> dict[str, Any]:
        s = self.settings
        options: dict[str, Any] = {
            "servers": (s.url or f"nats://127.0.0.1:{s.port}").split(","),
            "name": self._name,
            **self._callbacks(),
            "max_reconnect_attempts": -1,
            "reconnect_time_wait": 0.25,
            "connect_timeout": 2,
            "ping_interval": 1,
            "max_outstanding_pings": 2,
            "inbox_prefix": s.inbox_prefix,
            "user": s.user,
            "password": s.password.reveal_now if s.password else None,  # called at each connect
            "token": s.token.reveal_now if s.token else None,
        }
        if s.credentials:
            from .credentials import Credentials  # its library is not loaded for those who have none

            found = Credentials(s.credentials)
            options |= {"signature_cb": found.sign, "user_jwt_cb": found.jwt}
            options["user"] = s.user or "-"  # never sent: without, nats-py logs in only where INFO asks for it
        if s.ca or s.certificate:
            options["tls"] = _tls(s)
        return {name: value for name, value in options.items() if value is not None}


def _wants_tls(settings: Nats) -> bool:
    """One address with TLS is as good as all: what one of them tells us may name the others."""
    schemes = {url.strip().partition("://")[0] for url in (settings.url or "").lower().split(",")}
    return bool(settings.ca or settings.certificate or schemes & {"tls", "wss"})


def _tls(settings: Nats) -> Any:
    import ssl

    context = ssl.create_default_context(cafile=settings.ca)
    if settings.certificate:
        context.load_cert_chain(settings.certificate, settings.key)
    return context
