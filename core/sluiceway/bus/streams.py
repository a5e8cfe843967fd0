"""The streams and buckets of the contract: created where allowed, else checked. Nothing is ever altered or removed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from .. import metrics
from ..config import Nats
from ..errors import SluicewayError, Unavailable
from .link import Link

DAY_S = 86_400
_NOT_FOUND = 10059


class StreamsError(SluicewayError):
    """A stream or bucket is missing or is not as the contract needs it; the text says what to do."""


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


async def exists(link: Link, name: str, wanted: dict[str, Any]) -> bool:
    """Whether a stream or bucket is there, as it must be. Raises `StreamsError` or `Unavailable`."""
    found = await _info(link, name)
    if found is not None:
        _check(name, found, wanted)
    return found is not None


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
        raise StreamsError(f"the stream {name} can't be looked at: {error.get('description')}")
    _count(name, answer)
    config: dict[str, Any] = answer["config"]
    return config


async def _create(link: Link, name: str, config: dict[str, Any]) -> None:
    answer = await _api(link, f"STREAM.CREATE.{name}", msgspec.json.encode(config))
    if (error := answer.get("error")) is not None:
        raise StreamsError(f"the stream {name} can't be created: {error.get('description')}")
    _count(name, answer)


def _count(name: str, info: dict[str, Any]) -> None:
    """How safe it is; a server that is alone names no cluster."""
    metrics.stream_replicas.labels(name).set(info["config"]["num_replicas"])
    metrics.clustered.set("name" in (info.get("cluster") or {}))


async def _api(link: Link, call: str, payload: bytes) -> dict[str, Any]:
    message = await link.request(link.api(call), payload, timeout_s=5)
    if not message.data:
        raise Unavailable("this NATS has no JetStream; start nats-server with --jetstream")
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
