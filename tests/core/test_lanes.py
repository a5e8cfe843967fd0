"""Lanes: order within a key, no waiting between keys, errors that end only their item, and the end of it all."""

from __future__ import annotations

import asyncio

import pytest

from sluiceway.lanes import Lanes

from .conftest import until


async def test_items_of_one_lane_are_done_in_order_one_at_a_time() -> None:
    done: list[int] = []
    inside = 0

    async def work(item: int) -> None:
        nonlocal inside
        inside += 1
        assert inside == 1
        await asyncio.sleep(0)
        inside -= 1
        done.append(item)

    lanes = Lanes(work)
    for number in range(50):
        lanes.put("lane", number)
    await until(lambda: len(lanes) == 0, "the lane is empty")
    assert done == list(range(50))


async def test_other_lanes_run_while_one_waits() -> None:
    gate = asyncio.Event()
    done: list[str] = []

    async def work(item: str) -> None:
        if item == "slow":
            await gate.wait()
        done.append(item)

    lanes = Lanes(work)
    lanes.put("a", "slow")
    lanes.put("a", "behind it")
    lanes.put("b", "quick")
    await until(lambda: done == ["quick"], "the other lane is done")
    gate.set()
    await until(lambda: len(lanes) == 0, "both lanes are empty")
    assert done == ["quick", "slow", "behind it"]


async def test_an_error_ends_only_its_item() -> None:
    done: list[int] = []

    async def work(item: int) -> None:
        if item == 1:
            raise ZeroDivisionError
        done.append(item)

    lanes = Lanes(work)
    for number in range(3):
        lanes.put("lane", number)
    await until(lambda: len(lanes) == 0, "the lane is empty")
    assert done == [0, 2]


async def test_a_lane_that_ran_empty_takes_work_again() -> None:
    done: list[int] = []

    async def work(item: int) -> None:
        done.append(item)

    lanes = Lanes(work)
    lanes.put("lane", 1)
    await until(lambda: len(lanes) == 0, "the lane is empty")
    lanes.put("lane", 2)
    await until(lambda: done == [1, 2], "the second is done")


async def test_draining_finishes_what_has_begun_and_drops_the_rest() -> None:
    begun, gate = asyncio.Event(), asyncio.Event()
    done: list[int] = []

    async def work(item: int) -> None:
        begun.set()
        await gate.wait()
        done.append(item)

    lanes = Lanes(work)
    lanes.put("lane", 1)
    lanes.put("lane", 2)
    await begun.wait()
    draining = asyncio.create_task(lanes.drain(60))
    await asyncio.sleep(0)
    gate.set()
    await draining
    assert done == [1]
    assert len(lanes) == 0


async def test_draining_waits_only_so_long() -> None:
    cancelled = asyncio.Event()

    async def work(item: int) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    lanes = Lanes(work)
    lanes.put("lane", 1)
    await asyncio.sleep(0)
    await lanes.drain(0.05)
    assert cancelled.is_set()
    assert len(lanes) == 0


@pytest.mark.parametrize("timeout_s", [0.0, 60.0])
async def test_draining_nothing_is_done_at_once(timeout_s: float) -> None:
    async def work(item: int) -> None:
        raise AssertionError("nothing was put")

    await Lanes(work).drain(timeout_s)


async def test_who_is_busy_has_more_time_at_the_end() -> None:
    begun: dict[str, asyncio.Task[None] | None] = {}
    ended: list[str] = []
    answered = asyncio.Event()

    async def work(item: str) -> None:
        begun[item] = asyncio.current_task()
        try:
            await answered.wait()
        except asyncio.CancelledError:
            answered.set()  # only now, so that the other one needs its time
            ended.append(f"{item} cut off")
            raise
        ended.append(f"{item} done")

    lanes = Lanes(work)
    lanes.put("a", "idle")
    lanes.put("b", "busy")
    await until(lambda: len(begun) == 2, "both have begun")
    await lanes.drain(0, {begun["busy"]}, 60)
    assert ended == ["idle cut off", "busy done"]
