"""What comes over and over, told once and then counted."""

from __future__ import annotations

from sluiceway import refrain
from sluiceway.refrain import EVERY_S, Refrain


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_what_is_new_is_told_at_once_and_what_comes_again_once_a_minute_with_how_often() -> None:
    clock = Clock()
    heard = Refrain(clock)
    told = []
    for _ in range(500):
        told.append(heard.times("refused"))
        clock.now += 0.25
    assert [times for times in told if times] == [1, 240, 240]
    assert told[0] == 1


def test_each_text_is_told_for_itself() -> None:
    heard = Refrain(Clock())
    assert [heard.times("a"), heard.times("b"), heard.times("a"), heard.times("b")] == [1, 1, 0, 0]


def test_a_clock_that_begins_at_nought_hides_nothing() -> None:
    clock = Clock()
    clock.now = 0.0
    assert Refrain(clock).times("a") == 1


def test_texts_without_number_take_no_memory_without_end() -> None:
    clock = Clock()
    heard = Refrain(clock)
    for number in range(10 * refrain.MAX_KNOWN):
        assert heard.times(str(number)) == 1
    assert len(heard._told) <= refrain.MAX_KNOWN
    clock.now += EVERY_S
    assert heard.times("0") == 1
