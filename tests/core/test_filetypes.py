"""A file is what its bytes say; what somebody calls it counts only where they say nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.filetypes import UNKNOWN, file_name, mime_of

PNG, JPEG, GIF = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"\xff\xd8\xff\xe0\0\x10JFIF\0", b"GIF89a\x01\0"
WEBP, WAV = b"RIFF\x24\0\0\0WEBPVP8 ", b"RIFF\x24\0\0\0WAVEfmt "
MP4, OGG, WEBM = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", b"OggS\0\2" + bytes(20), b"\x1aE\xdf\xa3\x9fB\x86\x81"
PDF, ZIP, OLE = b"%PDF-1.7\n", b"PK\x03\x04\x14\0\x06\0", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
WORD = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
HTML, SVG, EXE = b"<!DOCTYPE html><script>", b'<svg xmlns="http://www.w3.org/2000/svg">', b"MZ\x90\0\x03\0\0\0"


@pytest.mark.parametrize(
    ("head", "declared", "mime"),
    [
        (PNG, "image/png", "image/png"),
        (JPEG, "image/jpg; charset=binary", "image/jpeg"),
        (GIF, "IMAGE/GIF", "image/gif"),
        (WEBP, "image/webp", "image/webp"),
        (WAV, "audio/x-wav", "audio/wav"),
        (MP4, "video/mp4", "video/mp4"),
        (MP4, "audio/mp4", "audio/mp4"),
        (OGG, "audio/ogg; codecs=opus", "audio/ogg"),
        (WEBM, "audio/webm", "audio/webm"),
        (PDF, "application/pdf", "application/pdf"),
        (ZIP, WORD, WORD),
        (OLE, "application/msword", "application/msword"),
        (b"#!AMR\n\x3c", "audio/amr", "audio/amr"),
        (b"\xff\xfb\x90\x64\0\0", "audio/mpeg", "audio/mpeg"),
        (b"Dear all,\n", "text/plain", "text/plain"),
        (b"name;price\n", "text/csv", "text/csv"),
        (b"BEGIN:VCARD\r\n", "text/vcard", "text/vcard"),
        (bytes(range(200, 256)), "application/x-shop", "application/x-shop"),
    ],
)
def test_what_is_said_holds_where_the_bytes_agree(head: bytes, declared: str, mime: str) -> None:
    assert mime_of(head, declared) == mime


@pytest.mark.parametrize(
    ("head", "declared", "mime"),
    [
        (PNG, "image/jpeg", "image/png"),
        (PNG, "", "image/png"),
        (PDF, "image/jpeg", "application/pdf"),
        (MP4, "image/jpeg", "video/mp4"),
        (OGG, UNKNOWN, "audio/ogg"),
        (ZIP, "image/png", "application/zip"),
        (HTML, "image/jpeg", "text/html"),
        (HTML, "", "text/html"),
        (SVG, "image/png", "image/svg+xml"),
        (b"  <html>", "image/png", UNKNOWN),
        (b"\0\1\2", "video/mp4", UNKNOWN),
        (b"", "image/png", UNKNOWN),
    ],
)
def test_what_is_said_does_not_hold_where_they_say_otherwise(head: bytes, declared: str, mime: str) -> None:
    assert mime_of(head, declared) == mime


@pytest.mark.parametrize("declared", ["image/jpeg", "application/pdf", "text/plain"])
def test_a_program_is_nothing_else(declared: str) -> None:
    assert mime_of(EXE, declared) in (UNKNOWN, "application/vnd.microsoft.portable-executable")


def test_a_page_that_is_called_text_stays_text() -> None:
    """Nobody runs it then: it is shown as it is written."""
    assert mime_of(HTML, "text/plain") == "text/plain"


@given(st.binary(max_size=64), st.text(max_size=40))
def test_whatever_comes_has_one_type_that_may_stand_in_a_header(head: bytes, declared: str) -> None:
    mime = mime_of(head, declared)
    assert mime.isascii()
    assert mime.isprintable()
    assert mime.count("/") == 1
    assert " " not in mime


def test_a_file_without_a_name_is_named_for_its_type() -> None:
    assert [file_name(None, "image/jpeg"), file_name(" ", UNKNOWN), file_name("a.b", "image/png")] == [
        "file.jpg",
        "file",
        "a.b",
    ]
