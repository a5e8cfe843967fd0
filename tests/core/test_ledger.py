"""The ledger: which statuses follow which, receipts that come too early or too late, and intent written once."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway import ledger as module
from sluiceway.bus.link import Link
from sluiceway.bus.store import Conflict
from sluiceway.bus.streams import Layout
from sluiceway.errors import Unavailable
from sluiceway.gateway import Receipt
from sluiceway.identity import Identity
from sluiceway.ledger import Ledger, MessageRecord, rises
from sluiceway_contracts import STATUS_ORDER, TERMINAL, Error, Piece

STATUSES = (*STATUS_ORDER, *sorted(TERMINAL), "of a later version")
RANK = STATUS_ORDER
RECORD = MessageRecord(
    state="intent",
    command_id="c",
    channel="sms",
    account="uk-sms",
    contact="p",
    conversation="v",
    pieces=(Piece(index=1, of=1, status="accepted", recipient="tel:+447700900456"),),
)


def receipt(status: str, key: str = "", **fields: object) -> Receipt:
    return Receipt(at="+44", key=key or f"SM1:{status}", external_id="SM1", status=status, **fields)  # type: ignore[arg-type]  # they fit


@pytest.mark.parametrize("new", STATUSES)
@pytest.mark.parametrize("old", STATUSES)
def test_what_may_follow_what(old: str, new: str) -> None:
    may = rises(old, new)
    if old in TERMINAL:
        assert not may, "an end is an end"
    elif new in TERMINAL:
        assert may == (old not in ("delivered", "read") or new in ("bounced", "complained"))
    elif new in RANK:
        assert may == (RANK[new] > RANK.get(old, -1)), "a status only rises"
    else:
        assert not may, "what nobody knows changes nothing"


@given(st.lists(st.sampled_from(STATUSES), max_size=12))
def test_whatever_comes_in_whatever_order_a_status_never_goes_back(statuses: list[str]) -> None:
    now, ended = "accepted", False
    highest = 0
    for status in statuses:
        if not rises(now, status):
            continue
        assert not ended
        now, ended = status, status in TERMINAL
        if not ended:
            assert RANK[now] > highest
            highest = RANK[now]


@pytest.mark.parametrize(
    ("pieces", "overall"),
    [
        (["sent"], "sent"),
        (["read", "sent", "delivered"], "sent"),
        (["delivered", "failed", "queued"], "failed"),
        (["unknown", "queued"], "unknown"),
        (["of a later version", "sent"], "of a later version"),
    ],
)
def test_a_message_is_as_far_as_its_last_piece(pieces: list[str], overall: str) -> None:
    found = tuple(Piece(index=n, of=len(pieces), status=status) for n, status in enumerate(pieces, 1))
    assert msgspec.structs.replace(RECORD, pieces=found).overall == overall


@pytest.fixture
def ledger(link: Link, layout: Layout) -> Ledger:
    return Ledger(link, layout.messages, Identity(b"an identity key for tests only"), layout.identity)


async def status_of(ledger: Ledger) -> str:
    entry = await ledger.get("acme", "m")
    assert entry is not None
    return entry.value.pieces[0].status


async def a_sent_message(ledger: Ledger) -> None:
    await ledger.begin("acme", "m", RECORD)
    assert await ledger.claim("acme", "uk-sms", "SM1", "m", 1) == ()


async def test_an_intent_is_written_once(ledger: Ledger) -> None:
    revision = await ledger.begin("acme", "m", RECORD)
    with pytest.raises(Conflict):
        await ledger.begin("acme", "m", RECORD)
    assert await ledger.get("acme", "m") == (RECORD, revision)
    assert await ledger.get("globex", "m") is None


async def test_a_record_is_replaced_by_who_knows_its_revision(ledger: Ledger) -> None:
    revision = await ledger.begin("acme", "m", RECORD)
    done = msgspec.structs.replace(RECORD, state="done")
    await ledger.write("acme", "m", done, revision)
    with pytest.raises(Conflict):
        await ledger.write("acme", "m", RECORD, revision)


async def test_receipts_raise_the_status_and_carry_their_error(ledger: Ledger) -> None:
    await a_sent_message(ledger)
    for status in ("queued", "sent"):
        applied = await ledger.apply("acme", "uk-sms", receipt(status))
        assert applied is not None
        assert (applied.message_id, applied.piece.status, applied.news) == ("m", status, True)
    error = Error(code="failed", message="unreachable", provider_code="30003")
    applied = await ledger.apply("acme", "uk-sms", receipt("failed", error=error))
    assert applied is not None
    assert applied.record.pieces[0].error == error
    assert applied.record.overall == "failed"


async def test_a_late_sent_receipt_does_not_undo_delivered(ledger: Ledger) -> None:
    await a_sent_message(ledger)
    await ledger.apply("acme", "uk-sms", receipt("delivered"))
    applied = await ledger.apply("acme", "uk-sms", receipt("sent"))
    assert applied is not None
    assert (applied.news, applied.piece.status) == (False, "delivered")
    assert await status_of(ledger) == "delivered"


async def test_the_same_status_again_is_told_again_and_written_once(ledger: Ledger) -> None:
    await a_sent_message(ledger)
    first = await ledger.apply("acme", "uk-sms", receipt("sent"))
    before = await ledger.get("acme", "m")
    again = await ledger.apply("acme", "uk-sms", receipt("sent"))
    assert first is not None
    assert again is not None
    assert (first.news, again.news) == (True, True)
    assert await ledger.get("acme", "m") == before


async def test_a_receipt_that_comes_too_early_waits_for_whoever_claims_it(ledger: Ledger) -> None:
    await ledger.begin("acme", "m", RECORD)
    for status in ("sent", "delivered", "sent"):
        assert await ledger.apply("acme", "uk-sms", receipt(status, segments=2)) is None
    assert await status_of(ledger) == "accepted"
    waiting = await ledger.claim("acme", "uk-sms", "SM1", "m", 1)
    assert [(one.status, one.segments) for one in waiting] == [("sent", 2), ("delivered", 2)]
    for one in waiting:
        applied = await ledger.raise_status("acme", "m", 1, one)
        assert applied.news
    assert await status_of(ledger) == "delivered"


async def test_receipts_that_waited_are_given_to_the_process_that_claims_again_after_a_crash(ledger: Ledger) -> None:
    await ledger.begin("acme", "m", RECORD)
    await ledger.apply("acme", "uk-sms", receipt("delivered"))
    first = await ledger.claim("acme", "uk-sms", "SM1", "m", 1)
    again = await ledger.claim("acme", "uk-sms", "SM1", "m", 1)
    assert [one.status for one in first] == [one.status for one in again] == ["delivered"]


async def test_a_receipt_of_another_account_is_another_messages(ledger: Ledger) -> None:
    await a_sent_message(ledger)
    assert await ledger.apply("acme", "de-sms", receipt("sent")) is None
    assert await ledger.apply("globex", "uk-sms", receipt("sent")) is None
    assert await status_of(ledger) == "accepted"


async def test_a_receipt_of_a_message_that_a_replica_does_not_have_yet_is_to_come_again(ledger: Ledger) -> None:
    await ledger.claim("acme", "uk-sms", "SM1", "m", 1)
    with pytest.raises(Unavailable, match="a replica is behind"):
        await ledger.apply("acme", "uk-sms", receipt("sent"))
    await ledger.begin("acme", "m", RECORD)
    applied = await ledger.apply("acme", "uk-sms", receipt("sent"))
    assert applied is not None
    assert applied.news


async def test_a_record_that_never_stops_changing_is_unavailable(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    await a_sent_message(ledger)
    monkeypatch.setattr(module, "TRIES", 0)
    with pytest.raises(Unavailable, match="keeps changing"):
        await ledger.claim("acme", "uk-sms", "SM1", "m", 1)
    with pytest.raises(Unavailable, match="keeps changing"):
        await ledger.apply("acme", "uk-sms", receipt("sent"))
    with pytest.raises(Unavailable, match="keeps changing"):
        await ledger.raise_status("acme", "m", 1, receipt("sent"))


async def test_receipts_that_come_at_once_leave_the_highest(ledger: Ledger) -> None:
    await a_sent_message(ledger)
    statuses = ("queued", "sent", "delivered", "read")
    await asyncio.gather(*(ledger.apply("acme", "uk-sms", receipt(status)) for status in statuses))
    assert await status_of(ledger) == "read"


async def test_receipts_that_wait_at_once_are_all_kept(ledger: Ledger) -> None:
    await ledger.begin("acme", "m", RECORD)
    statuses = ("queued", "sent", "delivered", "read")
    await asyncio.gather(*(ledger.apply("acme", "uk-sms", receipt(status)) for status in statuses))
    waiting = await ledger.claim("acme", "uk-sms", "SM1", "m", 1)
    assert {one.status for one in waiting} == set(statuses)


async def test_receipts_and_the_claim_at_once_lose_nothing(ledger: Ledger) -> None:
    for round in range(10):
        message, external = f"m{round}", f"SM{round}"
        await ledger.begin("acme", message, RECORD)
        receipts = [
            Receipt(at="", key=status, external_id=external, status=status)
            for status in ("queued", "sent", "delivered")
        ]
        applying = [asyncio.create_task(ledger.apply("acme", "uk-sms", one)) for one in receipts]
        waiting = await ledger.claim("acme", "uk-sms", external, message, 1)
        await asyncio.gather(*applying)
        for one in waiting:
            await ledger.raise_status("acme", message, 1, one)
        entry = await ledger.get("acme", message)
        assert entry is not None
        assert entry.value.overall == "delivered"
