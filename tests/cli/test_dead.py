"""`sluiceway dead`: what was put aside, listed, shown and replayed, in processes of its own."""

from __future__ import annotations

import asyncio
import json

import pytest

from sluiceway.bus.link import Link
from sluiceway.bus.streams import Layout, ensure
from sluiceway.config import Nats
from sluiceway_contracts import Command, MessageSend, Party, Text, uuid7

from .conftest import Cli

DELIVERY = b"MessageSid=SM1&From=%2B447700900456&To=%2B447700900123&Body=Hello%1b&NumMedia=0"
RECEIVED = {
    "content-type": "application/x-www-form-urlencoded",
    "sluiceway-error": "gateway_error",
    "sluiceway-reason": "KeyError in the gateway",
    "sluiceway-method": "POST",
    "sluiceway-url": "https://gw.example/hooks/twilio-uk",
    "sluiceway-subpath": "",
}
TRIED = {
    "sluiceway-error": "throttled",
    "sluiceway-reason": "the provider wants fewer requests",
    "sluiceway-tried": "7",
    "sluiceway-history": '[{"at":"2026-01-01T00:00:00Z","piece":1,"code":"throttled"}]',
    "sluiceway-arrived": "0/1",
}


def a_command() -> Command:
    parts = (Text(text="Hello"),)
    data = MessageSend(message_id=uuid7(), author=Party(role="agent"), parts=parts, to=("tel:+447700900456",))
    return Command(tenant="acme", channel="sms", account="uk-sms", data=data)


def put_aside(cli: Cli, *letters: tuple[str, bytes, dict[str, str]]) -> None:
    """Dead letters: the subject's last tokens, the body, the headers."""
    asyncio.run(put_letters_aside(cli.nats, letters))


async def put_letters_aside(nats: Nats, letters: tuple[tuple[str, bytes, dict[str, str]], ...]) -> None:
    link = Link(nats, "test")
    await link.connect()
    await ensure(link, Layout(nats), create=True)
    for where, body, headers in letters:
        await link.publish(f"{nats.prefix}.v1.{where}", body, headers)
    await link.close()


@pytest.fixture
def both(configured: Cli) -> Cli:
    """A delivery and a command were put aside."""
    put_aside(
        configured,
        ("acme.dead.inbound.sms.twilio-uk", DELIVERY, RECEIVED),
        ("acme.dead.commands.sms.uk-sms", a_command().encode(), TRIED),
    )
    return configured


def test_each_dead_letter_is_a_line(both: Cli) -> None:
    delivery, command = both.run("dead", "list").stdout.splitlines()
    assert delivery.split()[0] == "1"
    assert "acme  delivery sms/twilio-uk  gateway_error: KeyError in the gateway" in delivery
    assert "acme  message sms/uk-sms  throttled: the provider wants fewer requests, 7 tries, 0/1 arrived" in command


def test_another_tenants_are_not_listed(both: Cli) -> None:
    assert both.run("dead", "list", "--tenant", "globex").stdout == ""


def test_a_list_for_programs_is_json_lines(both: Cli) -> None:
    _, command = map(json.loads, both.run("dead", "list", "--json").stdout.splitlines())
    assert (command["sequence"], command["kind"], command["name"], command["tried"]) == (2, "commands", "uk-sms", 7)
    assert command["history"] == [{"at": "2026-01-01T00:00:00Z", "piece": 1, "code": "throttled"}]


def test_a_dead_letter_is_shown_with_what_it_says_and_drives_no_terminal(both: Cli) -> None:
    shown = both.run("dead", "show", "1").stdout
    assert "reason: KeyError in the gateway" in shown
    assert "Body=Hello" in shown
    put_aside(both, ("acme.dead.inbound.sms.twilio-uk", b"\x1b[31mred \xff", RECEIVED))
    assert "\x1b" not in both.run("dead", "show", "3").stdout
    assert json.loads(both.run("dead", "show", "3", "--json").stdout)["body_base64"] == "G1szMW1yZWQg/w=="


def test_a_command_is_replayed_under_new_ids_that_are_told(both: Cli) -> None:
    done = both.run("dead", "replay", "2", "--json")
    assert done.returncode == 0
    told = json.loads(done.stdout)
    command = json.loads(both.run("dead", "show", "2", "--json").stdout)["body"]
    assert told["command"] not in command
    assert told["message"] not in command
    assert "published again: command " in both.run("dead", "replay", "2").stdout


def test_a_delivery_is_replayed_and_is_one_event(both: Cli) -> None:
    first, second = both.run("dead", "replay", "1"), both.run("dead", "replay", "1")
    assert "stored: message.received " in first.stdout
    assert first.stdout.endswith("replayed\n")
    assert "known already: message.received " in second.stdout
    assert both.run("tail", "--no-follow").stdout.count("message.received") == 1
    assert len(both.run("dead", "list").stdout.splitlines()) == 2


def test_a_delivery_is_replayed_under_the_key_that_up_made(both: Cli) -> None:
    text = (both.folder / "sluiceway.toml").read_text().replace('[identity]\nkey = "env:IDENTITY_KEY"\n', "")
    both.write("sluiceway.toml", text)
    done = both.run("dead", "replay", "1")
    assert done.returncode == 1
    assert "identity.key: is missing" in done.stderr
    (both.folder / "sluiceway-data").mkdir()
    both.write("sluiceway-data/identity.key", "0" * 64)
    assert both.run("dead", "replay", "1", "--json").stdout.count("sluiceway.message.received") == 1


def test_what_is_not_there_is_told_in_one_line(both: Cli) -> None:
    done = both.run("dead", "replay", "99")
    assert done.returncode == 1
    assert done.stderr == "sluiceway: there is no dead letter 99; `sluiceway dead list` shows those there are\n"


def test_where_there_is_no_stream_it_is_told(cli: Cli) -> None:
    done = cli.run("dead", "list")
    assert done.returncode == 1
    assert "the stream of dead letters can't be read" in done.stderr
