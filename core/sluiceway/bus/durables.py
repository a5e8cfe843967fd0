"""Places in the stream of events that readers outside keep: made, listed, removed. Reads nothing from them."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from ..errors import SluicewayError, Unavailable
from .link import Link

ACK_WAIT_S = 30
MAX_ACK_PENDING = 1000
"""So many may be unacknowledged: more wait in the stream."""
TENANT = "sluiceway-tenant"
"""The consumer's metadata that tells it from those of gateways."""
CALL_TIMEOUT_S = 5

_EXISTS, _NOT_FOUND = (10148, 10105), 10014
"""nats-server's err_code (server/errors.json)."""


class DurableError(SluicewayError):
    """A consumer can't be made, listed or removed; the text says what to do."""


class Durable(msgspec.Struct):
    """A reader's place: what it is given, how much waits for it, and how much it has not acknowledged."""

    name: str
    tenant: str
    subject: str
    waiting: int
    unacknowledged: int


class Durables:
    """Those of one stream. Methods raise `DurableError` or `Unavailable`."""

    def __init__(self, link: Link, stream: str) -> None:
        self._link = link
        self._stream = stream

    async def create(self, name: str, tenant: str, subject: str, since: Literal["all", "now"]) -> None:
        """Make one; never change one that is there."""
        config = {
            "durable_name": name,
            "filter_subject": subject,
            "ack_policy": "explicit",
            "ack_wait": ACK_WAIT_S * 10**9,
            "max_ack_pending": MAX_ACK_PENDING,
            "deliver_policy": "all" if since == "all" else "new",
            "metadata": {TENANT: tenant},
        }
        body = {"stream_name": self._stream, "config": config, "action": "create"}
        result = await self._call(f"CONSUMER.CREATE.{self._stream}.{name}.{subject}", body)
        if (error := result.get("error")) is not None:
            if error.get("err_code") in _EXISTS:
                raise DurableError(f"there is a consumer {name} already; remove it first, or choose another name")
            raise DurableError(f"the consumer {name} can't be made: {error.get('description')}")

    async def all(self) -> list[Durable]:
        """Those that `create` made, by name."""
        found: list[Durable] = []
        offset, total = 0, 1
        while offset < total:
            page = await self._call(f"CONSUMER.LIST.{self._stream}", {"offset": offset})
            if (error := page.get("error")) is not None:
                raise DurableError(f"the consumers of {self._stream} can't be listed: {error.get('description')}")
            infos = page.get("consumers") or []
            found += [_durable(info) for info in infos if _tenant(info) is not None]
            offset, total = offset + max(1, len(infos)), int(page.get("total", 0))
        return sorted(found, key=lambda durable: durable.name)

    async def remove(self, name: str) -> None:
        """Remove one that `create` made, and no other."""
        info = await self._call(f"CONSUMER.INFO.{self._stream}.{name}", {})
        if (info.get("error") or {}).get("err_code") == _NOT_FOUND:
            raise DurableError(f"there is no consumer {name}; `sluiceway consumer list` has those that are")
        if "error" in info or _tenant(info) is None:
            raise DurableError(f"{name} is no consumer that `sluiceway consumer add` made; it stays")
        result = await self._call(f"CONSUMER.DELETE.{self._stream}.{name}", {})
        if (error := result.get("error")) is not None:
            raise DurableError(f"the consumer {name} can't be removed: {error.get('description')}")

    async def _call(self, call: str, body: dict[str, Any]) -> dict[str, Any]:
        payload = msgspec.json.encode(body) if body else b""
        answer = await self._link.request(self._link.api(call), payload, timeout_s=CALL_TIMEOUT_S)
        if not answer.data:
            raise Unavailable("this NATS has no JetStream; start nats-server with --jetstream")
        return msgspec.json.decode(answer.data, type=dict[str, Any])


def _tenant(info: dict[str, Any]) -> str | None:
    tenant: str | None = (info["config"].get("metadata") or {}).get(TENANT)
    return tenant


def _durable(info: dict[str, Any]) -> Durable:
    return Durable(
        name=info["name"],
        tenant=_tenant(info) or "",
        subject=info["config"].get("filter_subject", ""),
        waiting=int(info.get("num_pending", 0)),
        unacknowledged=int(info.get("num_ack_pending", 0)),
    )
