"""A budget: what takes too long is ended, what is cancelled from outside stays cancelled."""

from __future__ import annotations

import asyncio

import pytest

from sluiceway.budget import Budget


async def test_what_takes_too_long_is_ended_and_the_task_goes_on() -> None:
    budget = Budget(0.01)
    with pytest.raises(TimeoutError), budget.spent():
        await asyncio.Event().wait()
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()
    await asyncio.sleep(0)


async def test_what_ends_in_time_is_left_alone() -> None:
    budget = Budget(0.01)
    for _ in range(3):
        with budget.spent():
            await asyncio.sleep(0)
    await asyncio.sleep(0.3)  # long enough to be looked at twice


async def test_an_error_within_it_stays_that_error() -> None:
    with pytest.raises(ZeroDivisionError), Budget(10).spent():
        raise ZeroDivisionError


async def test_a_cancellation_from_outside_stays_one() -> None:
    budget, begun = Budget(10), asyncio.Event()

    async def work() -> None:
        with budget.spent():
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_of_many_only_those_that_are_late_are_ended() -> None:
    budget = Budget(0.2)

    async def work(seconds: float | None) -> bool:
        try:
            with budget.spent():
                await (asyncio.sleep(seconds) if seconds is not None else asyncio.Event().wait())
        except TimeoutError:
            return False
        return True

    done = await asyncio.gather(work(0), work(None), work(0.01), work(None))
    assert list(done) == [True, False, True, False]
