"""The files of simulated providers: what a word stands for is what it says, an upload comes out as it went in."""

import binascii
import struct
import zlib

import puremagic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway_gateways import _simulated_files
from sluiceway_gateways._simulated_files import Files, SimulatedFile, file

PICTURE = SimulatedFile("image/png", b"\x89PNG")


def bytes_of(word: str) -> bytes:
    found = file(word)
    assert found is not None
    return found.body


def chunks(picture: bytes) -> list[tuple[bytes, bytes]]:
    """The chunks of a PNG, each held against its checksum."""
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    found, at = [], 8
    while at < len(picture):
        (length,) = struct.unpack_from(">I", picture, at)
        name, data = picture[at + 4 : at + 8], picture[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", picture, at + 8 + length) == (binascii.crc32(name + data),)
        found.append((name, data))
        at += 12 + length
    return found


class TestWords:
    @given(st.text())
    def test_any_word_is_a_picture_that_can_be_read(self, word: str) -> None:
        (_, header), (_, rows), (end, nothing) = chunks(bytes_of(f"picture {word}".replace(".", "")))
        width, height, depth, colours, *rest = struct.unpack(">2I5B", header)
        assert (width, height, depth, colours, rest) == (32, 32, 8, 2, [0, 0, 0])
        lines = zlib.decompress(rows)
        assert (len(lines), end, nothing) == (32 * (1 + 3 * 32), b"IEND", b"")
        assert {lines[n : n + 3] for n in range(1, 97, 3)} == {lines[1:4]}

    def test_the_same_word_is_the_same_picture_and_another_another(self) -> None:
        assert bytes_of("cat") == bytes_of("cat") != bytes_of("dog")

    @pytest.mark.parametrize(
        ("word", "mime", "found"),
        [
            ("cat", "image/png", "image/png"),
            ("cat.mp4", "video/mp4", "video/mp4"),
            ("cat.ogg", "audio/ogg", "audio/ogg"),
            ("cat.pdf", "application/pdf", "application/pdf"),
            ("large-1", "video/mp4", "video/mp4"),
        ],
    )
    def test_a_file_is_what_it_is_called(self, word: str, mime: str, found: str) -> None:
        kept = file(word)
        assert kept is not None
        assert kept.mime == mime
        assert found in {match.mime_type for match in puremagic.magic_string(kept.body)}

    def test_some_are_not(self) -> None:
        assert file("liar") == SimulatedFile("image/jpeg", _simulated_files.LOGIN)
        assert file("empty") == SimulatedFile("image/jpeg", b"")
        assert file("gone") is None

    @pytest.mark.parametrize(("word", "megabytes"), [("large-0", 0), ("large-1", 1), ("large-17", 17)])
    def test_a_large_file_is_as_large_as_it_says(self, word: str, megabytes: int) -> None:
        assert len(bytes_of(word)) == max(megabytes * 1_000_000, 32)

    @pytest.mark.parametrize("word", ["large-", "large-1000", "large-x", "large--1"])
    def test_what_is_no_size_is_a_picture(self, word: str) -> None:
        assert chunks(bytes_of(word))


class TestKeeping:
    def test_what_was_uploaded_is_served_until_it_is_deleted(self) -> None:
        files = Files()
        id = files.keep(PICTURE)
        assert id.isdecimal()
        assert (files.find(id), files.served(id).body) == (PICTURE, PICTURE.body)
        assert files.delete(id)
        assert files.find(id) is None
        assert files.served(id).status == 404
        assert not files.delete(id)

    def test_of_more_than_32_the_oldest_is_forgotten(self) -> None:
        files = Files()
        ids = [files.keep(PICTURE) for _ in range(33)]
        assert [files.find(id) == PICTURE for id in ids] == [False] + 32 * [True]

    def test_who_asks_too_often_is_turned_away_every_other_time(self) -> None:
        files = Files()
        assert [files.throttles("throttled") for _ in range(4)] == [True, False, True, False]
        assert not files.throttles("cat")

    def test_a_redirect_leads_where_nobody_should_go(self) -> None:
        answer = Files().served("redirect")
        assert (answer.status, answer.headers["location"]) == (302, "http://169.254.169.254/")
