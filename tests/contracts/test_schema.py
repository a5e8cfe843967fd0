"""The schemas that are committed: fresh, unbroken since the last release, and true of every sample."""

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from sluiceway_contracts import COMMANDS, EVENTS, Command, Event, UnknownCommand, UnknownEvent, is_uuid
from sluiceway_contracts.asyncapi import asyncapi
from sluiceway_contracts.compatibility import breaking, breaking_subjects
from sluiceway_contracts.parts import KNOWN
from sluiceway_contracts.schema import dumps, json_schema, main

CONTRACTS = Path(__file__).parents[2] / "contracts"
SCHEMA = CONTRACTS / "schema"
SAMPLES = CONTRACTS / "samples"
EVENT_SAMPLES = sorted((SAMPLES / "events").glob("*.json"))
COMMAND_SAMPLES = sorted((SAMPLES / "commands").glob("*.json"))
ALL_SAMPLES = [*EVENT_SAMPLES, *COMMAND_SAMPLES]
STORY = (SAMPLES / "story.ndjson").read_bytes().splitlines()


def validator(type: str | None = None) -> Draft202012Validator:
    return Draft202012Validator(json_schema(type), format_checker=Draft202012Validator.FORMAT_CHECKER)


WHOLE = validator()


def sample(name: str) -> Any:
    return json.loads((SAMPLES / f"{name}.json").read_bytes())


def part_types(value: Any) -> set[str]:
    """The `type` of every part anywhere in it."""
    match value:
        case {"parts": list(parts), **rest}:
            return {part["type"] for part in parts} | part_types(rest)
        case dict():
            return set().union(*map(part_types, value.values()))
        case list():
            return set().union(*map(part_types, value))
    return set()


class TestCommittedFiles:
    @pytest.mark.parametrize(("name", "document"), [("v1.json", json_schema()), ("asyncapi.json", asyncapi())])
    def test_are_what_the_structures_say(self, name: str, document: dict[str, Any]) -> None:
        fresh = (SCHEMA / name).read_text(encoding="utf-8") == dumps(document)
        assert fresh, f"{name} is stale; run: python -m sluiceway_contracts.schema contracts/schema"

    def test_break_nobody_who_uses_the_last_release(self) -> None:
        assert breaking(json.loads((SCHEMA / "released" / "v1.json").read_bytes()), json_schema()) == []

    def test_move_no_subject_of_the_last_release(self) -> None:
        """But the one of typing.set, which no gateway carried out where it was: under live no stream keeps it."""
        moved = breaking_subjects(json.loads((SCHEMA / "released" / "asyncapi.json").read_bytes()), asyncapi())
        assert [sentence.partition(":")[0] for sentence in moved] == ["typing.set"]

    def test_are_written_to_the_folder_given(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        folder = tmp_path / "new"
        main([str(folder)])
        assert capsys.readouterr().out.splitlines() == [str(folder / "v1.json"), str(folder / "asyncapi.json")]
        assert json.loads((folder / "v1.json").read_bytes()) == json_schema()
        assert json.loads((folder / "asyncapi.json").read_bytes()) == asyncapi()

    def test_are_only_named_where_no_folder_is_given(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delitem(sys.modules, "sluiceway_contracts.schema")
        monkeypatch.setattr(sys, "argv", ["schema"])
        runpy.run_module("sluiceway_contracts.schema", run_name="__main__")
        assert capsys.readouterr().out.splitlines() == ["v1.json", "asyncapi.json"]


class TestJsonSchema:
    def test_is_valid_json_schema(self) -> None:
        Draft202012Validator.check_schema(json_schema())
        for type in (*EVENTS, *COMMANDS):
            Draft202012Validator.check_schema(json_schema(type))

    def test_of_one_type_holds_only_what_that_type_needs(self) -> None:
        defs = json_schema("sluiceway.call.queued")["$defs"]
        assert set(defs) == {"sluiceway.call.queued", "Envelope", "CallQueued", "Wait"}

    def test_of_a_type_that_there_is_not_is_an_error(self) -> None:
        with pytest.raises(KeyError):
            json_schema("sluiceway.no.such")

    def test_never_forbids_unknown_fields(self) -> None:
        assert '"additionalProperties": false' not in dumps(json_schema())

    @pytest.mark.parametrize("missing", ["specversion", "id", "source", "type", "time", "tenant", "data"])
    def test_and_the_decoder_demand_the_same_attributes(self, missing: str) -> None:
        event = sample("events/message.received")
        del event[missing]
        assert not WHOLE.is_valid(event)
        with pytest.raises(ValueError, match=missing):
            Event.decode(json.dumps(event).encode())

    @pytest.mark.parametrize(
        ("field", "value"),
        [("id", "7"), ("time", "2026-01-14T09:12:04"), ("specversion", "0.3"), ("source", ""), ("data", {})],
    )
    def test_refuses_a_wrong_attribute(self, field: str, value: object) -> None:
        assert not WHOLE.is_valid(sample("events/message.received") | {field: value})

    def test_refuses_a_known_part_in_a_wrong_form(self) -> None:
        event = sample("events/message.received")
        event["data"]["message"]["parts"] = [{"type": "text", "text": 7}]
        assert not WHOLE.is_valid(event)


class TestTomorrow:
    """Today's schema accepts what a later version adds."""

    def test_an_unknown_field_is_valid_anywhere(self) -> None:
        event = sample("events/message.received")
        event["shard"] = 4
        event["data"]["sentiment"] = {"score": 0.2}
        event["data"]["message"]["mood"] = "calm"
        event["data"]["message"]["parts"][0]["colour"] = "red"
        WHOLE.validate(event)
        validator(event["type"]).validate(event)

    def test_an_unknown_part_is_valid_with_or_without_a_fallback(self) -> None:
        event = sample("events/message.received")
        event["data"]["message"]["parts"] += [{"type": "hologram"}, {"type": "hologram", "fallback": "[hologram]"}]
        WHOLE.validate(event)

    def test_an_unknown_type_is_valid_whatever_its_data(self) -> None:
        WHOLE.validate(sample("events/message.received") | {"type": "sluiceway.message.teleported", "data": [1]})


class TestSamples:
    def test_there_is_one_for_every_event_and_command(self) -> None:
        assert {f"sluiceway.{file.stem.partition('-')[0]}" for file in EVENT_SAMPLES} == set(EVENTS)
        assert {f"sluiceway.{file.stem.partition('-')[0]}" for file in COMMAND_SAMPLES} == set(COMMANDS)

    def test_there_is_one_for_every_part(self) -> None:
        used = set().union(*(part_types(json.loads(file.read_bytes())) for file in ALL_SAMPLES))
        assert used | part_types([json.loads(line) for line in STORY]) == set(KNOWN)

    @pytest.mark.parametrize("file", ALL_SAMPLES, ids=lambda file: f"{file.parent.name}/{file.stem}")
    def test_each_is_valid_by_its_own_schema_and_by_the_whole(self, file: Path) -> None:
        value = json.loads(file.read_bytes())
        assert value["type"] == f"sluiceway.{file.stem.partition('-')[0]}"
        validator(value["type"]).validate(value)
        WHOLE.validate(value)

    @pytest.mark.parametrize("file", ALL_SAMPLES, ids=lambda file: f"{file.parent.name}/{file.stem}")
    def test_each_decodes_and_encodes_to_itself(self, file: Path) -> None:
        cls = Event if file in EVENT_SAMPLES else Command
        decoded = cls.decode(file.read_bytes())
        assert not isinstance(decoded.data, UnknownEvent | UnknownCommand)
        assert is_uuid(decoded.id)
        assert decoded.nats_subject()
        assert json.loads(decoded.encode()) == json.loads(file.read_bytes())

    @pytest.mark.parametrize("file", ALL_SAMPLES, ids=lambda file: f"{file.parent.name}/{file.stem}")
    def test_each_stands_in_one_form(self, file: Path) -> None:
        value = json.loads(file.read_bytes())
        assert file.read_text(encoding="utf-8") == json.dumps(value, indent=2, ensure_ascii=False) + "\n"

    def test_no_part_is_unknown_but_in_the_sample_of_unknown_parts(self) -> None:
        unknown = {file.stem for file in ALL_SAMPLES if "unknown" in part_types(json.loads(file.read_bytes()))}
        assert unknown == {"message.received-unknown"}


class TestTheStory:
    def test_every_line_is_valid_and_known(self) -> None:
        for line in STORY:
            WHOLE.validate(json.loads(line))
            event = Event.decode(line)
            assert not isinstance(event.data, UnknownEvent)
            assert event.encode() == line

    def test_is_one_customer_in_one_conversation_over_three_channels(self) -> None:
        events = [Event.decode(line) for line in STORY]
        assert len({(event.tenant, event.contactid, event.subject) for event in events}) == 1
        assert {event.channel for event in events} == {"webform", "email", "voice"}

    def test_stands_in_the_order_of_a_stream_with_no_id_twice(self) -> None:
        events = [Event.decode(line) for line in STORY]
        assert [event.time for event in events] == sorted(event.time for event in events)
        assert len({event.id for event in events}) == len(events)

    def test_links_no_address_that_was_only_typed_into_the_form(self) -> None:
        linked = [json.loads(line)["data"] for line in STORY if b'"sluiceway.contact.linked"' in line]
        assert [(one["method"], one["assurance"]) for one in linked] == [
            ("reply_token", "channel"),
            ("command", "agent"),
        ]
