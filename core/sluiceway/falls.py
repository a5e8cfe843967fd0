"""Attempts that fail: heard as it is told, and their command handed to the dispatcher again, at once.

Listens beside the stream, at the cost of a look at each status; what it misses while it is away is seen when the
attempt's time is up. Decides nothing.
"""

from __future__ import annotations

import asyncio
import re

import msgspec
import structlog

from sluiceway_contracts import CONTENT_TYPE, Event, MessageStatus, Undecodable, is_uuid, subjects

from .bus.link import Heard, Link, Refused
from .bus.store import Bucket
from .errors import Unavailable
from .ladder import RouteRecord
from .patience import surely

log = structlog.get_logger(__name__)

FELL = re.compile(rb'"overall":\s*"(failed|rejected|bounced)"')
MAX_WAITING = 10_000


class Falls:
    """Follows `message.status` of all tenants; of several processes one gets each."""

    def __init__(self, link: Link, prefix: str, commands: str, routes: Bucket[RouteRecord]) -> None:
        self._link = link
        self._prefix = prefix
        self._commands = link.api(f"DIRECT.GET.{commands}")
        self._routes = routes
        self._waiting: asyncio.Queue[Heard] = asyncio.Queue(MAX_WAITING)

    async def run(self) -> None:
        """Listen until cancelled."""
        subject = f"{self._prefix}.{subjects.VERSION}.*.events.message.status.>"
        await surely(self._link.receive, subject, self._hear, queue="dispatcher")
        while True:
            message = await self._waiting.get()
            try:
                await surely(self._fell, message)
            except Exception:  # one status' fault is no other's
                log.exception("falls.broken")

    def _hear(self, message: Heard) -> None:
        if FELL.search(message.data) is not None and not self._waiting.full():
            self._waiting.put_nowait(message)

    async def _fell(self, message: Heard) -> None:
        try:
            tenant = subjects.parse_event(message.subject, prefix=self._prefix).tenant
            status = Event.decode(message.data).data
        except (Undecodable, subjects.InvalidSubject):
            return
        if not isinstance(status, MessageStatus) or not is_uuid(status.message_id):
            return
        found = await self._routes.get(f"{tenant}.r.{status.message_id}")
        if found is not None and found.value.may_fall and len(found.value.rungs) == status.attempt:
            await self._again(tenant, found.value, status.attempt)

    async def _again(self, tenant: str, record: RouteRecord, attempt: int) -> None:
        """Put the command on its stream once more."""
        request = msgspec.json.encode({"seq": record.sequence})
        command = await self._link.request(self._commands, request)
        subject = (command.headers or {}).get("Nats-Subject", "")
        if not subject.startswith(f"{self._prefix}.{subjects.VERSION}.{tenant}.commands."):
            log.warning("message.falls_later", why="the stream has its command no more")
            return
        headers = {"content-type": CONTENT_TYPE, "Nats-Msg-Id": f"{tenant}:{record.command_id}:{attempt}:fell"}
        try:
            await self._link.publish(subject, command.data, headers)
        except Refused as error:
            raise Unavailable(f"the stream of commands refuses: {error}") from error
