"""Awkward mails of the world, held against what a person reads in them: tests/samples/email."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sluiceway_gateways.email._mail import Mail, Mailbox
from sluiceway_gateways.email._reading import read

SAMPLES = Path(__file__).parents[1] / "samples" / "email"
NAMES = sorted(
    path.relative_to(SAMPLES).with_suffix("").as_posix()
    for folder in ("cpython", "mail", "own")
    for path in (SAMPLES / folder).glob("*.eml")
)
WRONG = tomllib.loads((SAMPLES / "wrong.toml").read_text())


def expected(name: str) -> dict[str, Any]:
    return tomllib.loads((SAMPLES / f"{name}.toml").read_text())


def shown(box: Mailbox | None) -> str:
    if box is None:
        return ""
    return f"{box.name} <{box.address}>" if box.name else box.address


def tidy(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().split("\n"))


def _is(text: str, field: str, want: dict[str, Any]) -> bool:
    """Whether a text is the expected one, or what is expected of it holds."""
    return (
        text == tidy(want.get(field, text))
        and text.startswith(want.get(f"{field}_starts", ""))
        and text.endswith(want.get(f"{field}_ends", ""))
        and all(words in text for words in want.get(f"{field}_has", ()))
    )


def faults(mail: Mail, want: dict[str, Any]) -> Iterator[str]:
    """Which of text, sender, subject and attachments are not as a person expects them."""
    text = tidy(mail.text)
    if shown(mail.author) != want["author"]:
        yield "author"
    if not _is(mail.subject, "subject", want):
        yield "subject"
    if not _is(text, "text", want) or any(words in text for words in want.get("text_lacks", ())):
        yield "text"
    files = [[file.name or "", file.mime] for file in mail.attachments]
    if files != [file[:2] for file in want.get("attachments", ())] or any(
        file[2] not in {-1, had.size} for had, file in zip(mail.attachments, want.get("attachments", ()), strict=True)
    ):
        yield "attachments"


@pytest.mark.parametrize("name", [name for name in NAMES if name not in WRONG])
def test_a_mail_reads_as_a_person_reads_it(name: str, tmp_path: Path) -> None:
    mail = read(str(SAMPLES / f"{name}.eml"), str(tmp_path))
    assert list(faults(mail, expected(name))) == []


@pytest.mark.parametrize("name", sorted(WRONG))
def test_the_list_of_mails_that_are_read_wrongly_is_exact(name: str, tmp_path: Path) -> None:
    mail = read(str(SAMPLES / f"{name}.eml"), str(tmp_path))
    assert list(faults(mail, expected(name)))


def test_at_least_nine_in_ten_of_at_least_a_hundred_are_right() -> None:
    assert len(NAMES) >= 100
    assert len(WRONG) <= len(NAMES) / 10
    assert set(WRONG) <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_attachment_is_a_file_of_the_size_that_it_says(name: str, tmp_path: Path) -> None:
    mail = read(str(SAMPLES / f"{name}.eml"), str(tmp_path))
    assert {file.file: file.size for file in mail.attachments} == {
        path.name: path.stat().st_size for path in tmp_path.iterdir()
    }


@pytest.mark.parametrize("name", [name for name in NAMES if name not in WRONG])
def test_all_else_that_is_expected_of_a_mail_holds_too(name: str, tmp_path: Path) -> None:
    mail, want = read(str(SAMPLES / f"{name}.eml"), str(tmp_path)), expected(name)
    assert (mail.quoted or "").startswith(want.get("quoted_starts", ""))
    assert (mail.signature or "").startswith(want.get("signature_starts", ""))
    assert [words for words in want.get("html_has", ()) if words not in (mail.html or "")] == []
    assert [words for words in want.get("html_lacks", ()) if words in (mail.html or "")] == []
    assert mail.date is None or mail.date.isoformat() == want.get("date", mail.date.isoformat())
    for field in ("automatic", "flags"):
        value = getattr(mail, field)
        assert (list(value) if isinstance(value, tuple) else value) == want.get(
            field, list(value) if isinstance(value, tuple) else value
        )
    for field in ("to", "cc"):
        boxes = [shown(box) for box in getattr(mail, field)]
        assert boxes == want.get(field, boxes)
    bounces = [f"{bounce.action} {bounce.recipient} {bounce.status}" for bounce in mail.bounces]
    assert bounces == want.get("bounces", bounces)
    if "bounced_message" in want:
        assert {bounce.message_id for bounce in mail.bounces} == {want["bounced_message"]}
    if "inline" in want:
        assert [file.name for file in mail.attachments if file.inline] == want["inline"]


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("own/") and name not in WRONG])
def test_nothing_is_split_off_or_taken_for_a_machines_where_nothing_is_to_be(name: str, tmp_path: Path) -> None:
    mail, want = read(str(SAMPLES / f"{name}.eml"), str(tmp_path)), expected(name)
    assert (mail.quoted is not None) == ("quoted_starts" in want)
    assert (mail.signature is not None) == ("signature_starts" in want)
    assert (mail.automatic is not None) == ("automatic" in want)
