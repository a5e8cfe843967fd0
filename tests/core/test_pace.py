"""How fast an account may send, on a clock that stands still until somebody waits: no test here waits itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway import pace as module
from sluiceway.gateway import Rate
from sluiceway.pace import Pace, TokenBucket

ANN, BOB = "tel:+447700900456", "tel:+447700900457"


class StandingLoop(asyncio.SelectorEventLoop):
    """A loop whose time jumps to the next timer as soon as nothing else is left to do."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0

    def time(self) -> float:
        return self.now

    def _run_once(self) -> None:
        ready, scheduled = self._ready, self._scheduled  # type: ignore[attr-defined]  # asyncio's own, in every version
        if not ready and scheduled:
            self.now = max(self.now, scheduled[0]._when)
        super()._run_once()  # type: ignore[misc]  # asyncio's own, in every version


def played(work: Callable[[StandingLoop], Coroutine[Any, Any, None]]) -> None:
    loop = StandingLoop()
    try:
        loop.run_until_complete(work(loop))
    finally:
        loop.close()


async def times(loop: StandingLoop, pace: Pace, *recipients: str) -> list[float]:
    """When each of these may be sent to, in seconds from now, all asking at once."""
    start = loop.now

    async def one(recipient: str) -> float:
        await pace.wait(recipient)
        return round(loop.now - start, 6)

    return list(await asyncio.gather(*(one(recipient) for recipient in recipients)))


def test_an_account_without_a_rate_never_waits() -> None:
    async def work(loop: StandingLoop) -> None:
        assert await times(loop, Pace(None, None), *[ANN] * 100) == [0.0] * 100

    played(work)


def test_messages_go_out_at_the_accounts_rate() -> None:
    async def work(loop: StandingLoop) -> None:
        assert await times(loop, Pace(Rate(per_second=2), None), ANN, BOB, ANN, BOB) == [0.0, 0.5, 1.0, 1.5]

    played(work)


def test_after_a_pause_as_many_go_at_once_as_the_burst_allows() -> None:
    async def work(loop: StandingLoop) -> None:
        pace = Pace(Rate(per_second=1, burst=3), None)
        assert await times(loop, pace, *[ANN] * 5) == [0.0, 0.0, 0.0, 1.0, 2.0]
        await asyncio.sleep(1000)
        assert await times(loop, pace, *[ANN] * 5) == [0.0, 0.0, 0.0, 1.0, 2.0]

    played(work)


def test_one_recipients_rate_delays_no_other_recipient() -> None:
    async def work(loop: StandingLoop) -> None:
        pace = Pace(Rate(per_second=1000, burst=100), Rate(per_second=0.5))
        assert await times(loop, pace, ANN, ANN, ANN, BOB) == [0.0, 2.0, 4.0, 0.0]

    played(work)


def test_a_hold_delays_everything_and_ends_when_it_was_said_to() -> None:
    async def work(loop: StandingLoop) -> None:
        pace = Pace(None, None)
        pace.hold(30)
        pace.hold(5)  # a shorter one shortens nothing
        assert await times(loop, pace, ANN, BOB) == [30.0, 30.0]
        assert await times(loop, pace, ANN) == [0.0]

    played(work)


def test_a_hold_reaches_those_who_wait_for_their_turn_already() -> None:
    async def work(loop: StandingLoop) -> None:
        pace = Pace(Rate(per_second=1), None)
        waiting = asyncio.create_task(times(loop, pace, ANN, BOB))
        await asyncio.sleep(0.5)
        pace.hold(10)
        assert await waiting == [0.0, 10.5]

    played(work)


def test_a_hold_that_is_made_longer_holds_those_who_wait_for_its_end() -> None:
    async def work(loop: StandingLoop) -> None:
        pace = Pace(None, None)
        pace.hold(5)
        waiting = asyncio.create_task(times(loop, pace, ANN))
        await asyncio.sleep(1)
        pace.hold(30)
        assert await waiting == [31.0]

    played(work)


def test_recipients_of_long_ago_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_RECIPIENTS", 10)

    async def work(loop: StandingLoop) -> None:
        pace = Pace(None, Rate(per_second=1, burst=2))
        await times(loop, pace, *(str(number) for number in range(1000)))
        assert len(pace._recipients) == 10

    played(work)


@given(
    st.floats(0.1, 1000),
    st.integers(1, 20),
    st.lists(st.floats(0, 5), min_size=1, max_size=60),
)
def test_in_no_stretch_of_time_go_more_than_the_rate_and_one_burst(rate: float, burst: int, gaps: list[float]) -> None:
    bucket, now, sent = TokenBucket(Rate(per_second=rate, burst=burst)), 1.0, []
    for gap in gaps:
        now += gap
        sent.append(now + bucket.take(now))
    for first in range(len(sent)):
        for last in range(first, len(sent)):
            assert last - first + 1 <= burst + (sent[last] - sent[first]) * rate + 1e-6
