"""Hostile deliveries and commands: replayed, too deep, too many, too large inside; all others are served meanwhile."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import re
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.bus.streams import Layout
from sluiceway.errors import Malformed
from sluiceway.gateway import Intake, Secret
from sluiceway.http.inflate import Broken, inflate
from sluiceway.wire import FORM, MAX_FORM_FIELDS, Form, Request, read_json
from sluiceway_contracts import Command, Event, Undecodable
from sluiceway_gateways._twilio import Connection, sign
from sluiceway_gateways.sms.twilio import TwilioSms

from .conftest import ENVIRONMENT, Rig, until

DEEP = 100_000
BOMBED_S = 60
"""Bombs, gateway and whoever is served share one processor here, and that with other tests."""
JSON_BOMBS = {
    "lists": b"[" * DEEP + b"]" * DEEP,
    "objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "both, never closed": b'[{"a":' * DEEP,
    "an integer": b"9" * DEEP,
    "a number's exponent": b"1e" + b"9" * DEEP,
    "half a surrogate pair": b'"\\ud800"',
    "no UTF-8": b'"\xff\xfe"',
    "a million values": b"[" + b"0," * 1_000_000 + b"0]",
}
FIELDS = ("MessageSid", "From", "To", "Body", "NumMedia", "MediaUrl0", "MessageStatus", "OptOutType", "ErrorCode")
ANY_JSON = st.recursive(
    st.none() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
FORM_BOMBS = {
    "fields": "&".join(f"f{number}=1" for number in range(100_000)),
    "ampersands": "&" * 500_000,
    "equals signs": "=" * 500_000,
    "per cents": "%" * 500_000,
    "half an escape": "Body=%f",
    "no UTF-8": "Body=%ff%fe",
    "one name": "&".join(["Body=1"] * (MAX_FORM_FIELDS + 1)),
    "a number of media": "NumMedia=" + "9" * 100_000,
}


def envelope(type: str, data: bytes) -> bytes:
    """An event or a command with this data."""
    head = {
        "specversion": "1.0",
        "id": "1",
        "source": "/a",
        "type": type,
        "time": "2026-01-01T00:00:00Z",
        "tenant": "acme",
    }
    return json.dumps(head).encode()[:-1] + b',"data":' + data + b"}"


@contextmanager
def brief(refusal: type[Malformed | Undecodable]) -> Iterator[None]:
    """It may be refused, in words that do not repeat the bomb."""
    try:
        yield
    except refusal as error:
        if len(str(error)) > 300:
            raise AssertionError("it tells the bomb") from None


@pytest.mark.parametrize("bomb", JSON_BOMBS.values(), ids=JSON_BOMBS)
def test_a_bomb_of_json_is_read_or_malformed(bomb: bytes) -> None:
    for type in (Any, dict[str, Any], dict[str, int], str):
        with brief(Malformed):
            read_json(bomb, type)


@pytest.mark.parametrize("bomb", JSON_BOMBS.values(), ids=JSON_BOMBS)
@pytest.mark.parametrize("type", ["message.send", "message.received", "message.unheard_of"])
def test_a_bomb_of_an_envelope_is_read_or_undecodable(bomb: bytes, type: str) -> None:
    type = f"sluiceway.{type}"
    for data in (bomb, envelope(type, bomb), envelope(type, b'{"message":' + bomb + b"}")):
        with brief(Undecodable):
            Command.decode(data)
        with brief(Undecodable):
            Event.decode(data)


@given(ANY_JSON)
def test_any_json_where_a_command_belongs_is_read_or_undecodable(value: Any) -> None:
    with suppress(Undecodable):
        Command.decode(envelope("sluiceway.message.send", json.dumps(value).encode()))


@pytest.mark.parametrize("bomb", FORM_BOMBS.values(), ids=FORM_BOMBS)
def test_a_bomb_of_a_form_is_read_or_malformed(bomb: str) -> None:
    url = f"https://gw.example/h?{bomb}"
    request = Request(method="POST", url=url, headers={"content-type": FORM}, body=bomb.encode())
    with brief(Malformed):
        assert len(request.form.pairs) <= MAX_FORM_FIELDS
    with brief(Malformed):
        assert len(request.query.pairs) <= MAX_FORM_FIELDS


@given(st.binary(max_size=2000))
def test_any_bytes_where_a_form_belongs_are_read_or_malformed(body: bytes) -> None:
    with suppress(Malformed):
        Request(method="POST", url="https://gw.example/h", headers={"content-type": FORM}, body=body).form  # noqa: B018


class TestInflate:
    def test_inflates_gzip_and_deflate_in_any_case(self) -> None:
        for encoding, packed in (
            ("GZIP", gzip.compress(b"a=b")),
            ("x-gzip ", gzip.compress(b"a=b")),
            ("deflate", zlib.compress(b"a=b")),
        ):
            assert inflate(packed, encoding, 3) == b"a=b"

    def test_leaves_alone_what_is_not_compressed(self) -> None:
        assert inflate(b"a=b", "", 3) == inflate(b"a=b", "identity", 3) == b"a=b"

    def test_stops_at_the_limit(self) -> None:
        assert inflate(gzip.compress(b"\0" * (64 << 20)), "gzip", 1 << 20) is None
        assert inflate(gzip.compress(b"1234"), "gzip", 3) is None

    @pytest.mark.parametrize(
        ("body", "encoding", "status"),
        [
            (b"a=b", "gzip", 400),
            (gzip.compress(b"a=b")[:-1], "gzip", 400),
            (gzip.compress(b"a=b") * 2, "gzip", 400),
            (b"", "gzip", 400),
            (b"a=b", "br", 415),
            (gzip.compress(gzip.compress(b"a=b")), "gzip, gzip", 415),
        ],
        ids=["no gzip", "cut off", "two of them", "nothing", "another", "twice"],
    )
    def test_refuses_what_is_not_what_it_says(self, body: bytes, encoding: str, status: int) -> None:
        with pytest.raises(Broken) as refused:
            inflate(body, encoding, 100)
        assert refused.value.status == status

    @given(st.binary(max_size=2000))
    def test_what_was_compressed_comes_out_again(self, body: bytes) -> None:
        assert inflate(gzip.compress(body), "gzip", 2000) == body


def signed(rig: Rig, body: bytes) -> Request:
    """Any form, signed as Twilio would sign it; the customer wrote it."""
    bare = Request(method="POST", url=rig.hook_url, headers={"content-type": FORM}, body=body)
    try:
        pairs: tuple[tuple[str, str], ...] = bare.form.pairs
    except Malformed:
        pairs = ()
    given = sign(Secret(ENVIRONMENT["TWILIO_TOKEN"]), bare.url, Form(pairs).pairs)
    return msgspec.structs.replace(bare, headers={"content-type": FORM, "x-twilio-signature": given})


@pytest.mark.parametrize("bomb", FORM_BOMBS.values(), ids=FORM_BOMBS)
async def test_a_bomb_on_a_hook_is_answered_and_the_next_delivery_is_stored(rig: Rig, bomb: str) -> None:
    response = await rig.deliver(signed(rig, bomb.encode()))
    assert response.status in (204, 400, 403, 413)
    assert (await rig.text("Hello")).status == 200
    assert len(await rig.events("message.received")) == 1


@pytest.mark.parametrize(
    "bomb", [bomb for bomb in JSON_BOMBS.values() if len(bomb) < 250_000], ids=lambda bomb: bomb[:5]
)
async def test_a_bomb_as_a_command_fails_and_the_next_command_is_carried_out(rig: Rig, bomb: bytes) -> None:
    await rig.command(envelope("sluiceway.message.send", bomb), "sms.uk-sms.message.send._")
    await rig.command(bomb, "sms.uk-sms.message.send._")
    await rig.send("Hello", to=("tel:+447700900456",))
    await rig.until_event("message.sent")
    assert len(await rig.events("command.failed")) == 2


async def test_a_delivery_that_is_replayed_later_is_no_second_event(rig: Rig) -> None:
    request = rig.simulator.deliver(rig.account().account, "+447700900456", "Hello")
    await rig.deliver(request)
    for number in range(20):
        await rig.text(str(number), sender=f"+4477009001{number:02}")
    assert {(await rig.deliver(request)).status for _ in range(10)} == {200}
    events = await rig.events("message.received")
    assert len(events) == len({event.id for event in events}) == 21


async def test_a_delivery_that_is_replayed_after_the_stream_forgot_it_has_the_same_id(rig: Rig) -> None:
    """The stream drops duplicates for a day; whoever reads later upserts by id."""
    events = Layout(rig.core.nats).events
    api = rig.link.api(f"STREAM.UPDATE.{events}")
    config = Layout(rig.core.nats).configs[events] | {"duplicate_window": 10**8}
    assert b"error" not in (await rig.link.request(api, msgspec.json.encode(config))).data
    request = rig.simulator.deliver(rig.account().account, "+447700900456", "Hello")
    await rig.deliver(request)
    await asyncio.sleep(0.5)
    await rig.deliver(request)
    first, second = await rig.events("message.received")
    assert (first.id, first.subject) == (second.id, second.subject)
    assert len(await rig.events("conversation.opened")) == 1


@asynccontextmanager
async def connection(rig: Rig) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    host, _, port = rig.core.http.listen.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield reader, writer
    finally:
        writer.close()


async def status_of(rig: Rig, data: bytes) -> int:
    """The status that raw bytes are answered with."""
    async with connection(rig) as (reader, writer):
        writer.write(data)
        async with asyncio.timeout(15):
            return int((await reader.readline()).split()[1])


def post(rig: Rig, body: bytes, extra: bytes = b"") -> bytes:
    path = rig.hook_url.partition("://")[2].partition("/")[2].encode()
    head = b"POST /%b HTTP/1.1\r\nhost: x\r\ncontent-type: %b\r\ncontent-length: %d\r\n" % (
        path,
        FORM.encode(),
        len(body),
    )
    return head + extra + b"\r\n" + body


async def test_a_small_body_that_inflates_to_much_is_refused(rig: Rig) -> None:
    bomb = gzip.compress(b"\0" * (300 << 20))
    assert len(bomb) < 1 << 19
    assert await status_of(rig, post(rig, bomb, b"content-encoding: gzip\r\n")) == 413
    assert (await rig.text("Hello")).status == 200


async def test_a_gzipped_delivery_is_verified_by_what_is_inside(rig: Rig) -> None:
    request = rig.simulator.deliver(rig.account().account, "+447700900456", "Hello")
    headers = {**request.headers, "content-encoding": "gzip"}
    packed = msgspec.structs.replace(request, headers=headers, body=gzip.compress(request.body))
    assert (await rig.deliver(packed)).status == 200
    assert len(await rig.events("message.received")) == 1


@pytest.mark.parametrize("count", [200, 100_000])
async def test_more_headers_than_anybody_needs_are_refused(rig: Rig, count: int) -> None:
    headers = b"".join(b"x-%d: 1\r\n" % number for number in range(count))
    assert await status_of(rig, post(rig, b"", headers)) == 400
    assert (await rig.text("Hello")).status == 200


async def test_others_are_served_while_bombs_come_in(rig: Rig) -> None:
    """Each customer is served before the bombs are over; where the machine is slow, after a 503 and another try."""
    bombs = [post(rig, gzip.compress(b"\0" * (100 << 20)), b"content-encoding: gzip\r\n")]
    bombs += [post(rig, bomb.encode()[: 1 << 19]) for bomb in FORM_BOMBS.values()]
    flying = True

    async def bomb() -> None:
        while flying:
            assert await status_of(rig, random.choice(bombs)) in (400, 403, 413)

    bombers = [asyncio.create_task(bomb()) for _ in range(4)]
    try:
        for number in range(30):
            delivery = rig.simulator.deliver(rig.account().account, "+447700900456", str(number))

            async def is_served(delivery: Request = delivery) -> bool:
                return (await rig.deliver(delivery)).status == 200

            await until(is_served, f"message {number} is served", BOMBED_S)
            assert not any(task.done() for task in bombers)
    finally:
        flying = False
    await asyncio.gather(*bombers)
    assert len(await rig.events("message.received")) == 30


async def test_others_are_served_while_a_body_trickles_in(rig: Rig) -> None:
    async with connection(rig) as (_, writer):
        head, _, body = post(rig, b"Body=" + b"1" * 100).partition(b"\r\n\r\n")
        writer.write(head + b"\r\n\r\n")
        for byte in body[:20]:
            writer.write(bytes([byte]))
            await writer.drain()
            assert (await rig.text("Hello")).status == 200


@given(st.lists(st.tuples(st.sampled_from(FIELDS), st.text(max_size=50))))
def test_whatever_a_signed_form_says_its_gateway_raises_only_what_is_its_to_raise(
    fields: list[tuple[str, str]],
) -> None:
    gateway = TwilioSms(Connection(sid="AC" + "0" * 32, token=Secret("t")), "https://gw.example/hooks/t")
    body = urlencode(fields, errors="replace").encode()
    request = Request(method="POST", url="https://gw.example", headers={"content-type": FORM}, body=body)
    with suppress(Malformed):
        assert isinstance(gateway.receive(request), Intake)


def test_every_promise_names_tests_that_there_are() -> None:
    root = Path(__file__).parents[2]
    text = (root / "docs/guarantees.md").read_text(encoding="utf-8")
    docs = [text, *(path.read_text(encoding="utf-8") for path in root.glob("docs/**/*.md"))]
    named = set(re.findall(r"`(test_\w+)`", "".join(docs)))
    found: set[str] = set()
    for file in root.glob("tests/**/test_*.py"):
        found |= set(re.findall(r"def (test_\w+)\(", file.read_text(encoding="utf-8")))
    assert len(named) > 40
    assert named - found == set()
    assert len(text.splitlines()) <= 130
