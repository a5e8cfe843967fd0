"""What a run says of its own failures, and that none of them passes for a success."""

from __future__ import annotations

import asyncio

import nats.errors
import pytest

from .__main__ import Run
from .load import Hook, Receipts
from .patience import NeverCame, explained, persist


async def test_what_nats_does_not_answer_is_asked_again() -> None:
    answers = iter([nats.errors.TimeoutError(), nats.errors.NoRespondersError(), None, "here"])

    async def attempt() -> str | None:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert await persist("an answer", attempt) == "here"


async def test_what_never_comes_is_told_with_its_place_and_what_was_seen_instead() -> None:
    async def attempt() -> str | None:
        raise nats.errors.TimeoutError

    with pytest.raises(NeverCame) as caught:
        await persist("a leader", attempt, seconds=0)
    told = explained(caught.value)
    assert "a leader did not come within 0 s; last seen: TimeoutError: nats: timeout" in told
    assert "test_patience.py:" in told


async def test_a_run_in_which_nothing_was_played_is_not_good() -> None:
    assert not Run().good


async def test_an_exception_that_nobody_waited_for_makes_a_run_fail() -> None:
    async def stray() -> None:
        raise RuntimeError("Session is closed")

    run = Run()
    asyncio.get_running_loop().set_exception_handler(run.note_stray)
    task = asyncio.create_task(stray())
    await asyncio.wait([task])
    del task
    await asyncio.sleep(0)
    assert [why.rpartition(": ")[2] for why in run.broken] == ["Session is closed"]


class Nobody(Hook):
    """A hook that never answers."""

    def __init__(self) -> None:
        self.number = "+447700900100"
        self.asked = asyncio.Event()

    async def deliver(self, fields: dict[str, str], subpath: str = "") -> bool:
        self.asked.set()
        await asyncio.Event().wait()
        return True


async def test_receipts_that_are_on_their_way_end_with_the_stage_and_none_begins_after_it() -> None:
    before, hook = asyncio.all_tasks(), Nobody()
    receipts = Receipts(hook)
    async with receipts.delivering():
        receipts.expect("+447700900001", "Number 1", "SM1")
        await hook.asked.wait()
    receipts.expect("+447700900001", "Number 2", "SM2")
    assert asyncio.all_tasks() == before
