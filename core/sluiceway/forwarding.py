"""Commands on their way from the dispatcher to the gateway of the account that was chosen. Chooses nothing."""

from __future__ import annotations

from sluiceway_contracts import Command

from .bus.link import Link, Refused
from .checks import Refusal
from .errors import TooLarge, Unavailable


class Forwarding:
    """Publishes commands to accounts."""

    def __init__(self, link: Link, prefix: str) -> None:
        self._link = link
        self._prefix = prefix

    async def put(self, command: Command, attempt: int) -> None:
        """Hand a command to its account; within 24 hours the stream takes each attempt once, the first as it was.

        Raises `Refusal` or `Unavailable`.
        """
        headers = command.headers() | {"Nats-Msg-Id": f"{command.tenant}:{command.id}:{attempt}"}
        try:
            await self._link.publish(command.nats_subject(self._prefix), command.encode(), headers)
        except TooLarge as error:
            raise Refusal("too_large", str(error)) from error
        except Refused as error:
            raise Unavailable(f"the stream of commands refuses: {error}") from error
