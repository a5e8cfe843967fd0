"""What `breaking` calls a break, and what it lets pass: one change to the real document a test."""

from collections.abc import Callable
from typing import Any

import pytest

from sluiceway_contracts.asyncapi import asyncapi
from sluiceway_contracts.compatibility import breaking, breaking_subjects
from sluiceway_contracts.schema import json_schema

Defs = dict[str, Any]
TEXT = {"type": "string"}


def after(change: Callable[[Defs], object]) -> list[str]:
    """The breaks that a change of `$defs` makes."""
    new = json_schema()
    change(new["$defs"])
    return breaking(json_schema(), new)


def field(defs: Defs, struct: str, name: str) -> Any:
    return defs[struct]["properties"][name]


def test_nothing_changed_breaks_nothing() -> None:
    assert after(lambda defs: None) == []


class TestBreaking:
    def test_a_type_that_is_gone(self) -> None:
        assert after(lambda d: d.pop("sluiceway.call.queued")) == ["sluiceway.call.queued: the type is gone"]

    def test_a_field_that_is_gone(self) -> None:
        assert after(lambda d: d["Message"]["properties"].pop("text")) == ["Message.text: the field is gone"]

    def test_a_field_that_is_renamed(self) -> None:
        def rename(defs: Defs) -> None:
            fields = defs["Message"]["properties"]
            fields["body"] = fields.pop("text")

        assert after(rename) == ["Message.text: the field is gone"]

    def test_a_new_field_that_is_required(self) -> None:
        def add(defs: Defs) -> None:
            defs["Piece"]["properties"]["weight"] = TEXT
            defs["Piece"]["required"].append("weight")

        assert after(add) == ["Piece.weight: newly required"]

    def test_an_attribute_of_the_envelope_newly_required(self) -> None:
        assert after(lambda d: d["Envelope"]["required"].append("channel")) == ["Envelope.channel: newly required"]

    def test_a_required_field_that_may_now_be_absent(self) -> None:
        assert after(lambda d: d["Piece"]["required"].remove("of")) == [
            "Piece.of: no longer required, so it may be absent"
        ]

    def test_another_type(self) -> None:
        assert after(lambda d: field(d, "Text", "text").update(type="integer")) == [
            "Text.text: string is no longer valid",
            "Text.text: integer is newly valid",
        ]

    def test_a_field_that_may_now_be_null(self) -> None:
        def nullable(defs: Defs) -> None:
            defs["Text"]["properties"]["format"] = {"anyOf": [TEXT, {"type": "null"}], "default": "plain"}

        assert after(nullable) == ["Text.format: null is newly valid"]

    def test_a_field_that_may_no_longer_be_null(self) -> None:
        def never_null(defs: Defs) -> None:
            defs["Text"]["properties"]["lang"] = TEXT | {"default": None}

        assert after(never_null) == ["Text.lang: null is no longer valid"]

    def test_another_format(self) -> None:
        assert after(lambda d: field(d, "Message", "id").update(format="uri")) == [
            "Message.id: format was 'uuid' and is 'uri'"
        ]

    def test_a_new_restriction(self) -> None:
        assert after(lambda d: field(d, "Message", "text").update(maxLength=160)) == [
            "Message.text: maxLength was None and is 160"
        ]

    def test_another_default_because_it_is_what_absence_means(self) -> None:
        assert after(lambda d: field(d, "Message", "visibility").update(default="public")) == [
            "Message.visibility: the default was 'private' and is 'public'"
        ]

    @pytest.mark.parametrize("values", [["1.0"], ["1.0", "1.1", "2.0"]])
    def test_a_closed_set_that_lost_or_gained_a_value(self, values: list[str]) -> None:
        old, new = json_schema(), json_schema()
        field(old["$defs"], "Envelope", "actorrole")["anyOf"][0]["enum"] = ["1.0", "1.1"]
        field(new["$defs"], "Envelope", "actorrole")["anyOf"][0]["enum"] = values
        assert breaking(old, new) == [f"Envelope.actorrole: the values were ['1.0', '1.1'] and are {values}"]

    def test_another_constant(self) -> None:
        assert after(lambda d: field(d, "Envelope", "specversion").update(const="2.0")) == [
            "Envelope.specversion: const was '1.0' and is '2.0'"
        ]

    def test_a_part_that_is_gone(self) -> None:
        assert after(lambda d: d["AnyPart"]["anyOf"].remove({"$ref": "#/$defs/Rating"})) == [
            "AnyPart: part rating is no longer valid"
        ]

    def test_unknown_parts_no_longer_tolerated(self) -> None:
        assert after(lambda d: d["AnyPart"]["anyOf"].pop()) == ["AnyPart: object is no longer valid"]

    def test_other_items_in_a_list(self) -> None:
        assert after(lambda d: field(d, "Message", "external_ids").update(items={"type": "integer"})) == [
            "Message.external_ids[]: string is no longer valid",
            "Message.external_ids[]: integer is newly valid",
        ]

    def test_a_list_of_anything_in_place_of_a_list_of_text(self) -> None:
        assert after(lambda d: field(d, "Message", "external_ids").pop("items")) == [
            "Message.external_ids[]: string is no longer valid",
            "Message.external_ids[]: anything is newly valid",
        ]

    def test_other_values_in_a_map(self) -> None:
        assert after(lambda d: field(d, "Message", "ext").update(additionalProperties=True)) == [
            "Message.ext{}: object is no longer valid",
            "Message.ext{}: anything is newly valid",
        ]

    def test_unknown_fields_forbidden(self) -> None:
        assert after(lambda d: d["Text"].update(additionalProperties=False)) == [
            "Text{}: anything is no longer valid",
            "Text{}: nothing is newly valid",
        ]

    def test_a_structure_in_place_of_text(self) -> None:
        def structure(defs: Defs) -> None:
            defs["Text"]["properties"]["text"] = {"$ref": "#/$defs/Option"}

        assert after(structure) == ["Text.text: string is no longer valid", "Text.text: object is newly valid"]

    def test_a_change_in_a_structure_that_many_use_is_told_once(self) -> None:
        assert after(lambda d: d["Party"]["properties"].pop("name")) == ["Party.name: the field is gone"]

    def test_a_structure_is_compared_under_its_new_name(self) -> None:
        def rename_and_lose(defs: Defs) -> None:
            defs["Delay"] = defs.pop("Wait")
            defs["Delay"]["properties"].pop("high")
            field(defs, "CallQueued", "wait_ms")["anyOf"][0]["$ref"] = "#/$defs/Delay"

        assert after(rename_and_lose) == ["Wait.high: the field is gone"]


class TestNotBreaking:
    def test_a_new_type(self) -> None:
        def add(defs: Defs) -> None:
            defs["sluiceway.note.added"] = {"type": "object", "properties": {"type": {"const": "sluiceway.note.added"}}}

        assert after(add) == []

    def test_a_new_field_that_may_be_absent(self) -> None:
        assert after(lambda d: d["Message"]["properties"].update(mood=TEXT)) == []

    def test_a_new_part(self) -> None:
        def add(defs: Defs) -> None:
            defs["Cards"] = {"type": "object", "properties": {"type": {"enum": ["cards"]}}, "required": ["type"]}
            defs["AnyPart"]["anyOf"].insert(0, {"$ref": "#/$defs/Cards"})
            field(defs, "LaterPart", "type")["not"]["enum"].append("cards")

        assert after(add) == []

    def test_another_description(self) -> None:
        assert after(lambda d: field(d, "Media", "duration_ms")["anyOf"][0].update(description="How long.")) == []

    def test_another_name_of_a_structure(self) -> None:
        def rename(defs: Defs) -> None:
            defs["Delay"] = defs.pop("Wait")
            field(defs, "CallQueued", "wait_ms")["anyOf"][0]["$ref"] = "#/$defs/Delay"

        assert after(rename) == []


class TestBreakingSubjects:
    def test_the_same_document_moves_nothing(self) -> None:
        assert breaking_subjects(asyncapi(), asyncapi()) == []

    def test_a_token_that_moved(self) -> None:
        new = asyncapi()
        new["channels"]["call.ended"]["address"] = "sluiceway.v1.{tenant}.events.call.ended.{contact}.{channel}"
        assert breaking_subjects(asyncapi(), new) == [
            "call.ended: the subject moved from "
            "sluiceway.v1.{tenant}.events.call.ended.{channel}.{contact}.{conversation} to "
            "sluiceway.v1.{tenant}.events.call.ended.{contact}.{channel}"
        ]

    def test_a_subject_that_is_gone(self) -> None:
        new = asyncapi()
        del new["channels"]["message.send"]
        assert breaking_subjects(asyncapi(), new) == [
            "message.send: the subject sluiceway.v1.{tenant}.commands.{channel}.{account}.message.send.{conversation} "
            "is gone"
        ]

    def test_a_new_subject_breaks_nobody(self) -> None:
        new = asyncapi()
        new["channels"]["note.added"] = {"address": "sluiceway.v1.{tenant}.events.note.added"}
        assert breaking_subjects(asyncapi(), new) == []
