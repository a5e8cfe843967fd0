"""Whether a text or a command speaks of a person."""

from __future__ import annotations

import msgspec
import pytest

from sluiceway.traces import Needles

NEEDLES = Needles(("c-1", "v-1"), ("tel:+447700900456", "mailto:Ann@example.com", "tel:+5511987654321", "slack:T1/U1"))


@pytest.mark.parametrize(
    ("text", "ours"),
    [
        (b"From=%2B447700900456&Body=Hello", True),
        (b'{"from":"+447700900456"}', True),
        (b"email=ann%40example.com", True),
        (b"ANN@EXAMPLE.COM", True),
        (b"+551187654321", True),
        (b'{"contact_id":"c-1"}', True),
        (b"4477009004561", False),
        (b"1447700900456", False),
        (b"joann@example.com", False),
        (b"ann@example.community", False),
        (b"U1", False),
        (b"", False),
    ],
)
def test_an_address_is_found_in_any_spelling_and_in_no_longer_one(text: bytes, ours: bool) -> None:
    assert NEEDLES.in_bytes(text) is ours


@pytest.mark.parametrize(
    ("command", "ours"),
    [
        ({"type": "sluiceway.message.send", "data": {"to": ["tel:+447700900456"]}}, True),
        ({"type": "sluiceway.message.send", "data": {"to": ["tel:+551187654321"]}}, True),
        ({"type": "sluiceway.message.send", "subject": "v-1", "data": {}}, True),
        ({"type": "sluiceway.contact.link", "data": {"contact_id": "c-1", "address": "tel:+1"}}, True),
        ({"type": "sluiceway.contact.erase", "data": {"contact_id": "c-1"}}, False),
        ({"type": "sluiceway.message.send", "data": {"to": ["tel:+1"], "parts": [{"text": "+447700900456"}]}}, False),
        ({"type": "sluiceway.message.send", "data": "tel:+447700900456"}, False),
    ],
)
def test_a_command_is_about_whom_it_names_and_not_whom_its_text_mentions(
    command: dict[str, object], ours: bool
) -> None:
    assert NEEDLES.in_command(msgspec.json.encode(command)) is ours


def test_a_command_that_cannot_be_read_is_told_by_its_bytes() -> None:
    assert NEEDLES.in_command(b'{"to": "tel:+447700900456"')
    assert not NEEDLES.in_command(b"[" * 100_000)
