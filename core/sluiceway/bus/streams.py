"""The streams and buckets of the contract: created where allowed, else checked. Nothing is ever altered or removed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from .. import metrics
from ..config import Nats
from ..errors import SluicewayError, Unavailable
from .link import Link

DAY_S = 86_400
_NOT_FOUND, _NO_PEERS = 10059, 10005
_UNAVAILABLE = 503
_REMEDIES = {
    10005: "this NATS has not as many servers with room for it; add some, or set nats.replicas to less",
    10074: "one server alone keeps no replicas; set nats.replicas to 1, or use a cluster",
    10023: "give JetStream more, or set nats.media_max_bytes or nats.replicas to less",
    10047: "give JetStream more storage, or set nats.media_max_bytes or nats.replicas to less",
    10002: "give the NATS account more, or set nats.media_max_bytes or nats.replicas to less",
    10027: "let the NATS account have more streams",
    10065: "another installation in this NATS account has these subjects; set nats.prefix and nats.names to others",
    10113: "the NATS account wants a limit for each stream; make this one yourself, with one",
    10120: "let the NATS account have streams of so many replicas, or set nats.replicas to another number",
    10122: "let the NATS account have larger streams, or set nats.media_max_bytes to less",
}
"""nats-server's err_code (server/errors.json) of what an administrator can put right."""
_LIMITS = {"num_replicas": "replicas", "max_age": "max_age", "max_bytes": "max_bytes"}
"""What an administrator may have chosen otherwise."""


class StreamsError(SluicewayError):
    """A stream or bucket is missing or is not as the contract needs it; the text says what to do."""


class NotYet(StreamsError):
    """It can't be made now, but perhaps when more servers are there."""


class Stream(msgspec.Struct, frozen=True, kw_only=True):
    """What the server says of a stream or bucket; `max_age_s` and `max_bytes` are 0 where there is no limit.

    `clustered`: the server is not alone.
    """

    name: str
    messages: int
    bytes: int
    replicas: int
    storage: str
    max_age_s: int
    max_bytes: int
    clustered: bool = False


class Looked(NamedTuple):
    """A stream that is there, what must be altered, and its limits that differ from those configured."""

    stream: Stream
    wrong: str | None
    differs: list[str]


class Layout:
    """The names of streams and buckets under the configured `names`, and what each must be."""

    def __init__(self, settings: Nats) -> None:
        n, p = settings.names, f"{settings.prefix}.v1.*"
        self.events, self.commands, self.dead = f"{n}_EVENTS", f"{n}_COMMANDS", f"{n}_DEAD"
        self.scheduled = f"{n}_SCHEDULED"
        self.identity, self.messages, self.accounts = f"{n}_IDENTITY", f"{n}_MESSAGES", f"{n}_ACCOUNTS"
        self.state, self.fetches = f"{n}_STATE", f"{n}_FETCHES"
        self._media, self._replicas = f"{n}_MEDIA", settings.replicas
        self._media_limits = {"days": settings.media_days, "max_bytes": settings.media_max_bytes or -1}
        self.configs: dict[str, dict[str, Any]] = {
            config["name"]: config | {"num_replicas": settings.replicas}
            for config in (
                _stream(self.events, f"{p}.events.>", days=30),
                _scheduled(self.scheduled, p),
                _stream(self.commands, f"{p}.commands.>", days=7) | {"sources": [_due(self.scheduled, p)]},
                _stream(self.dead, f"{p}.dead.>", days=30),
                _stream(self.fetches, f"{p}.fetches.>", days=7),
                _bucket(self.identity) | {"allow_msg_ttl": True},  # what is said of an erasure expires
                _bucket(self.messages, days=30),
                _bucket(self.state),  # what is older than the stream can't be made again from it
                _bucket(self.accounts, days=1),  # an account that nobody has served for a day is nobody's
            )
        }

    def media(self, tenant: str) -> str:
        """The object store that has a tenant's files; nobody else's are in it."""
        return f"{self._media}_{tenant}"

    def with_media(self, tenants: Iterable[str]) -> dict[str, dict[str, Any]]:
        """What must be there for these tenants, by name."""
        buckets = (_objects(self.media(tenant), **self._media_limits) for tenant in sorted(set(tenants)))
        return self.configs | {bucket["name"]: bucket | {"num_replicas": self._replicas} for bucket in buckets}


async def ensure(link: Link, layout: Layout, *, create: bool, tenants: Iterable[str] = ()) -> None:
    """Make sure of every stream and bucket, and of those of these tenants. Raises `StreamsError` or `Unavailable`."""
    for name, wanted in layout.with_media(tenants).items():
        if not await exists(link, name, wanted):
            if not create:
                raise StreamsError(f"the stream {name} is missing; create it, or set nats.streams to create")
            await _create(link, name, wanted)


async def make(link: Link, name: str, wanted: dict[str, Any]) -> tuple[bool, list[str]]:
    """Make one that is missing: whether it was, and in which limits one that was there differs.

    Raises `StreamsError` or `Unavailable`.
    """
    found = await _info(link, name)
    if found is None:
        await _create(link, name, wanted)
        return True, []
    _check(name, found["config"], wanted)
    return False, _differences(found["config"], wanted)


async def look(link: Link, name: str, wanted: dict[str, Any]) -> Looked | None:
    """What is there; None: it is missing. Raises `StreamsError`, where nobody may look, or `Unavailable`."""
    found = await _info(link, name)
    if found is None:
        return None
    config, state = found["config"], found["state"]
    stream = Stream(
        name=name,
        messages=state["messages"],
        bytes=state["bytes"],
        replicas=config["num_replicas"],
        storage=config["storage"],
        max_age_s=config.get("max_age", 0) // 10**9,
        max_bytes=max(0, config.get("max_bytes", 0)),
        clustered=_clustered(found),
    )
    try:
        _check(name, config, wanted)
        wrong = None
    except StreamsError as error:
        wrong = str(error)
    return Looked(stream, wrong, _differences(config, wanted))


async def exists(link: Link, name: str, wanted: dict[str, Any]) -> bool:
    """Whether a stream or bucket is there, as it must be. Raises `StreamsError` or `Unavailable`."""
    found = await _info(link, name)
    if found is not None:
        _check(name, found["config"], wanted)
    return found is not None


def _differences(found: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """Limits that are others than those configured: nothing that must be altered."""
    wished = {"max_bytes": -1} | wanted
    return [
        f"{word} is {_said(key, found.get(key, 0))}, configured: {_said(key, wished[key])}"
        for key, word in _LIMITS.items()
        if found.get(key, 0) != wished[key]
    ]


def _said(key: str, value: int) -> str:
    if key == "max_age":
        return f"{value / DAY_S / 10**9:g}d" if value else "without end"
    return str(value) if value > 0 else "unlimited"


def _check(name: str, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    for key in ("subjects", "retention", "discard", "storage", "max_msgs_per_subject", "allow_direct", "allow_msg_ttl"):
        if found.get(key) != wanted.get(key, found.get(key)):
            raise StreamsError(f"the stream {name} has {key}={found.get(key)}, but must have {wanted[key]}; alter it")
    sources = {source["name"] for source in wanted.get("sources", ())} - {s["name"] for s in found.get("sources") or ()}
    if sources:
        what = f"the stream {name} does not source {', '.join(sources)}"
        raise StreamsError(f"{what}: commands that wait for their time would never come; add the source")
    if found.get("duplicate_window", 0) < wanted.get("duplicate_window", 0):
        raise StreamsError(f"the stream {name} forgets duplicates too early; set its duplicate window to 24 h")


async def _info(link: Link, name: str) -> dict[str, Any] | None:
    answer = await _api(link, f"STREAM.INFO.{name}", b"")
    if (error := answer.get("error")) is not None:
        if error.get("err_code") == _NOT_FOUND:
            return None
        if error.get("code") == _UNAVAILABLE:
            raise Unavailable(f"JetStream can't answer now: {error.get('description')}")
        raise StreamsError(f"the stream {name} can't be looked at: {error.get('description')}")
    _count(name, answer)
    return answer


async def _create(link: Link, name: str, config: dict[str, Any]) -> None:
    answer = await _api(link, f"STREAM.CREATE.{name}", msgspec.json.encode(config))
    if (error := answer.get("error")) is not None:
        remedy = _REMEDIES.get(error.get("err_code", 0), "")
        kind = NotYet if error.get("err_code") == _NO_PEERS else StreamsError
        raise kind(f"the stream {name} can't be created: {error.get('description')}; {remedy}".rstrip("; "))
    _count(name, answer)


def _count(name: str, info: dict[str, Any]) -> None:
    """How safe it is; a server that is alone names no cluster."""
    metrics.stream_replicas.labels(name).set(info["config"]["num_replicas"])
    metrics.clustered.set(_clustered(info))


def _clustered(info: dict[str, Any]) -> bool:
    return "name" in (info.get("cluster") or {})


async def _api(link: Link, call: str, payload: bytes) -> dict[str, Any]:
    subject = link.api(call)
    try:
        message = await link.request(subject, payload, timeout_s=5)
    except Unavailable:
        if link.denied(subject):
            remedy = "give it the permissions that `sluiceway permissions` prints"
            raise StreamsError(f"the NATS user may not publish to {subject}; {remedy}") from None
        raise
    if not message.data:
        domain = link.settings.domain
        remedy = f" in the domain {domain}; set nats.domain" if domain else "; start nats-server with --jetstream"
        raise Unavailable(f"this NATS has no JetStream{remedy}")
    return msgspec.json.decode(message.data, type=dict[str, Any])


def _stream(name: str, subject: str, days: int) -> dict[str, Any]:
    return {
        "name": name,
        "subjects": [subject],
        "retention": "limits",
        "storage": "file",
        "discard": "new",
        "max_age": days * DAY_S * 10**9,
        "duplicate_window": DAY_S * 10**9,
        "allow_direct": True,
    }


def _scheduled(name: str, start: str) -> dict[str, Any]:
    """Commands that wait for their time; the server moves each to `due` when it comes (nats-server 2.12).

    A stream that schedules can't refuse when it is full, so that it is one of its own, and what is due is sourced.
    """
    subjects = [f"{start}.scheduled.>", f"{start}.due.>"]
    scheduling = {"subjects": subjects, "discard": "old", "allow_msg_schedules": True}
    return _stream(name, subjects[0], days=7) | scheduling


def _due(scheduled: str, start: str) -> dict[str, Any]:
    """As `start` has one wild card, the tenant, its transform has one."""
    to = start.replace("*", "{{wildcard(1)}}")
    return {"name": scheduled, "subject_transforms": [{"src": f"{start}.due.>", "dest": f"{to}.commands.>"}]}


def _bucket(name: str, days: int = 0) -> dict[str, Any]:
    """Unlike the buckets that NATS's own tools make it allows deletes: an erasure overwrites single values."""
    return {
        "name": f"KV_{name}",
        "subjects": [f"$KV.{name}.>"],
        "retention": "limits",
        "storage": "file",
        "discard": "new",
        "max_age": days * DAY_S * 10**9,
        "max_msgs_per_subject": 1,
        "allow_direct": True,
        "allow_rollup_hdrs": True,
    }


def _objects(name: str, days: int, max_bytes: int) -> dict[str, Any]:
    """https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-20.md"""
    return {
        "name": f"OBJ_{name}",
        "subjects": [f"$O.{name}.C.>", f"$O.{name}.M.>"],
        "retention": "limits",
        "storage": "file",
        "discard": "new",
        "max_age": days * DAY_S * 10**9,
        "max_bytes": max_bytes,
        "allow_direct": True,
        "allow_rollup_hdrs": True,
    }
