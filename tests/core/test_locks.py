"""Locks by key: one at a time for a key, nobody waits for another key, nothing is left behind."""

from __future__ import annotations

import asyncio

import pytest

from sluiceway.locks import Locks


async def test_one_key_is_held_by_one_at_a_time_in_the_order_of_asking() -> None:
    locks, done, inside = Locks(), [], 0

    async def work(number: int) -> None:
        nonlocal inside
        async with locks.of("key"):
            inside += 1
            assert inside == 1
            await asyncio.sleep(0)
            inside -= 1
            done.append(number)

    await asyncio.gather(*(work(number) for number in range(20)))
    assert done == list(range(20))


async def test_another_key_does_not_wait() -> None:
    locks = Locks()
    async with locks.of("one"), locks.of("other"):
        assert len(locks) == 2


async def test_a_key_that_nobody_uses_is_forgotten() -> None:
    locks = Locks()

    async def use(key: int) -> None:
        async with locks.of(key):
            await asyncio.sleep(0)

    await asyncio.gather(*(use(number % 3) for number in range(30)))
    assert len(locks) == 0


async def test_an_error_inside_frees_the_key() -> None:
    locks = Locks()
    with pytest.raises(ZeroDivisionError):
        async with locks.of("key"):
            raise ZeroDivisionError
    assert len(locks) == 0


async def test_one_who_gives_up_when_it_is_their_turn_passes_it_on() -> None:
    locks, done = Locks(), []

    async def work(number: int) -> None:
        async with locks.of("key"):
            done.append(number)

    async with locks.of("key"):
        late, patient = asyncio.create_task(work(1)), asyncio.create_task(work(2))
        await asyncio.sleep(0)
    late.cancel()
    await asyncio.gather(late, return_exceptions=True)
    await patient
    assert done == [2]
    assert len(locks) == 0


async def test_one_who_gives_up_waiting_leaves_the_others_their_turn() -> None:
    locks, done = Locks(), []

    async def work(number: int) -> None:
        async with locks.of("key"):
            done.append(number)

    async with locks.of("key"):
        impatient, patient = asyncio.create_task(work(1)), asyncio.create_task(work(2))
        await asyncio.sleep(0)
        impatient.cancel()
        await asyncio.gather(impatient, return_exceptions=True)
        assert len(locks) == 1
    await patient
    assert done == [2]
    assert len(locks) == 0
