"""Doing over what NATS could not take; only for what may be done twice."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

import structlog

from .errors import Unavailable

log = structlog.get_logger(__name__)
P = ParamSpec("P")
T = TypeVar("T")

PAUSE_S = 0.5


async def surely(work: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
    """The result of `work`, tried again for as long as it raises `Unavailable`."""
    while True:
        try:
            return await work(*args, **kwargs)
        except Unavailable as error:
            await pause(error)


async def pause(error: Unavailable) -> None:
    """Wait a moment before the next try, and say why."""
    log.warning("nats.waited_for", why=str(error))
    await asyncio.sleep(PAUSE_S)
