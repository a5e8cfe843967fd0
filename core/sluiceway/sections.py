"""The tables of the configuration, but for connections and accounts, which only their gateways know. Reads nothing."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from sluiceway_contracts import subjects

from .gateway import Secret


class Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the configuration."""


class Nats(Section, frozen=True, kw_only=True):
    """`[nats]`: the NATS to use; without `url`, `sluiceway up` starts one of its own and keeps its data in `data`.

    `names` begins the names of streams and buckets, `prefix` the subjects. `streams` is create, or check where an
    administrator creates them; `media_days` is how long the buckets that it makes for files keep them, and
    `media_max_bytes` how much they take for each tenant; 0: as much as the server has. `credentials` is a .creds file;
    `ca`, `certificate` and `key` are PEM files.
    """

    url: str | None = None
    credentials: str | None = None
    user: str | None = None
    password: Secret | None = None
    token: Secret | None = None
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    inbox_prefix: str = "_INBOX"
    domain: str | None = None
    prefix: str = subjects.PREFIX
    names: str = "SLUICEWAY"
    streams: Literal["create", "check"] = "create"
    replicas: int = 1
    media_days: Annotated[int, Meta(ge=1, le=3650)] = 30
    media_max_bytes: Annotated[int, Meta(ge=0)] = 0
    data: str = "sluiceway-data"
    port: int = 4222


class Http(Section, frozen=True, kw_only=True):
    """`[http]`: where hooks listen (host:port), and the address under which providers reach them.

    More than `max_connections` at once are answered 503. `trusted_proxies` are the addresses or networks of your own
    proxies, such as "10.0.0.0/8": what they add to X-Forwarded-For is believed, and nobody else's word.
    """

    listen: str = "127.0.0.1:8080"
    public_url: str | None = None
    max_connections: Annotated[int, Meta(ge=1)] = 4096
    trusted_proxies: tuple[str, ...] = ()

    @property
    def base_url(self) -> str:
        """The public address without a trailing slash; the one we listen on where none is set."""
        return (self.public_url or f"http://{self.listen}").rstrip("/")


class Probes(Section, frozen=True, kw_only=True):
    """`[probes]`: where /healthz, /readyz and /metrics listen (host:port)."""

    listen: str = "127.0.0.1:9090"


class Reload(Section, frozen=True, kw_only=True):
    """`[reload]`: what is read again while the process runs: connections, accounts, and secrets in files.

    `folder`, beside the configuration or absolute, has files *.toml with `[connections.…]` and `[accounts.…]` alone.
    They are looked at every `every_s` seconds, and on SIGHUP; 0: on SIGHUP alone.
    """

    folder: str = "accounts.d"
    every_s: Annotated[int, Meta(ge=0, le=3600)] = 10


class Identity(Section, frozen=True, kw_only=True):
    """`[identity]`: the key under which ids and address hashes are made: 16 bytes or more, never changed."""

    key: Secret | None = None


class Log(Section, frozen=True, kw_only=True):
    """`[log]`: the least level, and json, text, or auto: text on a terminal."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "text"] = "auto"


class Limits(Section, frozen=True, kw_only=True):
    """`[limits]`: what a stolen login can cost; refused commands are told as `command.failed`.

    `destinations` are the beginnings of the numbers that may be sent to, such as "+44"; without any, all may.
    `per_recipient_hour` holds for each account, `per_tenant_hour` for all accounts of a tenant together; 0: no cap.
    """

    destinations: tuple[Annotated[str, Meta(pattern=r"^\+[0-9]{1,15}$")], ...] = ()
    per_recipient_hour: Annotated[int, Meta(ge=0)] = 0
    per_tenant_hour: Annotated[int, Meta(ge=0)] = 0


class Media(Section, frozen=True, kw_only=True):
    """`[media]`: files that customers send and that are sent to them.

    A larger one than `max_bytes` is not kept. So many as `at_once` are fetched for an account at the same time.
    """

    max_bytes: Annotated[int, Meta(ge=1)] = 100_000_000
    at_once: Annotated[int, Meta(ge=1, le=64)] = 4


class Spool(Section, frozen=True, kw_only=True):
    """`[spool]`: a folder of this process's own, for deliveries of providers that would not come again.

    Without `path` they are told 503 while NATS is away, and may be lost; `sluiceway up` has one beside its data. It
    must outlive the process: on Kubernetes a persistent volume. Where it holds `max_bytes`, it is 503 again.
    """

    path: str | None = None
    max_bytes: Annotated[int, Meta(ge=0)] = 256_000_000


Hours = Annotated[int, Meta(ge=1, le=8760)]


class ChannelWindow(Section, frozen=True, kw_only=True):
    """`[conversations.channels.<channel>]`: what differs on one channel."""

    idle_h: Hours | None = None
    reopen_h: Hours | None = None


class TenantWindow(Section, frozen=True, kw_only=True):
    """`[conversations.tenants.<tenant>]`: what differs for one tenant, and on its channels."""

    idle_h: Hours | None = None
    reopen_h: Hours | None = None
    channels: dict[str, ChannelWindow] = {}


class Conversations(Section, frozen=True, kw_only=True):
    """`[conversations]`: after `idle_h` hours without a word (e-mail: 336) a conversation is closed.

    Who writes within `reopen_h` hours of that goes on in it, who writes later begins another. The nearest that is set
    holds: of the tenant's channel, the tenant, the channel, everything.
    """

    idle_h: Hours = 72
    reopen_h: Hours = 168
    channels: dict[str, ChannelWindow] = {}
    tenants: dict[str, TenantWindow] = {}


Clock = Annotated[str, Meta(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]-([01][0-9]|2[0-3]|24):[0-5][0-9]$")]
Prefix = Annotated[str, Meta(pattern=r"^\+[0-9]{1,15}$")]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


class TenantCalls(Section, frozen=True, kw_only=True):
    """`[calls.tenants.<tenant>]`: when and how a tenant's customers are called.

    `hours` has, by day of the week, from when to when, such as "09:00-17:30", in the time of `zone` (IANA); without
    any it is always open. `holidays` are dates. `first` is who is called first, agent or customer.

    A number is called only where it begins with one of `prefixes`, such as "+44", and for at most `per_number_day`
    requests a day, and `per_hour` of the tenant. Somebody who does not answer is tried again after each of `retries_s`.
    It rings for `ring_s`; an agent who did not answer is left alone for `agent_pause_s`. With `record`, calls are
    recorded, and that is announced.
    With `updates`, who waits is told their place, in the language `lang`, en or de; `texts` replaces some of that.
    `words` are what people write who want to be called.
    """

    prefixes: Annotated[tuple[Prefix, ...], Meta(min_length=1)]
    zone: str = "UTC"
    hours: dict[Day, tuple[Clock, ...]] = {}
    holidays: tuple[Annotated[str, Meta(pattern="^[0-9]{4}-[0-9]{2}-[0-9]{2}$")], ...] = ()
    first: Literal["agent", "customer"] = "agent"
    per_number_day: Annotated[int, Meta(ge=1)] = 3
    per_hour: Annotated[int, Meta(ge=1)] = 100
    retries_s: tuple[Annotated[int, Meta(ge=1, le=86_400)], ...] = (300, 1800)
    ring_s: Annotated[int, Meta(ge=5, le=120)] = 25
    agent_pause_s: Annotated[int, Meta(ge=0, le=3600)] = 60
    record: bool = False
    updates: bool = True
    lang: str = "en"
    texts: dict[str, str] = {}
    words: tuple[str, ...] = ("call me", "call me back", "callback", "call back", "rückruf", "ruf mich an", "rappel")


class Calls(Section, frozen=True, kw_only=True):
    """`[calls]`: telephone calls, for the tenants that are named here alone."""

    tenants: dict[str, TenantCalls] = {}


class Core(Section, frozen=True, kw_only=True):
    """Everything but connections and accounts, which only their gateways can read."""

    nats: Nats = Nats()
    http: Http = Http()
    probes: Probes = Probes()
    reload: Reload = Reload()
    identity: Identity = Identity()
    log: Log = Log()
    limits: Limits = Limits()
    spool: Spool = Spool()
    media: Media = Media()
    conversations: Conversations = Conversations()
    calls: Calls = Calls()
