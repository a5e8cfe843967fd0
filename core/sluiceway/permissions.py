"""What each NATS user may do, and no more: the subjects that its process publishes to and subscribes to.

Derived from `[nats]`; grants nothing. What permissions can't keep apart is in docs/permissions.md.
https://docs.nats.io/running-a-nats-service/configuration/securing_nats/authorization
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product

import msgspec

from sluiceway_contracts import subjects

from .bus.streams import Layout
from .calls.change import CHANNEL as VOICE
from .outline import Outlined
from .sections import Nats

INBOX = Nats().inbox_prefix
"""Where nobody has chosen another, each user has one of its own: who hears `_INBOX.>` hears everybody's answers."""
ANYBODYS = "_"
"""In the place of a tenant, for what belongs to none."""
DURABLES = ("{commands}.dispatcher", "{commands}.unserved", "{events}.consents", "{events}.wishes", "{events}.state")
"""The dispatcher's consumers, by stream."""


class Permissions(msgspec.Struct, frozen=True, kw_only=True):
    """Subjects to publish to and to subscribe to; the process needs this `inbox_prefix` in its `[nats]`.

    With `allow_responses` it may answer what it is asked.
    """

    inbox_prefix: str
    publish: list[str]
    subscribe: list[str]
    allow_responses: bool = False


def of_gateway(
    nats: Nats,
    user: str,
    tenants: Iterable[str],
    channels: Iterable[str],
    accounts: Iterable[Outlined],
    *,
    any_account: bool = False,
) -> Permissions:
    """For a process that serves these channels of these tenants.

    A consumer's name is one token, and NATS knows no wildcard for a part of one, so that each account is listed. With
    `any_account` none need be; then the user may take commands and files to fetch of other tenants and channels too.
    """
    ours, tenants, channels = _Subjects(nats), sorted(set(tenants)), sorted(set(channels))
    publish = [*ours.infos(tenants), *ours.of_nobody(channels)]
    for tenant in tenants:
        publish += [*ours.of_tenant(tenant), *ours.files(tenant)]
    for tenant, channel in product(tenants, channels):
        publish += ours.of_channel(tenant, channel)
        if any_account:
            publish += ours.of_any_account(tenant, channel)
    for account in sorted(set(accounts)) if not any_account else ():
        publish += ours.of_account(account)
    inbox, start = _inbox(nats, user), ours.start
    heard = [f"{start}.{tenant}.live.typing.set.>" for tenant in tenants]
    return Permissions(inbox_prefix=inbox, publish=_published(nats, publish), subscribe=[f"{inbox}.>", *heard])


def of_dispatcher(nats: Nats, user: str, tenants: Iterable[str]) -> Permissions:
    """For the dispatcher, which serves all tenants; files have a bucket of each of these."""
    ours, tenants = _Subjects(nats), sorted(set(tenants))
    layout, api, start, inbox = ours.layout, ours.api, ours.start, _inbox(nats, user)
    publish = [
        *(f"{start}.*.{room}.>" for room in ("events", "commands", "scheduled", f"fetches.{VOICE}")),
        *(f"$KV.{bucket}.>" for bucket in (layout.identity, layout.messages, layout.state)),
        *(
            f"{api}.DIRECT.GET.KV_{bucket}.>"
            for bucket in (layout.identity, layout.messages, layout.state, layout.accounts)
        ),
        f"{api}.DIRECT.GET.{layout.commands}",
        f"{api}.DIRECT.GET.{layout.events}.{start}.*.events.message.received.>",
        *ours.contacts("*"),
    ]
    for tenant in tenants:
        publish += [*ours.reading_files(tenant), f"$O.{layout.media(tenant)}.M.>"]
    for durable in DURABLES:
        name = durable.format(commands=layout.commands, events=layout.events)
        publish += [f"{api}.CONSUMER.CREATE.{name}.>", *ours.pinned(name)]
    publish += ours.infos(tenants)
    for stream in layout.with_media(tenants):
        publish += ours.erasing(stream) if stream != f"KV_{layout.accounts}" else ()
    heard = [f"{start}.*.ask.*", f"{start}.*.events.message.status.>"]
    return Permissions(
        inbox_prefix=inbox, publish=_published(nats, publish), subscribe=[f"{inbox}.>", *heard], allow_responses=True
    )


def of_streams(nats: Nats, user: str, tenants: Iterable[str]) -> Permissions:
    """For `sluiceway streams create` and `list`. Who may make a stream may have it source any other."""
    names, api, inbox = Layout(nats).with_media(tenants), _api(nats), _inbox(nats, user)
    publish = (f"{api}.STREAM.{call}.{name}" for name in names for call in ("INFO", "CREATE"))
    return Permissions(inbox_prefix=inbox, publish=_published(nats, publish), subscribe=[f"{inbox}.>"])


def of_operator(nats: Nats, user: str, tenants: Iterable[str]) -> Permissions:
    """For people's commands: backup, restore, streams, dead letters, accounts, consumers, and what agents' do.

    It reads and writes all that is of any tenant; files have a bucket of each of these. Who restores makes any stream.
    """
    ours, tenants = _Subjects(nats), sorted(set(tenants))
    inbox, names = _inbox(nats, user), ours.layout.with_media(tenants)
    publish = [
        f"{ours.api}.STREAM.NAMES",
        *(f"{ours.api}.STREAM.{call}.{name}" for name in names for call in ("INFO", "CREATE", "SNAPSHOT", "RESTORE")),
        *(f"$JS.SNAPSHOT.{way}.{name}.*" for name in names for way in ("ACK", "RESTORE")),
        f"{ours.api}.STREAM.PURGE.{ours.layout.events}",
        *ours.operating(),
    ]
    for tenant in tenants:
        publish += ours.files(tenant)
    return Permissions(inbox_prefix=inbox, publish=_published(nats, publish), subscribe=[f"{inbox}.>"])


def of_reader(nats: Nats, name: str, tenant: str) -> Permissions:
    """For the user of the consumer `name`, a helpdesk's: its tenant's events, commands, questions and records.

    One who may create consumers could read any tenant, so that a reader only pulls from the one made for it.
    """
    ours = _Subjects(nats)
    layout, api, start, inbox = ours.layout, ours.api, f"{ours.start}.{tenant}", f"_INBOX_{name}"
    publish = [
        f"{api}.CONSUMER.MSG.NEXT.{layout.events}.{name}",
        f"{api}.CONSUMER.INFO.{layout.events}.{name}",
        *_acks(f"{layout.events}.{name}"),
        f"{api}.DIRECT.GET.KV_{layout.state}.$KV.{layout.state}.{tenant}.>",
        f"{start}.commands.>",
        f"{start}.ask.>",
        f"{start}.live.typing.set.>",
    ]
    return Permissions(
        inbox_prefix=inbox, publish=_published(nats, publish), subscribe=[f"{inbox}.>", f"{start}.live.>"]
    )


class _Subjects:
    """The subjects of one installation, by what they are for."""

    def __init__(self, nats: Nats) -> None:
        self.layout, self.api, self.start = Layout(nats), _api(nats), f"{nats.prefix}.{subjects.VERSION}"

    def infos(self, tenants: Iterable[str]) -> Iterator[str]:
        """Looking at every stream and bucket, at the start."""
        return (f"{self.api}.STREAM.INFO.{stream}" for stream in self.layout.with_media(tenants))

    def of_nobody(self, channels: Iterable[str]) -> Iterator[str]:
        """Deliveries that are no tenant's, and the mark of the identity key."""
        start, key = f"{self.start}.{ANYBODYS}", f"$KV.{self.layout.identity}.fingerprint"
        for channel in channels:
            yield from (f"{start}.events.{what}.{channel}.>" for what in ("account.unknown", "error.dead_letter"))
            yield f"{start}.dead.inbound.{channel}.>"
        yield from (key, f"{self.api}.DIRECT.GET.KV_{self.layout.identity}.{key}")

    def of_tenant(self, tenant: str) -> Iterator[str]:
        """Who is who, and what was said: of all channels, as a person is one on all of them.

        What a contact's record has not told yet is told by whichever channel finds it.
        """
        layout, start = self.layout, f"{self.start}.{tenant}"
        yield from (f"{start}.events.{family}.>" for family in ("contact", "conversation"))
        yield f"{start}.scheduled.>"
        yield f"{self.api}.DIRECT.GET.{layout.events}.{start}.events.message.received.>"
        for bucket in (layout.identity, layout.messages):
            yield f"$KV.{bucket}.{tenant}.>"
            yield f"{self.api}.DIRECT.GET.KV_{bucket}.$KV.{bucket}.{tenant}.>"
        yield from self.contacts(tenant)

    def of_channel(self, tenant: str, channel: str) -> Iterator[str]:
        """Events, dead letters, files to fetch, and the accounts' places in the register."""
        start, accounts = f"{self.start}.{tenant}", self.layout.accounts
        yield f"{start}.events.*.*.{channel}.>"
        yield from (f"{start}.dead.{what}.{channel}.>" for what in ("inbound", "commands"))
        yield f"{start}.fetches.{channel}.>"
        yield f"$KV.{accounts}.{tenant}.{channel}.>"
        yield f"{self.api}.DIRECT.GET.KV_{accounts}.$KV.{accounts}.{tenant}.{channel}.>"
        if channel == VOICE:
            yield f"{start}.commands.{subjects.ANY}.{subjects.ANY}.call.step.>"

    def of_account(self, account: Outlined) -> Iterator[str]:
        """Its commands and its files to fetch, through its own consumers."""
        tenant, channel, name = account
        out, fetch = (f"{way}_{tenant}_{channel}_{name}" for way in ("out", "in"))
        yield from self._consumers(tenant, channel, out, fetch, f"{name}.>", name)

    def of_any_account(self, tenant: str, channel: str) -> Iterator[str]:
        """Those of any account of the channel; the consumers of others with them."""
        yield from self._consumers(tenant, channel, "*", "*", ">", "*")

    def _consumers(self, tenant: str, channel: str, out: str, fetch: str, commands: str, fetches: str) -> Iterator[str]:
        api, layout, start = self.api, self.layout, f"{self.start}.{tenant}"
        yield f"{api}.CONSUMER.CREATE.{layout.commands}.{out}.{start}.commands.{channel}.{commands}"
        yield from self.pinned(f"{layout.commands}.{out}")
        yield f"{api}.CONSUMER.CREATE.{layout.fetches}.{fetch}.{start}.fetches.{channel}.{fetches}"
        yield f"{api}.CONSUMER.MSG.NEXT.{layout.fetches}.{fetch}"
        yield from _acks(f"{layout.fetches}.{fetch}")

    def contacts(self, tenant: str) -> Iterator[str]:
        """Changes of contacts, by a consumer whose name nobody can guess."""
        bucket = self.layout.identity
        yield f"{self.api}.CONSUMER.CREATE.KV_{bucket}.*.$KV.{bucket}.{tenant}.c.*"
        yield f"{self.api}.CONSUMER.MSG.NEXT.KV_{bucket}.*"

    def files(self, tenant: str) -> Iterator[str]:
        """Files, written and read; what was begun and not ended is purged."""
        bucket = self.layout.media(tenant)
        yield from (f"$O.{bucket}.>", f"{self.api}.STREAM.PURGE.OBJ_{bucket}", *self.reading_files(tenant))

    def reading_files(self, tenant: str) -> Iterator[str]:
        get = f"{self.api}.DIRECT.GET.OBJ_{self.layout.media(tenant)}"
        yield from (get, f"{get}.>")

    def pinned(self, consumer: str) -> Iterator[str]:
        """A consumer that one process at a time is pinned to."""
        yield from (f"{self.api}.CONSUMER.{call}.{consumer}" for call in ("INFO", "RESET", "UNPIN", "MSG.NEXT"))
        yield from _acks(consumer)

    def operating(self) -> Iterator[str]:
        """Asking and commanding for any tenant, receiving a delivery again, and looking at all of it."""
        layout, api = self.layout, self.api
        yield from (f"{self.start}.*.{room}.>" for room in ("ask", "commands", "events", "fetches", "scheduled"))
        for bucket in (layout.identity, layout.messages):
            yield f"$KV.{bucket}.>"
        for bucket in (layout.identity, layout.messages, layout.state, layout.accounts):
            yield f"{api}.DIRECT.GET.KV_{bucket}.>"
        yield from (
            f"{api}.DIRECT.GET.{layout.dead}",
            f"{api}.DIRECT.GET.{layout.events}.{self.start}.*.events.message.received.>",
        )
        yield f"{api}.CONSUMER.INFO.{layout.commands}.*"
        for stream in (layout.events, f"KV_{layout.state}"):
            yield f"{api}.STREAM.MSG.GET.{stream}"
            yield from (f"{api}.CONSUMER.{call}.{stream}.>" for call in ("CREATE", "MSG.NEXT"))
        yield f"{api}.CONSUMER.LIST.{layout.events}"
        yield from (f"{api}.CONSUMER.{call}.{layout.events}.*" for call in ("INFO", "DELETE"))

    def erasing(self, stream: str) -> Iterator[str]:
        """Finding what is of one person, and overwriting it."""
        api = self.api
        yield from (f"{api}.STREAM.{call}.{stream}" for call in ("MSG.GET", "MSG.DELETE"))
        yield from (f"{api}.CONSUMER.{call}.{stream}.>" for call in ("CREATE", "MSG.NEXT"))


def _api(nats: Nats) -> str:
    return f"$JS.{nats.domain}.API" if nats.domain else "$JS.API"


def _inbox(nats: Nats, user: str) -> str:
    return nats.inbox_prefix if nats.inbox_prefix != INBOX else f"{INBOX}_{user}"


def _acks(consumer: str) -> Iterator[str]:
    """In either form, without and with domain and account: nats-server has a flag for it, `js_ack_fc_v2`.

    https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-15.md
    """
    yield from (f"$JS.ACK.{consumer}.>", f"$JS.ACK.*.*.{consumer}.>")


def _published(nats: Nats, subjects: Iterable[str]) -> list[str]:
    """Each once. In a domain calls and keys have two subjects: a server of it takes the domain out, and looks then."""
    api, found = f"{_api(nats)}.", list(dict.fromkeys(subjects))
    if nats.domain is None:
        return found
    at_home = (f"$JS.API.{one.removeprefix(api)}" for one in found if one.startswith(api))
    from_afar = (f"{api}{one}" for one in found if one.startswith("$KV."))
    return [*found, *at_home, *from_afar]
