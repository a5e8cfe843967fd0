"""What /metrics tells of a service that runs: how much, how fast, how old, and what is broken."""

from __future__ import annotations

import asyncio
import shutil
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from sluiceway import Listener, Unreachable, accounts, config, desk, metrics, sending
from sluiceway.testing.nats import NatsServer
from sluiceway.wire import Request, Response
from sluiceway_contracts import ConversationClose, uuid7

from .conftest import ENVIRONMENT, TWILIO, Rig, running, until

SOMEBODY = "tel:+447700900777"
MAILBOX = """
[connections.inbox]
gateway = "email.imap"
relay_host = "127.0.0.1"
host = "127.0.0.1"
user = "help"
password = "env:IDENTITY_KEY"
[accounts.help]
connection = "inbox"
tenant = "acme"
address = "mailto:help@acme.example"
"""
PROMTOOL = shutil.which("promtool")


async def page(rig: Rig) -> str:
    return (await rig.client.exchange(Request.get(f"http://{rig.core.probes.listen}/metrics"))).body.decode()


async def value(rig: Rig, name: str, /, **labels: str) -> float | None:
    """A sample of the page; None where there is none."""
    for family in text_string_to_metric_families(await page(rig)):
        for sample in family.samples:
            if sample.name == name and sample.labels == labels:
                return float(sample.value)
    return None


def answering(rig: Rig, monkeypatch: pytest.MonkeyPatch, response: Response) -> None:
    async def answer(request: Request) -> Response:
        return response

    monkeypatch.setattr(rig.provider, "answer", answer)


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not here: apt-get install prometheus")
async def test_promtool_finds_nothing_wrong_with_the_page_of_a_running_service(rig: Rig) -> None:
    await rig.text("Hello")
    await rig.send("Hello", to=(SOMEBODY,))
    await rig.until_event("message.sent")
    promtool = await asyncio.create_subprocess_exec(
        PROMTOOL or "", "check", "metrics", stdin=PIPE, stdout=PIPE, stderr=STDOUT
    )
    said, _ = await promtool.communicate((await page(rig)).encode())
    assert (promtool.returncode, said.decode()) == (0, "")


async def test_deliveries_are_timed_by_connection_and_events_by_account(rig: Rig) -> None:
    answered = await value(rig, "sluiceway_hook_seconds_count", connection="twilio-uk") or 0
    published = await value(rig, "sluiceway_publish_seconds_count", account="uk-sms") or 0
    again = await value(rig, "sluiceway_published_again_total", account="uk-sms") or 0
    delivery = rig.simulator.deliver(rig.account().account, "+447700900456", "Hello")
    await rig.deliver(delivery)
    await rig.deliver(delivery)
    assert await value(rig, "sluiceway_hook_seconds_count", connection="twilio-uk") == answered + 2
    assert (await value(rig, "sluiceway_publish_seconds_count", account="uk-sms") or 0) >= published + 2
    assert await value(rig, "sluiceway_published_again_total", account="uk-sms") == again + 1


async def test_an_account_that_only_a_command_names_gets_no_series_of_its_own(rig: Rig) -> None:
    await rig.send("Hello", account="nobodys-account", to=(SOMEBODY,))
    await rig.until_event("command.failed")
    assert "nobodys-account" not in await page(rig)


async def test_sends_are_counted_by_the_providers_answer_and_timed(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    async def sends(outcome: str) -> float:
        return await value(rig, "sluiceway_sends_total", account="uk-sms", outcome=outcome) or 0

    sent, rejected = await sends("sent"), await sends("rejected")
    timed = await value(rig, "sluiceway_provider_seconds_count", account="uk-sms") or 0
    await rig.send("Hello", to=(SOMEBODY,))
    await rig.until_event("message.sent")
    answering(rig, monkeypatch, Response.of_json({"code": 21211, "message": "Invalid 'To'"}, status=400))
    await rig.send("Hello", to=("tel:+447700900778",))
    await until(lambda: refused(rig), "it is refused")
    assert (await sends("sent"), await sends("rejected")) == (sent + 1, rejected + 1)
    assert await value(rig, "sluiceway_provider_seconds_count", account="uk-sms") == timed + 2


async def refused(rig: Rig) -> bool:
    return any(getattr(event.data, "status", "") == "rejected" for event in await rig.events("message.status"))


async def test_commands_of_a_paused_account_wait_and_grow_old(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sluiceway.health.PROBE_S", 0.2)
    original = rig.provider.answer
    answering(rig, monkeypatch, Response.of_json({"code": 20003, "message": "Authenticate"}, status=401))
    for number in range(3):
        await rig.send(str(number), to=(SOMEBODY,))

    async def shows(paused: float, waiting: float) -> bool:
        oldest = await value(rig, "sluiceway_commands_oldest_age_seconds", account="uk-sms") or 0
        return (
            await value(rig, "sluiceway_account_paused", account="uk-sms") == paused
            and await value(rig, "sluiceway_commands_waiting", account="uk-sms") == waiting
            and (oldest > 0) == (waiting > 0)
        )

    await until(lambda: shows(1, 3), "three wait")
    before = await value(rig, "sluiceway_commands_oldest_age_seconds", account="uk-sms") or 0
    assert (await value(rig, "sluiceway_commands_oldest_age_seconds", account="uk-sms") or 0) > before
    monkeypatch.setattr(rig.provider, "answer", original)
    await until(lambda: shows(0, 0), "none waits")


async def test_dead_letters_are_counted_from_zero_once_each(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await value(rig, "sluiceway_dead_letters_total", kind="commands", name="de-sms") == 0
    unknown = await value(rig, "sluiceway_dead_letters_total", kind="inbound", name="twilio-uk") or 0
    monkeypatch.setattr(sending, "RETRIES_S", ())
    answering(rig, monkeypatch, Response(status=429))
    await rig.send("Hello", account="de-sms", to=(SOMEBODY,))
    await rig.until_event("error.dead_letter")
    assert await value(rig, "sluiceway_dead_letters_total", kind="commands", name="de-sms") == 1
    metrics.dead_letters.remove("commands", "de-sms")  # the registry is the process's: other tests count from zero too
    metrics.count.cache_clear()
    assert await value(rig, "sluiceway_dead_letters_total", kind="inbound", name="twilio-uk") == unknown


async def test_what_waits_on_disk_grows_old_until_nats_has_it(tmp_path: Path, own_nats: NatsServer) -> None:
    text = TWILIO + f'[spool]\npath = "{tmp_path / "spool"}"\n'
    async with running(tmp_path, own_nats, text) as rig:
        assert await value(rig, "sluiceway_spool_oldest_age_seconds") == 0
        reconnects = await value(rig, "sluiceway_nats_reconnects_total") or 0
        own_nats.kill()
        await until(lambda: not rig.link.connected, "the loss is noticed")
        assert (await rig.text("Hello")).status == 200
        before = await value(rig, "sluiceway_spool_oldest_age_seconds") or 0
        assert (await value(rig, "sluiceway_spool_oldest_age_seconds") or 0) > before
        own_nats.restart()

        async def is_empty() -> bool:
            return await value(rig, "sluiceway_spool_oldest_age_seconds") == 0

        await until(is_empty, "the spool is empty")
        assert await value(rig, "sluiceway_nats_reconnects_total") == reconnects + 1
        assert await value(rig, "sluiceway_spool_records") == 0


async def test_a_process_tells_what_it_is_and_whether_it_is_ready(rig: Rig) -> None:
    names = rig.core.nats.names
    assert await value(rig, "sluiceway_ready") == 1
    assert await value(rig, "sluiceway_accounts", channel="sms") == 2
    assert await value(rig, "sluiceway_stream_replicas", stream=f"{names}_EVENTS") == 1
    assert await value(rig, "sluiceway_stream_replicas", stream=f"OBJ_{names}_MEDIA_acme") == 1
    assert await value(rig, "sluiceway_nats_clustered") == 0
    assert "sluiceway_build_info{version=" in await page(rig)

    async def has_looked() -> bool:
        return (await value(rig, "sluiceway_loop_lag_seconds_count") or 0) > 0

    await until(has_looked, "the loop's lag is measured")


async def test_a_dispatcher_stands_by_until_there_is_a_command_for_it(rig: Rig) -> None:
    assert await value(rig, "sluiceway_dispatcher", state="standby") == 1
    await rig.command(b"nonsense", f"any.any.{ConversationClose.type.removeprefix('sluiceway.')}.{uuid7()}")

    async def is_active() -> bool:
        return await value(rig, "sluiceway_dispatcher", state="active") == 1

    await until(is_active, "it is active")
    assert await value(rig, "sluiceway_dispatcher", state="standby") == 0


async def test_a_gateways_process_tells_of_no_dispatcher(tmp_path: Path, shared_nats: NatsServer) -> None:
    async with running(tmp_path, shared_nats, dispatches=False) as rig:
        assert await value(rig, "sluiceway_dispatcher", state="standby") is None
        assert await value(rig, "sluiceway_dispatcher", state="active") is None


async def test_a_listener_that_breaks_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk, "AGAIN_S", 0.01)

    class Breaking(Listener):
        channel = "email"

        async def listen(self, desk: Any) -> None:
            raise Unreachable("nobody is there")

    def broken() -> float:
        return float(metrics.count(metrics.listeners_broken, "inbox")._value.get())

    before = broken()
    listening = asyncio.create_task(desk.listen(Breaking(), None, None, "inbox"))  # type: ignore[arg-type]
    await until(lambda: broken() >= before + 2, "it is begun again")
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)


async def test_a_mailbox_that_refuses_our_login_is_told_until_it_lets_us_in_or_is_no_more(tmp_path: Path) -> None:
    (tmp_path / "sluiceway.toml").write_text(MAILBOX)
    served = accounts.of(config.load(str(tmp_path / "sluiceway.toml"), ENVIRONMENT))
    nothing: Any = None
    listening = desk.Listening(served, nothing, nothing, nothing, nothing, nothing, "")

    def refused() -> float | None:
        return REGISTRY.get_sample_value("sluiceway_login_refused", {"connection": "inbox"})

    listening.desks["inbox"].let_in(False)
    assert refused() == 1
    listening.desks["inbox"].let_in(True)
    assert refused() == 0
    listening.renew(["inbox"])
    assert refused() is None
