"""Identifiers: in order, of the right version, and the same from the same names."""

import threading
import time
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway_contracts import ids, is_uuid, uuid7, uuid8

KEYS = st.binary(max_size=64)
NAMES = st.lists(st.text(), max_size=5)


class TestUuid7:
    def test_is_canonical_with_the_version_and_variant_of_rfc_9562(self) -> None:
        made = uuid7()
        parsed = uuid.UUID(made)
        assert (str(parsed), parsed.version, parsed.variant) == (made, 7, uuid.RFC_4122)
        assert is_uuid(made)

    def test_starts_with_the_milliseconds_since_1970(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(ids, "_last_tick", 0)
        monkeypatch.setattr(time, "time_ns", lambda: 1_768_381_924_318_500_000)
        assert int(uuid7().replace("-", "")[:12], 16) == 1_768_381_924_318

    def test_made_one_after_another_sort_in_that_order(self) -> None:
        made = [uuid7() for _ in range(5000)]
        assert made == sorted(set(made))

    def test_sort_even_when_the_clock_goes_back(self, monkeypatch: pytest.MonkeyPatch) -> None:
        before = uuid7()
        monkeypatch.setattr(time, "time_ns", lambda: 1_000_000_000)
        assert before < uuid7() < uuid7()

    def test_made_by_many_threads_never_meet(self) -> None:
        made: list[list[str]] = []
        threads = [threading.Thread(target=lambda: made.append([uuid7() for _ in range(500)])) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({id for batch in made for id in batch}) == 2000
        assert all(batch == sorted(batch) for batch in made)


class TestUuid8:
    @given(KEYS, NAMES)
    def test_is_the_same_for_the_same_names_and_canonical(self, key: bytes, names: list[str]) -> None:
        made = uuid8(key, *names)
        parsed = uuid.UUID(made)
        assert made == uuid8(key, *names)
        assert (str(parsed), parsed.version, parsed.variant) == (made, 8, uuid.RFC_4122)

    @given(KEYS, NAMES, NAMES)
    def test_differs_where_names_differ(self, key: bytes, one: list[str], other: list[str]) -> None:
        assert (uuid8(key, *one) == uuid8(key, *other)) == (one == other)

    def test_differs_where_names_are_cut_elsewhere_or_stand_in_another_order(self) -> None:
        assert (
            len({uuid8(b"k", *names) for names in (("ab", "c"), ("a", "bc"), ("abc",), ("c", "ab"), ("abc", ""))}) == 5
        )

    def test_differs_by_key(self) -> None:
        assert uuid8(b"one", "acme") != uuid8(b"other", "acme")

    def test_never_changes_from_release_to_release(self) -> None:
        assert uuid8(b"key", "acme", "uk-sms", "SM1") == "89cb553b-88a1-8bb5-b1c5-df3e5177fdd9"

    def test_takes_names_that_are_no_valid_unicode(self) -> None:
        assert is_uuid(uuid8(b"key", "\ud800"))

    def test_refuses_a_key_that_is_too_long(self) -> None:
        with pytest.raises(ValueError, match="64"):
            uuid8(b"x" * 65, "acme")


class TestIsUuid:
    @pytest.mark.parametrize(
        "text",
        [
            "",
            "_",
            "019BBBC6-C3E2-792E-82E4-6AA12752135B",
            "019bbbc6c3e2792e82e46aa12752135b",
            "019bbbc6-c3e2-792e-c2e4-6aa12752135b",
            "019bbbc6-c3e2-792e-82e4-6aa12752135b\n",
            "{019bbbc6-c3e2-792e-82e4-6aa12752135b}",
        ],
    )
    def test_refuses_any_other_spelling(self, text: str) -> None:
        assert not is_uuid(text)

    @given(st.uuids(version=4))
    def test_accepts_every_version(self, made: uuid.UUID) -> None:
        assert is_uuid(str(made))
