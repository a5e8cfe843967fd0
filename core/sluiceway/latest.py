"""What a contact said last, as the stream has it: one look, no memory."""

from __future__ import annotations

from sluiceway_contracts import Event, MessageReceived, subjects

from .bus.link import Link
from .bus.reader import Stored
from .errors import Unavailable


class Latest:
    """Looks at the stream of events."""

    def __init__(self, link: Link, stream: str, prefix: str) -> None:
        self._link = link
        self._call = link.api(f"DIRECT.GET.{stream}")
        self._start = f"{prefix}.{subjects.VERSION}"

    async def inbound(self, tenant: str, contact: str) -> str | None:
        """The id of the contact's last message, on whatever channel; None where there is none. Raises `Unavailable`."""
        found = await self._last(f"{self._start}.{tenant}.events.message.received.*.{contact}.*")
        data = Event.decode(found.data).data if found is not None else None
        return data.message.id if isinstance(data, MessageReceived) else None

    async def sequence(self, tenant: str, conversation: str) -> int:
        """Where in the stream the customer wrote last in a conversation; 0 where nobody did. Raises `Unavailable`."""
        found = await self._last(f"{self._start}.{tenant}.events.message.received.*.*.{conversation}")
        return found.sequence if found is not None else 0

    async def _last(self, subject: str) -> Stored | None:
        found = await self._link.request(f"{self._call}.{subject}")  # so that permissions can tell tenants apart
        status = (found.headers or {}).get("Status")
        if status == "404":
            return None
        if status is not None:
            raise Unavailable(f"the stream of events can't be read: {status}")
        return Stored(int((found.headers or {})["Nats-Sequence"]), found.subject, found.data)
