"""Dead letters read again, and replayed: a command under new ids, a delivery through its gateway. Deletes none."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from functools import partial
from urllib.parse import unquote

import msgspec
from msgspec import Struct

from sluiceway_contracts import Command, Error, Event, MessageSend, Undecodable, now, subjects, uuid7, uuid8

from . import parking
from .accounts import Accounts
from .bus.link import Ack, Link
from .bus.store import Bucket
from .bus.streams import Layout
from .calls.placing import publish
from .config import Core
from .driver import Driver
from .errors import SluicewayError, Unavailable
from .facts import Facts
from .fetches import Fetches
from .gateway import Webhook
from .identity import Identity
from .inbound import Inbound
from .ledger import Ledger, MessageRecord, Try
from .parking import Parcel, Parking
from .placement import Placement
from .stream import EventStream
from .wire import Request

KEY = b"sluiceway dead letters"
COMMANDS, INBOUND = "commands", "inbound"


class DeadLetterError(SluicewayError):
    """A dead letter that isn't there, or can't be replayed; the text says what to do."""


class DeadLetter(Struct, frozen=True, kw_only=True):
    """One dead letter. `kind` is commands or inbound, `name` the account or the connection."""

    sequence: int
    stored_at: str
    tenant: str
    kind: str
    channel: str
    name: str
    error: str
    reason: str
    size: int
    tried: int = 0
    arrived: str = ""
    history: tuple[Try, ...] = ()
    headers: Mapping[str, str] = {}
    body: bytes = b""


class DeadLetters:
    """The stream of dead letters, to read."""

    def __init__(self, link: Link, layout: Layout, prefix: str) -> None:
        self._link = link
        self._call = link.api(f"DIRECT.GET.{layout.dead}")
        self._start = f"{prefix}.{subjects.VERSION}."

    async def at(self, sequence: int) -> DeadLetter:
        """The dead letter of this number. Raises `DeadLetterError` or `Unavailable`."""
        found = await self._get({"seq": sequence})
        if found is None:
            raise DeadLetterError(f"there is no dead letter {sequence}; `sluiceway dead list` shows those there are")
        return found

    async def all(self, tenant: str | None = None) -> AsyncIterator[DeadLetter]:
        """Every dead letter, the oldest first. Raises `Unavailable`."""
        wanted, sequence = f"{self._start}{tenant or '*'}.dead.>", 1
        while (found := await self._get({"seq": sequence, "next_by_subj": wanted})) is not None:
            yield found
            sequence = found.sequence + 1

    async def _get(self, what: dict[str, int | str]) -> DeadLetter | None:
        message = await self._link.request(self._call, msgspec.json.encode(what))
        headers = {name: str(value) for name, value in (message.headers or {}).items()}
        match headers.get("Status"):
            case None:
                return _letter(headers, message.data, self._start)
            case "404":
                return None
            case status:
                raise Unavailable(f"the stream of dead letters can't be read: {headers.get('Description', status)}")


def _letter(headers: Mapping[str, str], body: bytes, start: str) -> DeadLetter:
    tenant, _, kind, channel, name = headers["Nats-Subject"].removeprefix(start).split(".")
    return DeadLetter(
        sequence=int(headers["Nats-Sequence"]),
        stored_at=headers["Nats-Time-Stamp"],
        tenant=tenant,
        kind=kind,
        channel=channel,
        name=name,
        error=headers.get(parking.ERROR, ""),
        reason=headers.get(parking.REASON, ""),
        size=len(body),
        tried=int(headers.get(parking.TRIED, 0)),
        arrived=headers.get(parking.ARRIVED, ""),
        history=msgspec.json.decode(headers.get(parking.HISTORY, "[]"), type=tuple[Try, ...]),
        headers=headers,
        body=body,
    )


async def again(link: Link, layout: Layout, prefix: str, letter: DeadLetter, *, whole: bool = False) -> Command:
    """Publish a dead command under new ids and return it. Raises `DeadLetterError` or `Unavailable`.

    Its message_id follows from the letter's: replayed twice, it is sent once. `whole` sends a message again of which
    some pieces have arrived.
    """
    command = _command(letter)
    send = command.data
    assert isinstance(send, MessageSend)  # noqa: S101  # _command returns no other
    if not whole and not letter.arrived.startswith("0"):
        what = f"{letter.arrived} of its pieces have been sent; --whole sends all of them again"
        raise DeadLetterError(f"the dead letter {letter.sequence} has arrived in part: {what}")
    if send.expires_at is not None and send.expires_at <= now():
        raise DeadLetterError(f"the command was not to be sent after {send.expires_at:%Y-%m-%d %H:%M:%S} UTC")
    message_id = await _message_id(Bucket(link, layout.messages, MessageRecord), letter, send)
    fresh = msgspec.structs.replace(
        command,
        id=uuid7(),
        time=now(),
        channel=letter.channel,
        account=letter.name,
        causationid=command.id,
        data=msgspec.structs.replace(send, message_id=message_id),
    )
    await link.publish(fresh.nats_subject(prefix), fresh.encode(), fresh.headers())
    return fresh


def _command(letter: DeadLetter) -> Command:
    try:
        command = Command.decode(letter.body)
    except Undecodable as error:
        raise DeadLetterError(f"the dead letter {letter.sequence} is no command: {error}") from error
    if not isinstance(command.data, MessageSend):
        raise DeadLetterError(f"the dead letter {letter.sequence} is a {command.type}; only messages are replayed")
    return command


async def _message_id(ledger: Bucket[MessageRecord], letter: DeadLetter, send: MessageSend) -> str:
    """One that no process has begun to send; new only where all earlier ones were refused."""
    number = 0
    while True:
        message_id = uuid8(KEY, letter.tenant, send.message_id, str(letter.sequence), str(number))
        found = await ledger.get(f"{letter.tenant}.m.{message_id}")
        if found is None:
            return message_id
        if found.value.state != "refused":
            became = "is on its way" if found.value.state != "done" else f"ended as {found.value.overall}"
            raise DeadLetterError(f"it was replayed before, as message {message_id}, which {became}")
        number += 1


class Replay:
    """Deliveries through their gateways once more, in this process, against the NATS of `link`."""

    def __init__(
        self, link: Link, layout: Layout, core: Core, secret: bytes, accounts: Accounts, driver: Driver
    ) -> None:
        self.stored: list[tuple[Event, bool]] = []
        """The events it came to, and whether each was on the stream already."""
        self._accounts = accounts
        key, prefix = Identity(secret), core.nats.prefix
        stream = _Told(link, prefix, self.stored)
        self._parking = _Unforgiving(link, prefix, key, stream)
        self._placement = Placement(core, secret, link, layout, stream)
        ledger = Ledger(link, layout.messages, key, layout.identity)
        facts = Facts(
            accounts,
            key,
            self._placement,
            ledger,
            stream,
            self._parking,
            fetches=Fetches(link, prefix, key),
            calls=partial(publish, link, prefix),
        )
        self._inbound = Inbound(accounts, driver, facts=facts)

    async def run(self, letter: DeadLetter) -> None:
        """Receive it, credit it, store it. Raises `DeadLetterError` where it still can't be read, or `Unavailable`."""
        gateway = self._accounts.gateways.get(letter.name)
        if not isinstance(gateway, Webhook):
            raise DeadLetterError(f"the configuration has no connection {letter.name} with a hook")
        if parking.METHOD not in letter.headers:
            raise DeadLetterError(f"the dead letter {letter.sequence} is a part of a delivery; it can't be replayed")
        await self._placement.continuity.check_key()
        response = await self._inbound.deliver([_prove(self._accounts, letter.name)], _request(letter))
        if response.status == 503:
            raise Unavailable("it could not be stored now; replay it again")
        if self._parking.errors:
            why = "; ".join(sorted({error.message for error in self._parking.errors}))
            raise DeadLetterError(f"it still can't be used: {why}")


def _prove(accounts: Accounts, connection: str) -> str:
    """Let the connection's gateway take what is no longer signed: it was verified before it was put aside."""
    gateway = accounts.gateways[connection]
    proven = type(
        f"Proven{type(gateway).__name__}",
        (type(gateway),),
        {"verify": lambda self, request: None, "limits": lambda self, request: ()},
    )
    accounts.gateways[connection] = proven(gateway.settings, gateway.hook_url, gateway.accounts.values())
    return connection


def _request(letter: DeadLetter) -> Request:
    content_type = letter.headers.get("content-type", "")
    return Request(
        method=letter.headers[parking.METHOD],
        url=letter.headers.get(parking.URL, ""),
        subpath=unquote(letter.headers.get(parking.SUBPATH, "")),
        headers={"content-type": content_type} if content_type else {},
        body=letter.body,
    )


class _Told(EventStream):
    """Remembers what it published."""

    def __init__(self, link: Link, prefix: str, stored: list[tuple[Event, bool]]) -> None:
        super().__init__(link, prefix)
        self._stored = stored

    async def publish(self, event: Event) -> Ack:
        ack = await super().publish(event)
        self._stored.append((event, ack.duplicate))
        return ack


class _Unforgiving(Parking):
    """Parks nothing again; remembers why it would have."""

    def __init__(self, link: Link, prefix: str, identity: Identity, stream: EventStream) -> None:
        super().__init__(link, prefix, identity, stream)
        self.errors: list[Error] = []

    async def park(self, parcel: Parcel, error: Error) -> None:
        self.errors.append(error)

    async def park_unknown(self, parcel: Parcel, identity: str) -> None:
        self.errors.append(Error(code="account_unknown", message=f"no account here is {identity}"))
