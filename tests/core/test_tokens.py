"""Reply tokens: they admit to one conversation, for a time; whatever else claims to be one admits to nothing."""

from __future__ import annotations

import datetime
import string
from typing import get_args

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sluiceway import metrics
from sluiceway.errors import ConfigError
from sluiceway.gateway import Purpose
from sluiceway.identity import Identity
from sluiceway.tokens import LENGTH, Admission, Outcome, Reading, Tokens
from sluiceway_contracts import uuid7
from sluiceway_contracts.ids import uuid8

KEY = b"0123456789abcdef0123456789abcdef"
NOW = datetime.datetime(2026, 3, 14, 9, 30, tzinfo=datetime.UTC)
LATER = datetime.datetime(2026, 3, 28, 10, tzinfo=datetime.UTC)
CONVERSATION = "0195920c-9d2a-7c41-8a3e-5d1f0b7e6a92"
FORGED = Reading("forged")
ALPHABET = string.ascii_lowercase + "234567"

purposes = st.sampled_from(get_args(Purpose))
conversations = st.text(max_size=20).map(lambda name: uuid8(KEY, name))
expiries = st.datetimes(
    min_value=datetime.datetime(2026, 3, 14, 11),  # noqa: DTZ001 hypothesis wants it without, and adds UTC
    max_value=datetime.datetime(3883, 1, 1),  # noqa: DTZ001
    timezones=st.just(datetime.UTC),
)


@pytest.fixture(scope="session")
def tokens() -> Tokens:
    return Tokens([KEY])


@pytest.fixture(scope="session")
def token(tokens: Tokens) -> str:
    return tokens.issue("acme", CONVERSATION, LATER, purpose="address")


def read(tokens: Tokens, text: str, *, tenant: str = "acme", purpose: Purpose = "address") -> Reading:
    return tokens.read(text, NOW, tenant=tenant, purpose=purpose)


def find(tokens: Tokens, text: str, *, tenant: str = "acme", purpose: Purpose = "address") -> Reading | None:
    return tokens.find(text, NOW, tenant=tenant, purpose=purpose)


class TestAToken:
    @given(tenant=st.text(), conversation=conversations, expires_at=expiries, purpose=purposes)
    def test_admits_to_the_conversation_it_was_issued_for(
        self, tokens: Tokens, tenant: str, conversation: str, expires_at: datetime.datetime, purpose: Purpose
    ) -> None:
        token = tokens.issue(tenant, conversation, expires_at, purpose=purpose)
        outcome, admission = read(tokens, token, tenant=tenant, purpose=purpose)
        assert outcome == "valid"
        assert admission is not None
        assert admission[:2] == (tenant, conversation)
        assert datetime.timedelta() <= admission.expires_at - expires_at < datetime.timedelta(hours=1)

    @given(conversation=conversations, expires_at=expiries, purpose=purposes)
    def test_fits_a_local_part_with_16_more_characters_and_survives_folding(
        self, tokens: Tokens, conversation: str, expires_at: datetime.datetime, purpose: Purpose
    ) -> None:
        token = tokens.issue("acme", conversation, expires_at, purpose=purpose)
        assert len(token) == LENGTH == 48
        assert set(token) <= set(ALPHABET)

    def test_is_read_in_upper_and_in_mixed_case(self, tokens: Tokens, token: str) -> None:
        admitted = Reading("valid", Admission("acme", CONVERSATION, LATER))
        assert read(tokens, token.upper()) == read(tokens, token.title()) == read(tokens, token) == admitted

    def test_is_the_same_each_time(self, tokens: Tokens, token: str) -> None:
        assert Tokens([KEY]).issue("acme", CONVERSATION, LATER, purpose="address") == token

    def test_of_one_deployment_stays_readable_in_the_next_release(self, token: str) -> None:
        """Tokens lie in mailboxes for weeks: this one may not change."""
        assert token == "skw4gr5mm2ro3c6kavrqvewcahz35tb63rk5h3r5257pp72v"

    def test_tells_neither_conversation_nor_expiry(self, tokens: Tokens) -> None:
        """Neighbouring ids and hours share no more of their tokens than chance would have them share."""
        ids = [uuid7() for _ in range(200)]
        seen = [tokens.issue("acme", id, LATER, purpose="address") for id in ids]
        seen += [
            tokens.issue("acme", ids[0], LATER + datetime.timedelta(hours=n), purpose="address") for n in range(1, 200)
        ]
        for width in range(0, LENGTH, 8):
            assert len({token[width : width + 8] for token in seen}) == len(seen)


class TestARefusedToken:
    @given(place=st.integers(0, LENGTH - 1), character=st.characters())
    def test_is_one_with_any_character_changed(self, tokens: Tokens, token: str, place: int, character: str) -> None:
        assume(character not in (token[place], token[place].upper()))
        assert read(tokens, token[:place] + character + token[place + 1 :]) == FORGED

    def test_is_one_with_any_character_changed_to_any_of_the_alphabet(self, tokens: Tokens, token: str) -> None:
        for place in range(LENGTH):
            for character in set(ALPHABET) - {token[place]}:
                assert read(tokens, token[:place] + character + token[place + 1 :]) == FORGED

    @pytest.mark.parametrize("length", range(LENGTH))
    def test_is_one_cut_at_either_end(self, tokens: Tokens, token: str, length: int) -> None:
        assert read(tokens, token[:length]) == read(tokens, token[LENGTH - length :]) == FORGED

    @given(more=st.text(min_size=1) | st.text(ALPHABET, min_size=1))
    def test_is_one_with_anything_before_or_after(self, tokens: Tokens, token: str, more: str) -> None:
        assert read(tokens, token + more) == read(tokens, more + token) == FORGED

    def test_is_one_with_letters_that_unicode_folds_to_ours(self, tokens: Tokens) -> None:
        """U+212A and U+017F become k and s in other cases."""
        many = (tokens.issue("acme", uuid7(), LATER, purpose="address") for _ in range(200))
        token = next(token for token in many if "k" in token and "s" in token)
        assert read(tokens, token).outcome == "valid"
        assert read(tokens, token.replace("k", "\u212a")) == read(tokens, token.replace("s", "\u017f")) == FORGED

    @given(tenant=st.text())
    def test_is_another_tenants(self, tokens: Tokens, token: str, tenant: str) -> None:
        assume(tenant != "acme")
        assert read(tokens, token, tenant=tenant) == FORGED

    def test_is_one_made_for_something_else(self, tokens: Tokens) -> None:
        for made in get_args(Purpose):
            token = tokens.issue("acme", CONVERSATION, LATER, purpose=made)
            for wanted in get_args(Purpose):
                assert (read(tokens, token, purpose=wanted).outcome == "valid") == (made == wanted)

    def test_can_not_be_made_by_moving_letters_from_purpose_to_tenant(self, tokens: Tokens) -> None:
        token = tokens.issue("-idacme", CONVERSATION, LATER, purpose="link")
        assert read(tokens, token, tenant="acme", purpose="message-id") == FORGED

    @given(key=st.binary(min_size=16, max_size=80))
    def test_is_another_keys(self, tokens: Tokens, token: str, key: bytes) -> None:
        assume(key != KEY)
        assert read(Tokens([key]), token) == FORGED

    @given(text=st.text() | st.text(ALPHABET, min_size=LENGTH, max_size=LENGTH), purpose=purposes)
    def test_is_any_other_text(self, tokens: Tokens, text: str, purpose: Purpose) -> None:
        assert read(tokens, text, purpose=purpose) == FORGED
        assert find(tokens, text, purpose=purpose) in (None, FORGED)

    @pytest.mark.parametrize("text", ["", "\ud800" * LENGTH, "=" * LENGTH, "\0" * LENGTH, "٣" * LENGTH, "a" * 10**6])
    def test_is_no_reason_to_raise(self, tokens: Tokens, text: str) -> None:
        assert read(tokens, text) == FORGED
        assert find(tokens, text) in (None, FORGED)

    def test_is_an_expired_one(self, tokens: Tokens, token: str) -> None:
        last = LATER - datetime.timedelta(microseconds=1)
        assert tokens.read(token, last, tenant="acme", purpose="address").outcome == "valid"
        assert tokens.read(token, LATER, tenant="acme", purpose="address") == Reading("expired")

    def test_is_an_expired_one_in_any_time_zone(self, tokens: Tokens, token: str) -> None:
        there = LATER.astimezone(datetime.timezone(datetime.timedelta(hours=-11)))
        assert tokens.read(token, there, tenant="acme", purpose="address") == Reading("expired")


class TestFind:
    @pytest.mark.parametrize(
        "text",
        [
            "{}",
            "support+{}",
            "help-desk={}",
            "support+{}@mail.example",
            "Support <support+{}@mail.example>",
            "<{}@mail.example>",
            "<0195920c9d2a7c418a3e5d1f0b7e6a92.{}@mail.example>",
            "<other@mail.example> <{}@mail.example>",
            "https://chat.example/c?reply={}&lang=en",
            "https://chat.example/r/{}",
            "SRS0=ab12=cd=shop.example=support+{}@relay.example",
        ],
    )
    def test_sees_a_token_wherever_it_stands(self, tokens: Tokens, token: str, text: str) -> None:
        for place in (text.format(token), text.format(token).upper()):
            assert find(tokens, place) == Reading("valid", Admission("acme", CONVERSATION, LATER))

    def test_takes_the_first_valid_one(self, tokens: Tokens, token: str) -> None:
        late = tokens.issue("acme", uuid7(), LATER, purpose="address")
        old = tokens.issue("acme", uuid7(), NOW, purpose="address")
        past = tokens.issue("acme", uuid7(), NOW - datetime.timedelta(hours=1), purpose="address")
        assert read(tokens, old).outcome == "valid"  # until the end of this hour
        assert find(tokens, f"{token[::-1]} {past} {token} {late}") == read(tokens, token)
        assert find(tokens, f"{token[::-1]} {past}") == find(tokens, f"{past} {token[::-1]}") == Reading("expired")

    def test_sees_nothing_in_plain_addresses(self, tokens: Tokens) -> None:
        for text in ("", "support@mail.example", "support+news@mail.example", CONVERSATION, "x@" + "a" * 31):
            assert find(tokens, text) is None

    @pytest.mark.parametrize("length", range(32, LENGTH))
    def test_counts_one_cut_short_as_forged(self, tokens: Tokens, token: str, length: int) -> None:
        assert find(tokens, f"support+{token[:length]}@mail.example") == FORGED

    def test_gives_up_on_a_text_stuffed_with_candidates(self, tokens: Tokens, token: str) -> None:
        wrong = token[::-1]
        assert find(tokens, f"{wrong} " * 63 + token) == read(tokens, token)
        assert find(tokens, f"{wrong} " * 64 + token) == FORGED


class TestKeys:
    def test_that_no_longer_sign_are_still_read(self, tokens: Tokens, token: str) -> None:
        rotated = Tokens([b"another key of 16 bytes or more", KEY])
        assert read(rotated, token) == read(tokens, token)
        new = rotated.issue("acme", CONVERSATION, LATER, purpose="address")
        assert read(rotated, new).outcome == "valid"
        assert read(tokens, new) == FORGED

    def test_are_none_that_the_identity_uses(self) -> None:
        """Both come from `[identity] key`, yet an address's hash, which lies in the bucket, tells nothing of tokens."""
        assert Tokens([KEY])._keys != [Identity(KEY)._key]

    def test_that_are_longer_than_blake2b_takes_are_used_whole(self) -> None:
        long = b"x" * 100
        token = Tokens([long + b"1"]).issue("acme", CONVERSATION, LATER, purpose="link")
        assert read(Tokens([long + b"2"]), token, purpose="link") == FORGED

    @pytest.mark.parametrize("keys", [[], [b""], [b"short"], [KEY, b"x" * 15]])
    def test_that_are_short_or_missing_are_refused(self, keys: list[bytes]) -> None:
        with pytest.raises(ConfigError, match=r"identity\.key: .* openssl rand"):
            Tokens(keys)


class TestIssue:
    @pytest.mark.parametrize("conversation", ["", "1", CONVERSATION.upper(), CONVERSATION.replace("-", ""), "é" * 36])
    def test_refuses_what_is_no_uuid(self, tokens: Tokens, conversation: str) -> None:
        with pytest.raises(ValueError, match="no UUID"):
            tokens.issue("acme", conversation, LATER, purpose="link")

    @pytest.mark.parametrize("year", [1969, 3884, 9999])
    def test_refuses_a_year_that_a_token_has_no_room_for(self, tokens: Tokens, year: int) -> None:
        with pytest.raises(ValueError, match="out of a token's range"):
            tokens.issue("acme", CONVERSATION, LATER.replace(year=year), purpose="link")

    def test_refuses_a_time_without_an_offset(self, tokens: Tokens) -> None:
        with pytest.raises(ValueError, match="has no offset"):
            tokens.issue("acme", CONVERSATION, LATER.replace(tzinfo=None), purpose="link")


def test_each_outcome_can_be_counted() -> None:
    for outcome in get_args(Outcome):
        metrics.count(metrics.reply_tokens, outcome).inc(0)
    assert [
        sample.name for sample in next(iter(metrics.reply_tokens.collect())).samples if "_total" in sample.name
    ] == ["sluiceway_reply_tokens_total"] * 3
