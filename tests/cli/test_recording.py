"""Recorded messages are checked, all of them, before any is published."""

import json
from pathlib import Path

import pytest

from sluiceway.cli import recording
from sluiceway.cli.recording import InvalidRecording, read

from .conftest import CONVERSATION, received

SAMPLES = Path(__file__).parents[2] / "contracts" / "samples"
GOOD = received("Hello").encode()
OTHER = received("Hello again").encode()


def refusal(name: str, content: bytes) -> str:
    with pytest.raises(InvalidRecording) as refused:
        read(name, content)
    return str(refused.value)


def test_the_story_is_read_whole_and_in_order() -> None:
    content = (SAMPLES / "story.ndjson").read_bytes()
    messages = read("story.ndjson", content)
    assert [message.data for message in messages] == content.splitlines()


@pytest.mark.parametrize("sample", sorted(SAMPLES.glob("*/*.json")), ids=lambda path: path.stem)
def test_every_sample_can_be_played(sample: Path) -> None:
    [message] = read(sample.name, sample.read_bytes())
    assert json.loads(message.data) == json.loads(sample.read_bytes())
    assert message.live == (".live." in message.subject)


def test_an_array_and_lines_are_the_same() -> None:
    lines = read("a.ndjson", GOOD + b"\n\n" + OTHER + b"\r\n")
    assert read("a.json", b"[\n " + GOOD + b",\n" + OTHER + b"]") == lines
    assert [message.headers["Nats-Msg-Id"] for message in lines] == [
        f"acme:{json.loads(data)['id']}" for data in (GOOD, OTHER)
    ]


def test_what_the_contract_does_not_know_is_kept() -> None:
    body = json.loads(GOOD) | {"later": {"b": 1}}
    [message] = read("a.json", json.dumps(body, indent=1).encode())
    assert json.loads(message.data) == body
    assert b"\n" not in message.data


def test_another_tenant_is_written_into_subject_tenant_source_and_id() -> None:
    [message] = read("a.ndjson", GOOD, tenant="globex", prefix="p")
    body = json.loads(message.data)
    assert message.subject == f"p.v1.globex.events.message.received.sms._.{CONVERSATION}"
    assert (body["tenant"], body["source"]) == ("globex", "/globex/sms/uk-sms")
    assert message.headers["Nats-Msg-Id"] == f"globex:{body['id']}"


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"{", "malformed|truncated"),
        (b"7", "Expected `object`"),
        (b"\xff", "malformed"),
        (GOOD.replace(b"message.received", b"message.recieved"), "did you mean sluiceway.message.received?"),
        (GOOD.replace(b'"tenant":"acme"', b'"tenant":"a.b"'), "'a.b' is no subject token"),
        (GOOD.replace(b'"message":{', b'"massage":{'), "missing required field `message`"),
        (GOOD.replace(b'"tenant":"acme",', b""), "missing required field `tenant`"),
    ],
)
def test_a_bad_line_is_named_with_file_number_and_reason(line: bytes, why: str) -> None:
    told = refusal("a.ndjson", GOOD + b"\n\n" + line + b"\n" + GOOD)
    assert told.startswith("a.ndjson:3: ")
    assert told.endswith("; nothing was published")
    assert any(reason in told for reason in why.split("|"))


def test_bad_json_is_named_with_its_line() -> None:
    assert refusal("a.json", b'{\n "a": 1,\n }').startswith("a.json:3: is not JSON")
    assert refusal("a.ndjson", b"[\n" + GOOD + b",\n}]").startswith("a.ndjson:3: is not JSON")


def test_a_bad_item_of_an_array_is_named_with_its_number() -> None:
    assert refusal("a.json", b"[" + GOOD + b", {}]").startswith("a.json: item 2: nothing is no type of the contract")


@pytest.mark.parametrize("content", [b"", b" \n", b"\xef\xbb\xbf"])
def test_an_empty_file_is_refused(content: bytes) -> None:
    assert "the file is empty" in refusal("a.ndjson", content)


@pytest.mark.parametrize("content", [b"[" * 100_000, b'{"a":' * 100_000, b"\xff[", b"[\xff]"])
def test_hostile_json_is_refused(content: bytes) -> None:
    refusal("a.json", content)


def test_nothing_is_kept_between_files() -> None:
    assert recording.read("a.ndjson", GOOD) == recording.read("a.ndjson", GOOD)
