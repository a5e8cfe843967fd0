"""Commands before their time: handed to the server, which brings them back when it comes. Keeps no clock of its own."""

from __future__ import annotations

import datetime
import hashlib

from sluiceway_contracts import CONTENT_TYPE, Command, subjects

from .bus.consumer import Delivery
from .bus.link import Link, Refused
from .errors import Unavailable


class Schedule:
    """The stream of waiting commands: `<prefix>.v1.<tenant>.scheduled.<command id's token>`, and what it waits for."""

    def __init__(self, link: Link, prefix: str) -> None:
        self._link = link
        self._prefix = prefix
        self._start = f"{prefix}.{subjects.VERSION}"

    async def put(self, delivery: Delivery, command: Command, due: datetime.datetime, what: str = "") -> None:
        """Have the command delivered again at this time; twice put, it comes once. Raises `Unavailable`.

        `what` tells apart what one command waits for, one after the other.
        """
        tenant, token = command.tenant, hashlib.sha256(command.id.encode()).hexdigest()[:32] + what
        await self._put(tenant, token, delivery.subject, delivery.data, due)

    async def give(self, command: Command, due: datetime.datetime, token: str) -> None:
        """Have a command of our own delivered at this time; of several with one token, one. Raises `Unavailable`."""
        subject = command.nats_subject(self._prefix)
        await self._put(command.tenant, token, subject, command.encode(), due)

    async def _put(self, tenant: str, token: str, subject: str, data: bytes, due: datetime.datetime) -> None:
        subject = subject.removeprefix(f"{self._start}.{tenant}.commands.")
        second = due + datetime.timedelta(seconds=1)  # never before its time: the server counts in whole seconds
        headers = {
            "Nats-Msg-Id": f"{tenant}:{token}:scheduled",
            "Nats-Schedule": f"@at {second.strftime('%Y-%m-%dT%H:%M:%SZ')}",
            "Nats-Schedule-Target": f"{self._start}.{tenant}.due.{subject}",
            "content-type": CONTENT_TYPE,
        }
        try:
            await self._link.publish(f"{self._start}.{tenant}.scheduled.{token}", data, headers)
        except Refused as error:
            raise Unavailable(f"the stream of waiting commands refuses: {error}") from error
