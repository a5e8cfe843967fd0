"""What plays a gateway's flows, whoever that is: the HTTP client in a service, a script in a test."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

from .gateway import Ask, Consulting, Flow

T = TypeVar("T")

Answering = Callable[[Ask], Awaitable[Any]]
"""What a gateway asks of core. Raises `Unavailable`."""


class Driver(Protocol):
    """Plays the flows of a gateway against its provider."""

    async def play(self, flow: Flow[T] | Consulting[T], ask: Answering | None = None) -> T:
        """The flow's result. Raises what the flow raises, a `SendError` mostly. Without `ask`, it may not ask."""
