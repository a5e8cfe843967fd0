"""A question to the dispatcher, and its answer. Knows no question itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec

from sluiceway_contracts import Answer, subjects
from sluiceway_contracts.asks import Question

from ..errors import SluicewayError

if TYPE_CHECKING:
    from ..bus.link import Link
    from ..config import Core

A = TypeVar("A", bound=Answer)

WITHIN_S = 5.0
NO_RESPONDERS = "503"


class NoAnswer(SluicewayError):
    """Nobody answers, or there is no answer."""


async def ask(link: Link, core: Core, tenant: str, question: Question, answer: type[A]) -> A:
    """The dispatcher's answer. Raises `NoAnswer` or `Unavailable`."""
    subject = subjects.ask(tenant, question.name, prefix=core.nats.prefix)
    message = await link.request(subject, msgspec.json.encode(question), timeout_s=WITHIN_S)
    if (message.headers or {}).get("Status") == NO_RESPONDERS:
        raise NoAnswer("nobody answers; start `sluiceway up` or `sluiceway run dispatcher`")
    found = msgspec.json.decode(message.data, type=answer)
    if found.error is not None:
        raise NoAnswer(found.error.message)
    return found


async def tenant_of(link: Link, core: Core, conversation: str) -> str:
    """Whose a conversation is, as the stream has it. Raises `NoAnswer`, `ReaderError` or `Unavailable`."""
    from ..bus.reader import Reader
    from ..bus.streams import Layout

    subject = f"{core.nats.prefix}.{subjects.VERSION}.*.events.*.*.*.*.{conversation}"
    stored = await Reader(link, Layout(core.nats).events).last(subject)
    if stored is None:
        raise NoAnswer(f"nothing is known of {conversation}; `sluiceway tail --since 1d` shows conversations")
    return subjects.parse_event(stored.subject, prefix=core.nats.prefix).tenant
