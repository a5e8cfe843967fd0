"""The judge itself: an honest record passes; each thing that must not be is convicted, in the count it belongs to."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from .load import Delivery, Sent
from .oracle import Ledger, Story, Verdict, judge, kept
from .provider import RETRY_AFTER_S, Asked, Provider
from .stage import late

CUSTOMER, OTHER = "+447700900001", "+447700900002"
ASKED_AT = 10.0
FILE, ANOTHER = "f" * 64, "0" * 64
Event = dict[str, Any]
Again = Callable[[Provider, float], Any]


@dataclass
class Books:
    """What stands on the stream and what provider and load wrote down; each test spoils a line."""

    events: list[Event]
    deliveries: list[Delivery]
    commands: list[Sent]
    receipts: set[str]
    provider: Provider
    kills: list[float]

    def told(self) -> Story:
        story = Story()
        for position, event in enumerate(self.events, 1):
            story.hear(position, json.dumps(event).encode())
        return story

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.deliveries, self.commands, self.receipts, self.provider, self.kills, conversations=1)

    def judged(self) -> Verdict:
        return judge(self.told(), self.ledger)

    def place(self, id: str) -> int:
        return next(place for place, event in enumerate(self.events) if event["id"] == id)

    def swap(self, id: str, other: str) -> None:
        a, b = self.place(id), self.place(other)
        self.events[a], self.events[b] = self.events[b], self.events[a]

    def drop(self, id: str) -> Event:
        return self.events.pop(self.place(id))

    def end_unknown(self, number: int) -> None:
        """The message was neither told sent nor delivered: nobody knows."""
        self.drop(f"sent {number}")
        self.drop(f"delivered {number}")
        self.receipts.discard(f"Number {number}")
        self.events.append(_status(number, "unknown"))


def _event(id: str, kind: str, who: str, **data: Any) -> Event:
    return {"id": id, "type": f"sluiceway.{kind}", "subject": f"conversation of {who}", "data": data}


def _received(sid: str, who: str, *files: str) -> Event:
    parts = [{"type": "text", "id": "1"}, *({"type": "media", "id": id} for id in files)]
    message = {"id": f"m{sid}", "external_ids": [sid], "author": {"address": f"tel:{who}"}, "parts": parts}
    return _event(f"received {sid}", "message.received", who, message=message)


def _media(sid: str, who: str, part: str) -> Event:
    data = {"message_id": f"m{sid}", "part_id": part, "state": "stored", "ref": f"media:acme/{FILE}"}
    return _event(f"media {sid}", "message.media", who, **data)


def _sent(number: int) -> Event:
    message = {"id": f"m{number}", "to": [{"address": f"tel:{CUSTOMER}"}]}
    return _event(f"sent {number}", "message.sent", CUSTOMER, message=message)


def _status(number: int, status: str) -> Event:
    data = {"message_id": f"m{number}", "status": status, "overall": status}
    return _event(f"{status} {number}", "message.status", CUSTOMER, **data)


@pytest.fixture
def books() -> Books:
    """Two customers, one of whom writes twice, then with a file, and is written to twice; nothing is wrong with it."""
    provider = Provider()
    provider.asked = [Asked(CUSTOMER, f"Number {n}", ASKED_AT + n, taken=True) for n in (1, 2)]
    return Books(
        events=[
            _event("opened 1", "conversation.opened", CUSTOMER),
            _received("SM1", CUSTOMER),
            _event("opened 2", "conversation.opened", OTHER),
            _received("SM2", OTHER),
            _received("SM3", CUSTOMER, "2"),
            _media("SM3", CUSTOMER, "2"),
            *(_sent(n) for n in (1, 2)),
            *(_status(n, "delivered") for n in (1, 2)),
        ],
        deliveries=[
            Delivery("SM1", CUSTOMER, began=1, acknowledged=2),
            Delivery("SM2", OTHER, began=1, acknowledged=3),
            Delivery("SM3", CUSTOMER, began=4, acknowledged=5, file=FILE),
        ],
        commands=[Sent(f"c{n}", f"m{n}", CUSTOMER, f"Number {n}", stored=n) for n in (1, 2)],
        receipts={"Number 1", "Number 2"},
        provider=provider,
        kills=[],
    )


def convicted(verdict: Verdict, *what: str) -> bool:
    """Of these things, and of nothing else."""
    return [why.partition(":")[0] for why in verdict.why] == list(what)


def test_an_honest_record_passes(books: Books) -> None:
    verdict = books.judged()
    assert verdict == Verdict(acknowledged=3, files=1, commands=2)
    assert books.ledger.is_told(books.told())
    assert kept(books.told(), books.deliveries) == {FILE}


def test_an_event_id_that_is_twice_on_the_stream_is_convicted(books: Books) -> None:
    books.events.append(_event("opened 1", "contact.changed", CUSTOMER))
    verdict = books.judged()
    assert convicted(verdict, "event ids twice")
    assert verdict.duplicated == 1


def test_a_message_that_is_stored_twice_under_different_ids_is_convicted(books: Books) -> None:
    books.events.append(_received("SM1", CUSTOMER) | {"id": "another"})
    verdict = books.judged()
    assert convicted(verdict, "stored twice")
    assert verdict.duplicated == 1


def test_a_conversation_that_is_opened_twice_is_convicted(books: Books) -> None:
    books.events.append(_event("opened again", "conversation.opened", CUSTOMER))
    verdict = books.judged()
    assert convicted(verdict, "opened twice")
    assert verdict.duplicated == 1


def test_a_customer_with_two_conversations_is_convicted(books: Books) -> None:
    books.events.insert(0, _event("opened 3", "conversation.opened", "nobody"))
    books.events[books.place("received SM3")]["subject"] = "conversation of nobody"
    verdict = books.judged()
    assert convicted(verdict, "several conversations")
    assert verdict.duplicated == 1


def test_two_messages_that_are_swapped_within_a_conversation_are_convicted(books: Books) -> None:
    books.swap("received SM1", "received SM3")
    verdict = books.judged()
    assert convicted(verdict, "out of order")
    assert verdict.disorder == 1


def test_messages_of_different_customers_may_be_swapped(books: Books) -> None:
    books.swap("received SM2", "received SM3")
    assert not books.judged().why


def test_a_message_that_was_tried_before_the_other_was_acknowledged_may_overtake_it(books: Books) -> None:
    books.deliveries[2].began = 1.5
    books.swap("received SM1", "received SM3")
    assert not books.judged().why


def test_a_conversation_that_is_opened_after_its_first_message_is_convicted(books: Books) -> None:
    books.swap("opened 1", "received SM1")
    verdict = books.judged()
    assert convicted(verdict, "spoken before opened")
    assert verdict.disorder == 1


def test_a_message_that_was_acknowledged_and_is_missing_is_convicted(books: Books) -> None:
    books.drop("received SM2")
    verdict = books.judged()
    assert convicted(verdict, "lost")
    assert verdict.lost == 1


def test_a_message_that_was_never_acknowledged_is_convicted_though_it_is_stored(books: Books) -> None:
    books.deliveries[2].acknowledged = None
    assert convicted(books.judged(), "never acknowledged")


def test_a_file_of_which_nothing_is_told_is_waited_for_and_convicted(books: Books) -> None:
    books.drop("media SM3")
    verdict = books.judged()
    assert not books.ledger.is_told(books.told())
    assert convicted(verdict, "file lost")
    assert (verdict.files, verdict.lost) == (1, 1)


def test_a_file_that_no_part_of_its_message_waits_for_is_convicted(books: Books) -> None:
    books.events[books.place("received SM3")] = _received("SM3", CUSTOMER)
    verdict = books.judged()
    assert convicted(verdict, "file lost", "file of no message")
    assert verdict.lost == 1


def test_a_file_whose_message_is_missing_is_convicted_as_well(books: Books) -> None:
    books.drop("received SM3")
    verdict = books.judged()
    assert convicted(verdict, "lost", "file lost", "file of no message")
    assert verdict.lost == 2


def test_a_file_that_came_with_what_was_never_acknowledged_may_be_missing(books: Books) -> None:
    books.deliveries[2].acknowledged = None
    books.drop("media SM3")
    verdict = books.judged()
    assert convicted(verdict, "never acknowledged")
    assert (verdict.files, verdict.lost) == (0, 0)


def test_a_file_that_is_told_failed_is_convicted(books: Books) -> None:
    books.events[books.place("media SM3")]["data"] = {"message_id": "mSM3", "part_id": "2", "state": "failed"}
    verdict = books.judged()
    assert convicted(verdict, "file failed")
    assert verdict.lost == 1
    assert not kept(books.told(), books.deliveries)


def test_a_file_that_is_told_under_another_hash_is_convicted(books: Books) -> None:
    books.events[books.place("media SM3")]["data"]["ref"] = f"media:acme/{ANOTHER}"
    verdict = books.judged()
    assert convicted(verdict, "file has wrong hash")
    assert verdict.lost == 1
    assert not kept(books.told(), books.deliveries)


def test_a_file_that_is_another_tenants_is_convicted(books: Books) -> None:
    books.events[books.place("media SM3")]["data"]["ref"] = f"media:globex/{FILE}"
    assert convicted(books.judged(), "file has wrong hash")


def test_a_file_that_is_told_twice_under_different_ids_is_convicted(books: Books) -> None:
    books.events.append(_media("SM3", CUSTOMER, "2") | {"id": "another"})
    verdict = books.judged()
    assert convicted(verdict, "file told twice")
    assert verdict.duplicated == 1


def test_a_file_that_is_told_failed_and_then_stored_is_convicted_of_both(books: Books) -> None:
    failed = {"message_id": "mSM3", "part_id": "2", "state": "failed"}
    books.events.append(_event("failed SM3", "message.media", CUSTOMER, **failed))
    assert convicted(books.judged(), "file failed", "file told twice")


def test_a_file_of_a_part_that_there_is_not_is_convicted(books: Books) -> None:
    books.events.append(_media("SM3", CUSTOMER, "3") | {"id": "another"})
    assert convicted(books.judged(), "file of no message")


def test_a_receipt_that_was_acknowledged_and_is_missing_is_convicted(books: Books) -> None:
    books.drop("delivered 2")
    verdict = books.judged()
    assert convicted(verdict, "receipt lost")
    assert verdict.lost == 1


def test_a_body_that_is_twice_at_the_provider_is_convicted(books: Books) -> None:
    books.provider.asked.append(books.provider.asked[1])
    verdict = books.judged()
    assert convicted(verdict, "sent twice")
    assert verdict.twice == 1


def test_a_body_that_was_asked_for_again_after_a_clear_refusal_is_none_sent_twice(books: Books) -> None:
    books.provider.asked.insert(0, books.provider.asked[0]._replace(taken=False))
    assert not books.judged().why


def test_bodies_that_are_swapped_at_the_provider_are_convicted(books: Books) -> None:
    books.provider.asked.reverse()
    verdict = books.judged()
    assert convicted(verdict, "sent out of order")
    assert verdict.disorder == 1


def test_a_command_without_an_end_is_convicted(books: Books) -> None:
    books.drop("sent 2")
    verdict = books.judged()
    assert convicted(verdict, "without end")
    assert verdict.unended == 1


def test_a_message_that_is_told_sent_and_was_never_asked_for_is_convicted(books: Books) -> None:
    books.provider.asked.pop()
    assert convicted(books.judged(), "told sent, never asked for")


def test_a_message_with_two_ends_is_convicted(books: Books) -> None:
    books.provider.ambiguous.add("Number 2")
    books.events.append(_status(2, "unknown"))
    assert convicted(books.judged(), "ended twice")


def test_a_command_that_is_refused_is_convicted(books: Books) -> None:
    books.end_unknown(2)
    books.events[-1] = _status(2, "rejected")
    assert convicted(books.judged(), "refused")


def test_an_unknown_that_a_kill_left_is_within_the_allowance(books: Books) -> None:
    books.kills.append(ASKED_AT + 2)
    books.end_unknown(2)
    verdict = books.judged()
    assert not verdict.why
    assert (verdict.unknown, verdict.may_be_unknown) == (1, 1)


def test_an_unknown_beyond_the_allowance_is_convicted(books: Books) -> None:
    books.kills.append(ASKED_AT + 2)
    books.end_unknown(1)
    books.end_unknown(2)
    verdict = books.judged()
    assert convicted(verdict, "unknown")
    assert (verdict.unknown, verdict.may_be_unknown) == (2, 1)


def test_an_unknown_that_was_asked_for_at_no_kill_is_convicted(books: Books) -> None:
    books.kills.append(ASKED_AT + 60)
    books.end_unknown(2)
    assert convicted(books.judged(), "unknown, although it was in flight at no kill")


def test_a_recovery_that_takes_too_long_or_never_comes_is_convicted() -> None:
    assert late("inbound", 5.0, 5.0) == []
    assert late("inbound", 5.1, 5.0) == ["inbound recovered after 5.1 s, not within 5 s"]
    assert late("outbound", None, 5.0) == ["outbound never recovered"]


@pytest.mark.parametrize(
    ("again", "convicts"),
    [
        pytest.param(lambda p, at: p.note_early(OTHER, at), False, id="what was on its way to another recipient"),
        pytest.param(lambda p, at: (p.note_early(OTHER, at - 0.1), p.note_early(OTHER, at)), True, id="a second one"),
        pytest.param(lambda p, at: p.note_early(CUSTOMER, at), True, id="the one that was refused"),
        pytest.param(lambda p, at: p.note_early(CUSTOMER, at + RETRY_AFTER_S), False, id="the refused one, afterwards"),
    ],
)
def test_asking_before_retry_after_is_over_is_convicted(
    again: Callable[[Provider, float], Any], convicts: bool
) -> None:
    provider = Provider("429")
    provider.close(CUSTOMER, now=100.0)
    again(provider, 101.5)
    assert bool(provider.early) is convicts
