"""References to files: built and read, a tenant's own, and never somebody else's in disguise."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway_contracts import FileRef, InvalidRef

DIGEST = "0c58a8cc13faa329ecb0cc6008afad121f85b0664f1d5ccbd70efee43e1eb211"


def test_a_reference_is_read_as_it_is_written() -> None:
    assert FileRef.parse(f"media:acme/{DIGEST}") == FileRef("acme", DIGEST)
    assert str(FileRef("acme", DIGEST)) == f"media:acme/{DIGEST}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        DIGEST,
        f"acme/{DIGEST}",
        f"media:{DIGEST}",
        f"media:/{DIGEST}",
        f"media:_/{DIGEST}",
        f"media:any/{DIGEST}",
        f"media:acme/{DIGEST[:-1]}",
        f"media:acme/{DIGEST.upper()}",
        f"media:acme/{DIGEST}/",
        f"media:acme/../globex/{DIGEST}",
        f"media:ac.me/{DIGEST}",
        f"media:*/{DIGEST}",
        f"Media:acme/{DIGEST}",
        f"media:media:acme/{DIGEST}",
    ],
)
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(InvalidRef) as error:
        FileRef.parse(text)
    assert error.value.text == text


@given(st.text())
def test_whatever_is_read_is_written_the_same(text: str) -> None:
    try:
        ref = FileRef.parse(text)
    except InvalidRef:
        return
    assert str(ref) == text
