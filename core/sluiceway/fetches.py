"""Files that are still with the provider, as work: put into a stream of its own, so that no crash loses any.

Fetches nothing itself. The work is put there after the message that it belongs to, and before the provider's 2xx.
"""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Iterable, Mapping

import msgspec
from msgspec import Struct

from sluiceway_contracts import Media, now, subjects
from sluiceway_contracts.parts import AnyPart

from .accounts import Served
from .bus.link import Link, Refused
from .continuity import Place
from .errors import Unavailable
from .gateway import MediaFetcher
from .identity import Identity


class Fetch(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One file to fetch: what the provider calls it, and the part of the message that it belongs to."""

    message_id: str
    part_id: str
    reference: str
    kind: str
    mime: str
    contact: str
    conversation: str
    wanted_at: datetime.datetime
    call_ms: int | None = None
    """How long the recording of a call is: then `message_id` is the call's."""


class Fetches:
    """The work of all accounts, `<prefix>.v1.<tenant>.fetches.<channel>.<account>`."""

    def __init__(self, link: Link, prefix: str, identity: Identity) -> None:
        self._link = link
        self._start = f"{prefix}.{subjects.VERSION}"
        self._identity = identity

    def subject(self, served: Served) -> str:
        """Where an account's work is."""
        return f"{self._start}.{served.tenant}.fetches.{served.channel}.{served.name}"

    async def put(
        self, served: Served, place: Place, message_id: str, parts: Iterable[AnyPart], media: Mapping[str, str]
    ) -> None:
        """Have the files of a message fetched, where the gateway can. Done again, it is one. Raises `Unavailable`."""
        if not media or not isinstance(served.gateway, MediaFetcher):
            return
        wanted = [
            Fetch(
                message_id=message_id,
                part_id=part.id,
                reference=media[part.id],
                kind=part.kind,
                mime=part.mime,
                contact=place.contact,
                conversation=place.conversation,
                wanted_at=now(),
            )
            for part in parts
            if isinstance(part, Media) and part.state == "pending" and part.id in media
        ]
        await asyncio.gather(*(self._put(served, fetch) for fetch in wanted))

    async def _put(self, served: Served, fetch: Fetch) -> None:
        once = self._identity.external_key(served.name, fetch.reference)
        headers = {"Nats-Msg-Id": f"{served.tenant}:{fetch.message_id}:{fetch.part_id}:{once}"}
        try:
            await self._link.publish(self.subject(served), msgspec.json.encode(fetch), headers)
        except Refused as error:
            raise Unavailable(f"the stream of files to fetch refuses: {error}") from error
