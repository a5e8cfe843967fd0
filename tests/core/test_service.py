"""One process as a whole: its probes, its start without NATS, its stop in the middle of work, its false starts."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog
from nats.aio.msg import Msg

from sluiceway import service as module
from sluiceway.bus.link import TIMEOUT_S, Link
from sluiceway.bus.streams import Layout, ensure
from sluiceway.config import Core, Nats
from sluiceway.errors import ConfigError, SluicewayError
from sluiceway.gateway import Secret
from sluiceway.service import Service
from sluiceway.testing.nats import NatsServer
from sluiceway.testing.ports import free_port
from sluiceway.wire import Request, Response
from sluiceway_contracts import MessageReceived

from .conftest import TWILIO, Rig, linked, load, running, until


def configured(tmp_path: Path, server: NatsServer, text: str = TWILIO, number: int | None = None) -> Service:
    """A service that is not started yet."""
    ports = {name: free_port() for name in ("hooks", "probes", "api")}
    core, served = load(tmp_path, text, url=server.url, number=number or ports["api"], **ports)
    return Service(core, served)


async def probe(rig: Rig, path: str, method: str = "GET") -> Response:
    url = f"http://{rig.core.probes.listen}{path}"
    return await rig.client.exchange(Request(method=method, url=url))


async def test_a_running_service_is_healthy_ready_and_counts(rig: Rig) -> None:
    await rig.text("Hello")
    await rig.deliver(Request(method="POST", url=rig.hook_url))
    assert (await probe(rig, "/healthz")).status == 200
    assert (await probe(rig, "/readyz")).status == 200
    metrics = (await probe(rig, "/metrics")).body.decode()
    for line in (
        'sluiceway_deliveries_total{connection="twilio-uk",outcome="stored"}',
        'sluiceway_deliveries_total{connection="twilio-uk",outcome="refused"}',
        'sluiceway_facts_total{account="uk-sms",kind="received"}',
        'sluiceway_conversations_opened_total{account="uk-sms",channel="sms"}',
        "sluiceway_publish_seconds_count",
        "sluiceway_nats_connected 1.0",
    ):
        assert line in metrics


@pytest.mark.parametrize("path", ["/", "/hooks/twilio-uk", "/metrics/"])
async def test_probes_serve_nothing_else(rig: Rig, path: str) -> None:
    assert (await probe(rig, path)).status == 404
    assert (await probe(rig, "/healthz", "POST")).status == 405


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
async def test_the_hooks_port_serves_no_probes(rig: Rig, path: str) -> None:
    assert (await rig.client.exchange(Request.get(rig.core.http.base_url + path))).status == 404


async def test_until_nats_is_reached_it_is_healthy_not_ready_and_sends_deliveries_back(
    tmp_path: Path, own_nats: NatsServer
) -> None:
    own_nats.kill()
    service = configured(tmp_path, own_nats)
    rig = Rig(service._core, service.accounts, free_port())
    rig.service, rig.link = service, service.link
    await service.start()
    try:
        assert (await probe(rig, "/healthz")).status == 200
        unready = await probe(rig, "/readyz")
        assert unready.status == 503
        assert unready.body.startswith(b"NATS was not reached yet")
        answer = await rig.text("Hello")
        assert (answer.status, answer.headers["retry-after"]) == (503, "5")
        own_nats.restart()
        await until(lambda: service.ready, "the service is ready")
        assert (await probe(rig, "/readyz")).status == 200
        assert (await rig.text("Hello")).status == 200
        own_nats.kill()
        await until(lambda: not service.link.connected, "the loss is noticed")
        assert (await probe(rig, "/readyz")).status == 200, "answering 503 is the service while NATS is away"
        assert (await probe(rig, "/healthz")).status == 200
        assert b"sluiceway_nats_connected 0.0" in (await probe(rig, "/metrics")).body
    finally:
        await service.stop()
        await rig.client.close()


async def test_a_missing_stream_is_what_it_is_not_ready_for_and_is_not_logged_every_second(
    tmp_path: Path, shared_nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CONNECT_PAUSE_S", 0.01)
    service = configured(tmp_path, shared_nats, TWILIO.replace("[nats]", '[nats]\nstreams = "check"'))
    rig = Rig(service._core, service.accounts, free_port())
    rig.service, rig.link = service, service.link
    looked = 0

    async def look(*args: Any, **kwargs: Any) -> None:
        nonlocal looked
        looked += 1
        await ensure(*args, **kwargs)

    monkeypatch.setattr(module, "ensure", look)
    with structlog.testing.capture_logs() as logs:
        await service.start()
        try:
            await until(lambda: looked > 20, "it has looked often")
            unready = await probe(rig, "/readyz")
            assert unready.status == 503
            assert b"the stream" in unready.body
            assert b"not reached" not in unready.body
            told = [line for line in logs if line["event"] == "service.not_ready"]
            assert len({line["why"] for line in told}) == len(told), "each once"
            await ensure(service.link, Layout(service._core.nats), create=True, tenants={"acme"})
            await until(lambda: service.ready, "the service is ready")
            assert (await probe(rig, "/readyz")).body == b"ready\n"
        finally:
            await service.stop()
            await rig.client.close()


async def test_a_stop_lets_a_delivery_in_flight_be_stored_and_answered(
    tmp_path: Path, shared_nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, gate = asyncio.Event(), asyncio.Event()
    original = Link.request

    async def request(
        self: Link,
        subject: str,
        payload: bytes = b"",
        headers: Mapping[str, str] | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> Msg:
        if b"In flight" in payload:
            held.set()
            await gate.wait()
        return await original(self, subject, payload, headers, timeout_s)

    monkeypatch.setattr(Link, "request", request)
    async with running(tmp_path, shared_nats) as rig:
        delivering = asyncio.create_task(rig.text("In flight"))
        await held.wait()
        stopping = asyncio.create_task(rig.service.stop())

        async def refuses() -> bool:
            try:
                _, writer = await asyncio.open_connection(*rig.core.http.listen.split(":"))
            except OSError:
                return True
            writer.close()
            return False

        await until(refuses, "nothing more is accepted")
        assert not stopping.done()
        gate.set()
        assert (await delivering).status == 200
        await stopping
        async with linked(rig.core.nats) as link:
            rig.link = link
            (event,) = await rig.events("message.received")
    assert isinstance(event.data, MessageReceived)
    assert event.data.message.text == "In flight"


async def test_it_runs_until_it_is_told_to_stop(tmp_path: Path, shared_nats: NatsServer) -> None:
    service, stop = configured(tmp_path, shared_nats), asyncio.Event()
    running = asyncio.create_task(service.run(stop))
    await until(lambda: service.ready, "the service is ready")
    stop.set()
    await running
    assert not service.link.connected


@pytest.mark.parametrize("taken", ["hooks", "probes"])
async def test_a_port_that_is_taken_ends_the_start_and_leaves_nothing_open(
    tmp_path: Path, shared_nats: NatsServer, taken: str
) -> None:
    first = configured(tmp_path, shared_nats)
    await first.start()
    listen = first._core.http.listen if taken == "hooks" else first._core.probes.listen
    second = configured(tmp_path, shared_nats)
    section = second._core.http if taken == "hooks" else second._core.probes
    changed = msgspec.structs.replace(section, listen=listen)
    core = msgspec.structs.replace(second._core, **{"http" if taken == "hooks" else "probes": changed})
    second = Service(core, second.accounts)
    with pytest.raises(OSError, match="address already in use"):
        await second.run(asyncio.Event())
    assert second._client._session.closed
    for other in (second._core.http.listen, second._core.probes.listen):
        if other != listen:
            with pytest.raises(OSError, match="Connect call failed"):
                await asyncio.open_connection(*other.split(":"))
    await first.stop()


async def test_another_identity_key_ends_it_with_the_reason(tmp_path: Path, shared_nats: NatsServer) -> None:
    number = free_port()
    first = configured(tmp_path, shared_nats, number=number)
    await first.start()
    await until(lambda: first.ready, "the first is ready")
    await first.stop()
    second = configured(tmp_path, shared_nats, number=number)
    key = msgspec.structs.replace(second._core.identity, key=Secret("another key, also long enough"))
    second = Service(msgspec.structs.replace(second._core, identity=key), second.accounts)
    with pytest.raises(ConfigError, match=r"identity\.key: is not the key that this NATS's contacts were made with"):
        await second.run(asyncio.Event())


def test_without_an_identity_key_there_is_no_service(tmp_path: Path, shared_nats: NatsServer) -> None:
    served = configured(tmp_path, shared_nats).accounts
    with pytest.raises(ConfigError, match=r"identity\.key: is missing; make one: openssl rand -hex 32"):
        Service(Core(), served)


async def test_streams_that_an_administrator_makes_are_waited_for(
    tmp_path: Path, own_nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CONNECT_PAUSE_S", 0.05)
    text = TWILIO.replace("[http]", 'streams = "check"\n[http]')
    async with linked(Nats(url=own_nats.url)) as link:
        service = configured(tmp_path, own_nats, text)
        await service.start()
        await until(lambda: service.link.connected, "NATS is reached")
        assert not service.ready
        own_nats.kill()
        await until(lambda: not service.link.connected, "the loss is noticed")
        own_nats.restart()
        await until(lambda: link.connected, "NATS is back")
        await ensure(link, Layout(service._core.nats), create=True, tenants=("acme",))
        await until(lambda: service.ready, "the service is ready")
        await service.stop()


async def test_a_service_whose_nats_is_gone_can_be_stopped(tmp_path: Path, own_nats: NatsServer) -> None:
    async with running(tmp_path, own_nats) as rig:
        await rig.send("Hello", to=("tel:+447700900456",))
        await rig.until_event("message.sent")
        own_nats.kill()
        await until(lambda: not rig.link.connected, "the loss is noticed")


async def test_a_part_that_breaks_ends_the_service(
    tmp_path: Path, shared_nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(self: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("sluiceway.unserved.Unserved.run", broken)
    service = configured(tmp_path, shared_nats)
    running = asyncio.create_task(service.run(asyncio.Event()))
    await asyncio.wait([running], timeout=30)
    assert running.done()
    with pytest.raises(SluicewayError, match="a part broke"):
        await running
