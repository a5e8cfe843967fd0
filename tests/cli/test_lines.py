"""Events as lines: readable ones for people, JSON for programs, and in neither what drives a terminal."""

import json
import re
from pathlib import Path

import click
import msgspec
import pytest

from sluiceway.cli import lines
from sluiceway_contracts import Event

from .conftest import CONVERSATION, received

SAMPLES = Path(__file__).parents[2] / "contracts" / "samples" / "events"


def line(data: bytes) -> str:
    return click.unstyle(lines.readable(data))


def told(name: str) -> str:
    return line((SAMPLES / name).read_bytes())


def test_a_message_is_shown_with_account_direction_type_conversation_and_words() -> None:
    shown = line(received("Where is my order?").encode())
    assert re.fullmatch(
        rf"\d\d:\d\d:\d\d  sms/uk-sms ← message\.received  {CONVERSATION}  tel:\+447700900456: Where is my order\?",
        shown,
    )


def test_an_event_of_another_day_has_its_date() -> None:
    assert re.match(r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d  ", told("message.received.json"))


def test_what_we_sent_points_the_other_way() -> None:
    assert " → message.sent " in told("message.sent.json")


def test_a_status_says_how_far_the_message_got() -> None:
    assert re.search(r"→ message.status +\S{36}  delivered$", told("message.status.json"))


def test_a_failed_status_says_the_error_and_the_providers_code_once() -> None:
    event = Event.decode((SAMPLES / "message.status-failed.json").read_bytes())
    error = msgspec.to_builtins(event.data)["pieces"][-1]["error"]
    shown = told("message.status-failed.json")
    assert f"{error['code']} {error['provider_code']}: {error['message']}" in shown
    assert "failed, failed" not in shown


def test_a_failed_command_says_code_and_message() -> None:
    data = msgspec.to_builtins(Event.decode((SAMPLES / "command.failed.json").read_bytes()).data)
    shown = told("command.failed.json")
    assert data["error"]["code"] in shown
    assert data["error"]["message"] in shown
    assert data["command_type"] in shown


def test_failures_are_red() -> None:
    assert "\x1b[31m" in lines.readable((SAMPLES / "command.failed.json").read_bytes())
    assert "\x1b[31m" in lines.readable((SAMPLES / "message.status-failed.json").read_bytes())
    assert "\x1b[31m" not in lines.readable((SAMPLES / "message.status.json").read_bytes())


@pytest.mark.parametrize("sample", sorted(SAMPLES.glob("*.json")), ids=lambda path: path.stem)
def test_every_sample_is_one_line_with_its_type(sample: Path) -> None:
    shown = line(sample.read_bytes())
    assert len(shown.splitlines()) == 1
    assert Event.decode(sample.read_bytes()).type.removeprefix("sluiceway.") in shown


def test_an_event_of_an_unknown_type_is_shown_with_its_fields() -> None:
    body = json.loads(received("Hello").encode()) | {
        "type": "sluiceway.sla.breached",
        "data": {"after_s": 60, "x": [1]},
    }
    assert f"sla.breached      {CONVERSATION}  after_s=60" in line(json.dumps(body).encode())


@pytest.mark.parametrize("data", [b"", b"not JSON", b"[]", b'{"type": "sluiceway.message.received"}', b'{"a": "\xff"}'])
def test_what_is_no_event_is_said_to_be_none(data: bytes) -> None:
    assert "no event of the contract: " in line(data)
    assert f"({len(data)} bytes)" in line(data)


@pytest.mark.parametrize("bad", ["\x1b[2J", "\x9b2J", "\x07", "\r", "\x7f", "\u202e", "\u2066", "\u2028", "a\nb"])
def test_a_customers_control_characters_do_not_reach_the_terminal(bad: str) -> None:
    event = received(f"before {bad} after")
    for shown in (line(event.encode()), lines.as_json(event.encode())):
        assert "before " in shown
        assert " after" in shown
        assert not re.search("[\x00-\x1f\x7f-\x9f\u2028\u202e\u2066]", shown)


def test_control_characters_in_names_and_types_do_not_reach_the_terminal() -> None:
    body = json.loads(received("Hello").encode())
    body["type"] = body["channel"] = body["subject"] = "x\x1b[2J"
    assert "\x1b" not in line(json.dumps(body).encode())


def test_letters_of_every_script_and_emoji_stay() -> None:
    text = "Straße 東京 مرحبا 👩‍👩‍👧 e\u0301"
    assert line(received(text).encode()).endswith(text)


def test_json_is_the_event_as_it_was_published_on_one_line() -> None:
    event = received("a\nb\x1b \u202e 1.10")
    published = json.dumps(json.loads(event.encode()) | {"later": 1.10}, indent=2).encode()
    shown = lines.as_json(published)
    assert len(shown.splitlines()) == 1
    assert json.loads(shown) == json.loads(published)
    assert '"later":1.1' in shown
