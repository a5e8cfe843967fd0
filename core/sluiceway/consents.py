"""Who wants nothing more, and on which channel: kept by address for as long as it holds, from the stream of events.

Each address has a record in the bucket that forgets nothing; the latest event wins. Sends nothing, refuses nothing.
"""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from sluiceway_contracts import Command, ConsentChanged, ConsentSet, Event, addresses, is_uuid, subjects

from .bus.consumer import Consumer, Delivery
from .bus.store import Bucket, Conflict
from .checks import Refusal
from .continuity import Continuity
from .hearing import hear_all
from .identity import Identity
from .register import Register
from .stream import EventStream

ALL, SERVICE = "all", "service"
GRANTED, REVOKED = "granted", "revoked"


class ChannelConsent(Struct, frozen=True, omit_defaults=True):
    """What was last said, by purpose, up to the event with number `sequence`."""

    sequence: int
    purposes: dict[str, str] = {}


class ConsentRecord(Struct, frozen=True):
    """`<tenant>.s.<address key>`: by channel."""

    channels: dict[str, ChannelConsent] = {}

    def after(self, said: ConsentChanged, sequence: int) -> ConsentRecord:
        """The record after an event, which changes nothing where it is older than what is known."""
        known = self.channels.get(said.channel, ChannelConsent(0))
        if known.sequence >= sequence:
            return self
        others = {} if said.purpose == ALL else known.purposes
        changed = ChannelConsent(sequence, {**others, said.purpose: said.state})
        return replace(self, channels={**self.channels, said.channel: changed})

    @property
    def revoked(self) -> frozenset[str]:
        """The channels on which not even an answer is wanted; against marketing alone, answers still may go."""
        return frozenset(
            channel
            for channel, known in self.channels.items()
            if known.purposes.get(SERVICE, known.purposes.get(ALL)) == REVOKED
        )


class Consents:
    """The records of all tenants."""

    def __init__(self, bucket: Bucket[ConsentRecord], identity: Identity) -> None:
        self._bucket = bucket
        self._identity = identity

    async def revoked(self, tenant: str, address: str) -> frozenset[str]:
        """The channels on which an address wants nothing more. Raises `Unavailable`."""
        found = await self._bucket.get(self._key(tenant, address))
        return found.value.revoked if found is not None else frozenset()

    async def note(self, tenant: str, said: ConsentChanged, sequence: int) -> None:
        """Keep what an event says, `sequence` being its number; twice noted, it is noted once. Raises `Unavailable`."""
        key = self._key(tenant, said.address)
        while True:
            found = await self._bucket.get(key)
            known = found.value if found is not None else ConsentRecord()
            if (changed := known.after(said, sequence)) == known:
                return
            try:
                await self._bucket.update(key, changed, found.revision if found is not None else 0)
            except Conflict:
                continue
            return

    def _key(self, tenant: str, address: str) -> str:
        return f"{tenant}.s.{self._identity.address_key(address)}"


class ConsentReader:
    """Notes what the stream says of consent, whoever said it."""

    def __init__(self, consumer: Consumer, prefix: str, consents: Consents) -> None:
        self._consumer = consumer
        self._prefix = prefix
        self._consents = consents

    async def run(self) -> None:
        """Read until cancelled; then another process may."""
        await hear_all(self._consumer, self._prefix, self._hear)

    async def _hear(self, tenant: str, event: Event, sequence: int) -> None:
        if isinstance(event.data, ConsentChanged):
            await self._consents.note(tenant, event.data, sequence)


class ConsentCommands:
    """Carries out `consent.set`: an event for each channel that it is about."""

    def __init__(
        self,
        consents: Consents,
        register: Register,
        continuity: Continuity,
        stream: EventStream,
        identity: Identity,
    ) -> None:
        self._consents = consents
        self._register = register
        self._continuity = continuity
        self._stream = stream
        self._identity = identity

    async def set(self, command: Command, delivery: Delivery) -> None:
        """Publish `consent.changed`; what is sent from now on heeds it. Raises `Refusal` or `Unavailable`."""
        wanted = command.data
        assert isinstance(wanted, ConsentSet)  # noqa: S101  # it is registered for these alone
        if wanted.state not in (GRANTED, REVOKED):
            raise Refusal("invalid", f"state is {GRANTED} or {REVOKED}")
        try:
            address = addresses.parse(wanted.address)
        except addresses.InvalidAddress as error:
            raise Refusal("invalid_address", str(error)) from error
        conversation = command.subject if command.subject is not None and is_uuid(command.subject) else None
        talk = await self._continuity.find(command.tenant, conversation) if conversation is not None else None
        for channel in await self._channels(command.tenant, wanted, address.scheme):
            said = ConsentChanged(
                address=str(address),
                channel=channel,
                purpose=wanted.purpose,
                state=wanted.state,
                method="command",
                evidence=wanted.evidence,
            )
            event = Event(
                id=self._identity.id(command.tenant, said.type, channel, command.id),
                tenant=command.tenant,
                channel=channel,
                contactid=talk.contact if talk is not None else None,
                subject=talk.conversation if talk is not None else None,
                causationid=command.id,
                actorid=command.actorid,
                actorrole=command.actorrole,
                data=said,
            )
            await self._consents.note(command.tenant, said, (await self._stream.publish(event)).seq)

    async def _channels(self, tenant: str, wanted: ConsentSet, scheme: str) -> tuple[str, ...]:
        """The one that is named, else each on which an account of ours reaches such addresses."""
        if wanted.channel is not None:
            try:
                return (subjects.name(wanted.channel),)
            except subjects.InvalidSubject as error:
                raise Refusal("invalid", str(error)) from error
        accounts = await self._register.accounts(tenant)
        found = sorted({channel for (channel, _), notice in accounts.items() if scheme in notice.schemes})
        if not found:
            raise Refusal("unknown_channel", f"no account here reaches {scheme}: addresses; name the channel")
        return tuple(found)
