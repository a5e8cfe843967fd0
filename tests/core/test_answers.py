"""What is answered to who asks for a conversation or a contact, on a real server."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sluiceway.answers import Answers
from sluiceway.bus.link import Link
from sluiceway.bus.store import Bucket
from sluiceway.bus.streams import Layout
from sluiceway.errors import Unavailable
from sluiceway_contracts import ContactState, ConversationState, uuid7

PHONE = "tel:+447700900456"
ANNA, BEN, CARLA, TALK = (f"019c22f1-d578-7b69-b91e-e6031249eeb{n}" for n in range(2, 6))


class Owners:
    """Knows one address."""

    async def owner(self, tenant: str, address: str) -> str | None:
        if address == "mailto:down@customer.example":
            raise Unavailable("NATS is away")
        return BEN if (tenant, address) == ("acme", PHONE) else None


@pytest.fixture
async def answers(link: Link, layout: Layout) -> Answers:
    talks, contacts = Bucket(link, layout.state, ConversationState), Bucket(link, layout.state, ContactState)
    talk = ConversationState(id=TALK, contact=ANNA, state="closed", continued_as=ANNA)
    await talks.put(f"acme.conversation.{TALK}", talk)
    await contacts.put(f"acme.contact.{ANNA}", ContactState(id=ANNA, merged_from=(BEN, CARLA)))
    await contacts.put(f"acme.contact.{BEN}", ContactState(id=BEN, merged_into=ANNA, merged_from=(CARLA,)))
    await contacts.put(f"acme.contact.{CARLA}", ContactState(id=CARLA, merged_into=BEN))
    return Answers(link, layout.state, Owners())


async def asked(answers: Answers, question: str, payload: object, tenant: str = "acme") -> Any:
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return json.loads(await answers.asks[question](tenant, body))


async def test_a_conversation_is_answered_as_it_is(answers: Answers) -> None:
    answer = await asked(answers, "conversation", {"conversation_id": TALK})
    assert answer == {"id": TALK, "contact": ANNA, "state": "closed", "continued_as": ANNA}


@pytest.mark.parametrize("question", [{"contact_id": CARLA}, {"contact_id": BEN}, {"contact_id": ANNA}])
async def test_a_contact_is_who_it_is_now_with_all_its_ids(answers: Answers, question: dict[str, str]) -> None:
    answer = await asked(answers, "contact", question)
    assert answer["contact"]["id"] == ANNA
    assert answer["ids"] == [ANNA, BEN, CARLA]


async def test_a_contact_is_found_by_any_spelling_of_its_address(answers: Answers) -> None:
    assert (await asked(answers, "contact", {"address": "TEL:+447700900456"}))["contact"]["id"] == ANNA


async def test_a_contact_without_a_record_yet_is_its_id(answers: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    new = uuid7()

    async def owner(self: Owners, tenant: str, address: str) -> str:
        return new

    monkeypatch.setattr(Owners, "owner", owner)
    assert await asked(answers, "contact", {"address": PHONE}) == {"contact": {"id": new}, "ids": [new]}


@pytest.mark.parametrize(
    ("question", "payload", "code"),
    [
        ("conversation", {"conversation_id": BEN}, "not_found"),
        ("conversation", {"conversation_id": f"{TALK}.x"}, "malformed"),
        ("conversation", {"conversation_id": ">"}, "malformed"),
        ("conversation", {}, "malformed"),
        ("conversation", b"", "malformed"),
        ("conversation", b"[" * 100_000, "malformed"),
        ("contact", {"contact_id": TALK}, "not_found"),
        ("contact", {"contact_id": "*"}, "malformed"),
        ("contact", {"address": "mailto:nobody@customer.example"}, "not_found"),
        ("contact", {"address": "07700 900456"}, "malformed"),
        ("contact", {"address": "mailto:down@customer.example"}, "unavailable"),
        ("contact", {}, "malformed"),
    ],
    ids=str,
)
async def test_what_can_not_be_answered_says_why(answers: Answers, question: str, payload: object, code: str) -> None:
    answer = await asked(answers, question, payload)
    assert answer["error"]["code"] == code
    assert answer["error"]["message"]
    assert "customer.example" not in answer["error"]["message"]


async def test_one_tenants_records_are_not_anothers(answers: Answers) -> None:
    for question, payload in (
        ("conversation", {"conversation_id": TALK}),
        ("contact", {"contact_id": ANNA}),
        ("contact", {"address": PHONE}),
    ):
        assert (await asked(answers, question, payload, tenant="globex"))["error"]["code"] == "not_found"


async def test_merges_in_a_circle_end(answers: Answers, link: Link, layout: Layout) -> None:
    contacts = Bucket(link, layout.state, ContactState)
    await contacts.put(f"acme.contact.{ANNA}", ContactState(id=ANNA, merged_into=CARLA))
    assert (await asked(answers, "contact", {"contact_id": ANNA}))["ids"]
