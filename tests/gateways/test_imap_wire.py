"""IMAP's lines, those that no server should send too."""

from __future__ import annotations

import base64
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway_gateways.email import _imap_wire as wire
from sluiceway_gateways.email._imap_wire import Nonsense, Refusal, Status


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"OK Done", Status("OK", "", "", "Done")),
        (b"ok [uidvalidity 7] Valid", Status("OK", "UIDVALIDITY", "7", "Valid")),
        (b"NO [AUTHENTICATIONFAILED] Wrong", Status("NO", "AUTHENTICATIONFAILED", "", "Wrong")),
        (b"OK [PERMANENTFLAGS (\\Seen \\*)] Limited", Status("OK", "PERMANENTFLAGS", "(\\Seen \\*)", "Limited")),
        (b"BAD", Status("BAD", "", "", "")),
        (b"NO [half", Status("NO", "", "", "[half")),
        ("NO Schön".encode("latin-1"), Status("NO", "", "", "Sch\ufffdn")),
    ],
)
def test_a_status_has_a_word_a_code_and_words(line: bytes, expected: Status) -> None:
    assert wire.status(line) == expected


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([b"1 FETCH (UID 7 FLAGS (\\Seen))"], [b"1", b"FETCH", [b"UID", b"7", b"FLAGS", [b"\\Seen"]]]),
        ([b"1 FETCH (BODY[] {3}", b"a)b", b" UID 7)"], [b"1", b"FETCH", [b"BODY[]", b"a)b", b"UID", b"7"]]),
        ([b'1 FETCH (BODY[] "a \\"b\\" \\\\c")'], [b"1", b"FETCH", [b"BODY[]", b'a "b" \\c']]),
        ([b"1 FETCH (BODY[] NIL)"], [b"1", b"FETCH", [b"BODY[]", None]]),
        ([b"BODY[HEADER.FIELDS (TO FROM)] x"], [b"BODY[HEADER.FIELDS (TO FROM)]", b"x"]),
        ([b"~{2}", b"\0\0", b""], [b"\0\0"]),
        ([b""], []),
    ],
)
def test_a_response_is_values(pieces: list[bytes], expected: list[wire.Value]) -> None:
    assert wire.values(pieces) == expected


@pytest.mark.parametrize("line", [b"(", b")", b'"', b"(" * 1000 + b")" * 1000, b"a[", b'(a "b)'])
def test_what_does_not_fit_is_nonsense(line: bytes) -> None:
    with pytest.raises(Nonsense):
        wire.values([line])


@given(st.lists(st.binary(max_size=60), min_size=1, max_size=5))
def test_whatever_comes_is_values_or_nonsense(pieces: list[bytes]) -> None:
    with suppress(Nonsense):
        wire.attributes(wire.values(pieces))
    wire.status(pieces[0])


def test_attributes_have_names_in_capitals_and_are_those_of_a_fetch() -> None:
    assert wire.attributes(wire.values([b"1 FETCH (uid 7 X)"])) == {"UID": b"7"}
    assert wire.attributes(wire.values([b"1 FETCH ((uid) 7)"])) == {}
    assert wire.attributes(wire.values([b"1 FETCH"])) == {}
    assert wire.attributes(wire.values([b"1 FETCH 7"])) == {}


@pytest.mark.parametrize(
    ("value", "expected"),
    [(b"7", 7), (b"", None), (b"-7", None), (b"7" * 20, None), (None, None), ([b"7"], None), ("٣".encode(), None)],
)
def test_a_number_is_one_that_imap_has(value: wire.Value, expected: int | None) -> None:
    assert wire.number(value) == expected


def test_a_string_is_quoted_and_can_carry_no_second_command() -> None:
    assert wire.quoted('a "b" \\c é') == '"a \\"b\\" \\\\c é"'.encode()
    for character in "\r\n\0":
        with pytest.raises(ValueError, match="line breaks"):
            wire.quoted(f"a{character}b")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("INBOX", b'"INBOX"'),
        ("~peter/mail/台北/日本語", b'"~peter/mail/&U,BTFw-/&ZeVnLIqe-"'),  # the example of RFC 3501, section 5.1.3
        ("Gelöscht & erledigt", b'"Gel&APY-scht &- erledigt"'),
        ("😀", b'"&2D3eAA-"'),
    ],
)
def test_a_folders_name_is_in_modified_utf_7(name: str, expected: bytes) -> None:
    assert wire.folder(name) == expected


@given(st.text(st.characters(blacklist_characters="\r\n\0")))
def test_a_folders_name_can_be_read_back(name: str) -> None:
    written = wire.folder(name)
    assert all(0x20 <= byte < 0x7F for byte in written)
    inner = written[1:-1].replace(b'\\"', b'"').replace(b"\\\\", b"\\").decode()
    first, *rest = inner.split("&")
    read = first
    for piece in rest:
        code, _, plain = piece.partition("-")
        padded = code.replace(",", "/") + "=" * (-len(code) % 4)
        read += (base64.b64decode(padded).decode("utf-16-be", "surrogatepass") if code else "&") + plain
    assert read == name


def test_logins_are_as_their_documents_have_them() -> None:
    token = (
        "dXNlcj1zb21ldXNlckBleGFtcGxlLmNvbQFhdXRoPUJlYXJlciB5YTI5LnZGOWRmdDRxbVRjMk52YjNSbGNrQmhkSFJoZG1semRHRXVZMjl0Q2cB"
        "AQ=="
    )
    bearer = "ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg"
    assert wire.xoauth2("someuser@example.com", bearer) == token.encode()
    assert base64.b64decode(wire.plain("tim", "tanstaaftanstaaf")) == b"\0tim\0tanstaaftanstaaf"


@pytest.mark.parametrize(
    ("refusal", "throttles", "passes"),
    [
        (Refusal("LIMIT", "Slower"), True, True),
        (Refusal("", "Request is throttled. Suggested Backoff Time: 9245 milliseconds"), True, True),
        (Refusal("ALERT", "Too many simultaneous connections. (Failure)"), True, True),
        (Refusal("UNAVAILABLE", "Busy"), False, True),
        (Refusal("", "User is authenticated but not connected."), False, True),
        (Refusal("AUTHENTICATIONFAILED", "Invalid credentials (Failure)"), False, False),
        (Refusal("", "LOGIN failed."), False, False),
    ],
)
def test_some_refusals_pass(refusal: Refusal, throttles: bool, passes: bool) -> None:
    assert (refusal.throttles, refusal.passes) == (throttles, passes)


def test_a_refusal_tells_no_address_and_is_short() -> None:
    assert str(Refusal("NOPERM", "desk@customer.example may not")) == "[NOPERM] … may not"
    assert str(Refusal("", "No")) == "No"
    assert len(str(Refusal("", "x" * 5000))) == wire.MAX_WORDS
