"""Logs, metrics and parked letters' headers: ids and names, never what customers wrote, who they are, or a secret."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import msgspec
import pytest
import structlog

from sluiceway import logs
from sluiceway.config import Log
from sluiceway.testing.nats import NatsServer
from sluiceway.wire import Request, Response

from .conftest import ENVIRONMENT, Rig, running, until

TEXT, NUMBER, URL = "Canary-text", "+447700900888", "canary-query"
CANARIES = (TEXT, NUMBER, NUMBER.removeprefix("+"), URL, *ENVIRONMENT.values())


Configure = Callable[..., io.StringIO]


@pytest.fixture
def configure(monkeypatch: pytest.MonkeyPatch) -> Iterator[Configure]:
    """`logs.configure`, which returns a standard error that can be read; afterwards everything is as it was."""
    original, server = structlog.configure, logging.getLogger("aiohttp.server")
    level = server.level

    def configure(settings: Log, watched: bool = False) -> io.StringIO:
        stream = io.StringIO()
        monkeypatch.setattr(stream, "isatty", lambda: watched)
        monkeypatch.setattr(sys, "stderr", stream)
        # a logger that is kept would log to this stream for ever
        monkeypatch.setattr(
            structlog, "configure", lambda **all: original(**all | {"cache_logger_on_first_use": False})
        )
        logs.configure(settings)
        return stream

    yield configure
    structlog.reset_defaults()
    server.setLevel(level)


def failing() -> None:
    """Two errors, one of the other, that quote a customer."""
    try:
        int(TEXT)
    except ValueError as error:
        raise KeyError(f"{TEXT} of {NUMBER}") from error


def log_failure() -> None:
    try:
        failing()
    except KeyError:
        structlog.get_logger("x").exception("it.broke", account="uk-sms")


def test_json_is_one_object_a_line(configure: Configure) -> None:
    written = configure(Log(level="info", format="json"))
    structlog.get_logger("x").info("it.happened", account="uk-sms")
    structlog.get_logger("x").debug("it.was_not_asked_for")
    (line,) = written.getvalue().splitlines()
    logged = json.loads(line)
    assert (logged["event"], logged["account"], logged["level"]) == ("it.happened", "uk-sms", "info")
    assert logged["timestamp"].endswith("Z")


@pytest.mark.parametrize("format", ["auto", "json", "text"])
def test_an_error_is_logged_with_its_place_and_kind_and_not_with_what_it_says(
    configure: Configure, format: Any
) -> None:
    written = configure(Log(format=format))
    log_failure()
    for word in ("it.broke", "uk-sms", "KeyError", "ValueError", "in failing", "test_logs.py"):
        assert word in written.getvalue()
    assert TEXT not in written.getvalue()
    assert NUMBER not in written.getvalue()


@pytest.mark.parametrize("watched", [True, False])
def test_text_is_for_people_and_json_where_nobody_watches(configure: Configure, watched: bool) -> None:
    written = configure(Log(), watched)
    structlog.get_logger("x").info("it.happened")
    assert written.getvalue().startswith("{") == (not watched)


def test_an_error_that_hides_its_context_is_told_alone(configure: Configure) -> None:
    written = configure(Log(format="json"))
    try:
        try:
            int("x")
        except ValueError:
            raise ZeroDivisionError from None
    except ZeroDivisionError:
        structlog.get_logger("x").exception("it.broke")
    assert "ZeroDivisionError" in written.getvalue()
    assert "ValueError" not in written.getvalue()


async def everything_that_can_happen(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deliveries and commands of every outcome, each with the canaries in it."""
    original = rig.simulator.answer

    async def told(count: int, type: str) -> None:
        await rig.until_event(type, count)

    await rig.text(TEXT, NUMBER)
    await rig.text(TEXT, NUMBER)
    (first, *_) = await rig.events("message.received")
    a_text = rig.simulator.deliver(rig.account().account, NUMBER, TEXT)
    await rig.deliver(a_text)
    await rig.deliver(a_text)
    await rig.deliver(msgspec.structs.replace(a_text, url=f"{rig.hook_url}?x={URL}"))
    await rig.deliver(msgspec.structs.replace(a_text, headers={**a_text.headers, "content-type": "text/plain"}))
    await rig.deliver(msgspec.structs.replace(a_text, headers={**a_text.headers, "x-twilio-signature": TEXT}))
    stranger = msgspec.structs.replace(rig.account().account, address="tel:+447700900999")
    await rig.deliver(rig.simulator.deliver(stranger, NUMBER, TEXT))
    await rig.client.exchange(Request.get(f"{rig.core.http.base_url}/{URL}?x={TEXT}"))
    # sends: delivered, refused, opted out, ambiguous, throttled, expired, unreadable
    await rig.send(TEXT, conversation_id=first.subject)
    await rig.send(TEXT, to=(f"tel:{NUMBER}",))
    await told(2, "message.sent")
    await rig.send(TEXT, to=("tel:+15005550004",))
    await rig.send(TEXT, to=(f"x-nobody:{TEXT}",))
    await rig.send(TEXT, to=(f"tel:{NUMBER}",), message_id=TEXT)
    await rig.send(TEXT, to=(f"tel:{NUMBER}",), account="nobody")
    await rig.command(f"{TEXT}{NUMBER}".encode(), "sms.uk-sms.message.send._")
    await told(4, "command.failed")
    await told(1, "consent.changed")
    answers = iter((Response(status=429, headers={"retry-after": "0"}), Response(status=500, body=TEXT.encode())))

    async def answer(request: Request) -> Response:
        return next(answers, None) or original(request).response

    monkeypatch.setattr(rig.provider, "answer", answer)
    await rig.send(TEXT, to=(f"tel:{NUMBER}",))
    sent = len(await rig.events("message.status"))
    await told(sent + 1, "message.status")

    # gateways that break, quoting what they were given
    def broken(*_: object) -> NoReturn:
        failing()
        raise AssertionError

    gateway = rig.account().gateway
    monkeypatch.setattr(type(gateway), "send", broken)
    await rig.send(TEXT, to=(f"tel:{NUMBER}",))
    await told(sent + 2, "message.status")
    monkeypatch.setattr(type(gateway), "receive", broken)
    await rig.deliver(a_text)
    await told(1, "error.dead_letter")
    monkeypatch.setattr(type(gateway), "verify", broken)
    assert (await rig.deliver(a_text)).status in (500, 503)


async def test_nothing_that_a_customer_wrote_is_and_no_secret_is_logged_or_counted(
    tmp_path: Path,
    shared_nats: NatsServer,
    configure: Configure,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    written = configure(Log(level="debug", format="json"))
    async with running(tmp_path, shared_nats) as rig:
        await everything_that_can_happen(rig, monkeypatch)
        await until(lambda: "http.broken" in written.getvalue(), "the last error is logged")
        shown = (await rig.client.exchange(Request.get(f"http://{rig.core.probes.listen}/metrics"))).body.decode()
        shown += "".join(repr(thing) for thing in (rig.core, rig.service, *rig.accounts, rig.link.settings))
        shown += "".join(repr(request) for request in rig.provider.requests)
    logged = [json.loads(line) for line in written.getvalue().splitlines()]
    events = {line["event"] for line in logged}
    assert {"message.received", "delivery.refused", "account.unknown", "command.failed", "message.done"} <= events
    assert {"message.retry", "gateway.error", "delivery.unreadable", "http.broken"} <= events
    standard = "".join(f"{record.getMessage()} {record.exc_text}" for record in caplog.records)
    printed = "".join(capsys.readouterr())
    for canary in CANARIES:
        assert canary not in written.getvalue()
        assert canary not in shown
        assert canary not in standard
        assert canary not in printed


async def test_the_bytes_of_a_bad_request_are_not_logged(rig: Rig, configure: Configure, caplog: Any) -> None:
    caplog.set_level(logging.INFO)
    written = configure(Log(level="debug", format="json"))
    reader, writer = await asyncio.open_connection(*rig.core.http.listen.split(":"))
    writer.write(f"{TEXT}\0{NUMBER}\r\n\r\n".encode())
    assert b"400" in await reader.readline()
    writer.close()
    assert TEXT not in caplog.text + written.getvalue()
