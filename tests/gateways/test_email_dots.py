"""Dots undone and the end of a mail found, wherever the blocks are cut."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway_gateways.email._dots import Content

LETTERS = st.sampled_from([b"\r", b"\n", b".", b"\r\n", b"\r\n.", b"a"])


def dotted(mail: bytes) -> bytes:
    """As who sends it writes it after DATA."""
    return re.sub(rb"(?:^|(?<=\r\n))\.", b"..", mail) + b".\r\n"


def read(blocks: list[bytes]) -> tuple[bytes, bytes | None]:
    """The mail, and all that follows it."""
    content, mail = Content(), b""
    for number, block in enumerate(blocks, 1):
        mail += content.feed(block)
        if content.rest is not None:
            return mail, content.rest + b"".join(blocks[number:])
    return mail, content.rest


@given(st.lists(LETTERS).map(b"".join), st.lists(LETTERS).map(b"".join), st.lists(st.integers(0, 30)))
def test_a_mail_is_as_it_was_before_its_dots_were_doubled(lines: bytes, following: bytes, cuts: list[int]) -> None:
    mail = lines + b"\r\n" if lines else b""
    wire = dotted(mail) + following
    ends = sorted({min(cut, len(wire)) for cut in cuts} | {len(wire)})
    blocks = [wire[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    assert read(blocks) == (mail, following)
    assert read([wire[at : at + 1] for at in range(len(wire))]) == (mail, following)


@pytest.mark.parametrize("end", [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\n.\r\r\n", b"x.\r\n"])
def test_what_only_looks_like_an_end_is_none(end: bytes) -> None:
    assert read([b"Hi" + end])[1] is None


def test_a_mail_of_very_many_lines_is_one_block() -> None:
    assert read([b"..\r\n" * 50_000 + b".\r\n"]) == (b".\r\n" * 50_000, b"")
