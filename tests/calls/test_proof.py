"""Codes that prove a number: one a call, read however people write them, and guessed once a message."""

from __future__ import annotations

import uuid
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.calls.proof import code, is_given

SECRET = b"an identity key for tests only"
CALL = "0190f5d2-7c3a-7b1e-8f00-000000000001"


def test_a_call_has_one_code() -> None:
    assert code(SECRET, CALL) == code(SECRET, CALL) == "817198"


def test_another_call_and_another_key_have_others() -> None:
    other = "0190f5d2-7c3a-7b1e-8f00-000000000002"
    assert len({code(SECRET, CALL), code(SECRET, other), code(b"another key for tests only", CALL)}) == 3


def test_every_digit_comes_as_often_as_another_at_every_place() -> None:
    codes = [code(SECRET, str(uuid.UUID(int=n))) for n in range(10_000)]
    for place in zip(*codes, strict=True):
        assert all(850 < count < 1150 for count in Counter(place).values())
        assert len(set(place)) == 10


@pytest.mark.parametrize(
    "text",
    [
        "012345",
        " 012345\n",
        "012 345",
        "01 23 45",
        "0 1 2 3 4 5",
        "012-345",
        "012\u00a0345",
        "My code is 012345.",
        "012345 thanks, after 5 please",
        "012345\n2 pm is best",
        "Code:012345",
        "٠١٢٣٤٥",
        "０１２３４５",
    ],
)
def test_a_code_is_read_in_all_the_ways_that_people_write_it(text: str) -> None:
    assert is_given(text, "012345")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "12345",
        "0123456",
        "9012345",
        "012346",
        "012345 012346",
        "012346, or is it 012345?",
        "012345, or is it 012346?",
        "+44 7700 012345",
        "zero one two three four five",
        "my code is 012345" + "!" * 100,
        "²¹²³⁴⁵",
    ],
)
def test_anything_else_is_not_the_code(text: str) -> None:
    assert not is_given(text, "012345")


@given(st.text(st.characters(codec=None, exclude_categories=()), max_size=120))
def test_no_text_raises(text: str) -> None:
    is_given(text, "012345")
    assert len(code(SECRET, text)) == 6


@given(st.binary(min_size=1), st.uuids().map(str))
def test_the_code_of_a_call_is_the_answer_to_it(secret: bytes, call_id: str) -> None:
    given_code = code(secret, call_id)
    assert given_code.isdecimal()
    assert is_given(f"It's {given_code[:3]} {given_code[3:]}", given_code)
