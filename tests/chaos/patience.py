"""Waiting that is patient with a slow machine, and says what never came and where it was waited for."""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import nats.errors

T = TypeVar("T")
PATIENCE_S = 90.0
PAUSE_S = 0.2
HERE = Path(__file__).parent


class NeverCame(Exception):
    """What was waited for, how long, and what was seen instead."""


async def persist(what: str, attempt: Callable[[], Awaitable[T | None]], seconds: float = PATIENCE_S) -> T:
    """What `attempt` gives, tried again for as long as that is None or NATS does not answer. Raises `NeverCame`."""
    deadline, seen = time.monotonic() + seconds, "nothing"
    while True:
        try:
            found = await attempt()
            if found is not None:
                return found
        except (TimeoutError, OSError, nats.errors.Error) as error:
            seen = _said(error)
        if time.monotonic() > deadline:
            raise NeverCame(f"{what} did not come within {seconds:g} s; last seen: {seen}")
        await asyncio.sleep(PAUSE_S)


def explained(error: BaseException) -> str:
    """Where in the harness an error arose, and what it says."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{' > '.join(places(error)[-3:])}: {_said(error)}"


def places(error: BaseException) -> list[str]:
    """The lines of the harness that an error came through, the innermost last."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).parent == HERE]
    return [f"{Path(frame.filename).name}:{frame.lineno} ({frame.name})" for frame in frames]


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else repr(error)
