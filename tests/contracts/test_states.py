"""Records and answers: in the schema, written as it says, and guarded against what would break their readers."""

import copy
import json
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator

from sluiceway_contracts import (
    QUESTIONS,
    STATES,
    ContactAddress,
    ContactAnswer,
    ContactQuestion,
    ContactState,
    ConversationState,
    Error,
    LastInbound,
    LastOutbound,
    MessageCount,
    Unanswered,
    now,
    subjects,
)
from sluiceway_contracts.compatibility import breaking
from sluiceway_contracts.schema import json_schema
from sluiceway_contracts.states import STRUCTURES

CONTACT, CONVERSATION = "019c22f1-d578-7b69-b91e-e6031249eeb2", "019c22f1-d578-7625-af24-35aeedc2728d"
MESSAGE = "c0b257dd-4327-8e24-ada2-cc3fb18654ec"
TALK = ConversationState(
    id=CONVERSATION,
    state="open",
    contact=CONTACT,
    channels=("sms",),
    last_inbound=LastInbound(message_id=MESSAGE, at=now(), sequence=7, address="tel:+447700900456"),
    last_outbound=LastOutbound(message_id=MESSAGE, at=now(), status="sent"),
    message_count=MessageCount(inbound=2, outbound=1),
    first_sequence=3,
    last_sequence=9,
)
PERSON = ContactState(
    id=CONTACT,
    addresses=(ContactAddress(address="tel:+447700900456", assurance="channel", method="inbound", since=now()),),
    conversations=(CONVERSATION,),
)


@pytest.mark.parametrize(
    "value",
    [
        TALK,
        PERSON,
        ContactAnswer(contact=PERSON, ids=(CONTACT,)),
        ContactQuestion(address="tel:+447700900456"),
        Unanswered(error=Error(code="not_found", message="there is none")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_written_is_valid_and_reads_back(value: msgspec.Struct) -> None:
    schema = json_schema(type(value).__name__)
    written = msgspec.json.encode(value)
    Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(json.loads(written))
    assert msgspec.json.decode(written, type=type(value)) == value


def test_messages_are_counted_in_and_out() -> None:
    assert json.loads(msgspec.json.encode(TALK))["message_count"] == {"in": 2, "out": 1}


def test_a_reader_ignores_what_a_later_version_adds() -> None:
    later = json.loads(msgspec.json.encode(TALK)) | {"mood": "calm", "state": "snoozed"}
    assert msgspec.json.decode(json.dumps(later), type=ConversationState).state == "snoozed"


@pytest.mark.parametrize("struct", STRUCTURES, ids=lambda struct: struct.__name__)
def test_every_structure_is_in_the_schema_and_a_field_that_goes_breaks_its_readers(struct: type[Any]) -> None:
    old = json_schema()
    new = copy.deepcopy(old)
    field = next(iter(old["$defs"][struct.__name__]["properties"]))
    del new["$defs"][struct.__name__]["properties"][field]
    assert any(struct.__name__ in sentence and field in sentence for sentence in breaking(old, new))


def test_an_answer_that_is_gone_breaks_who_asks() -> None:
    old, new = json_schema(), json_schema()
    del new["$defs"]["ContactAnswer"]
    assert breaking(old, new) == ["ContactAnswer: the type is gone"]


def test_kinds_and_questions_are_tokens_of_keys_and_subjects() -> None:
    assert all(subjects.name(name) for name in (*STATES, *QUESTIONS))
