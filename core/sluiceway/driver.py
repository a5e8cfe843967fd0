"""What plays a gateway's flows, whoever that is: the HTTP client in a service, a script in a test."""

from __future__ import annotations

from typing import Protocol, TypeVar

from .gateway import Flow

T = TypeVar("T")


class Driver(Protocol):
    """Plays the flows of a gateway against its provider."""

    async def play(self, flow: Flow[T]) -> T:
        """The flow's result. Raises what the flow raises, a `SendError` mostly."""
