"""Calls placed by a gateway: each once, whatever crashes or stays unanswered."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from sluiceway import Account, Ambiguous, Caller, CredentialsRefused, Dial, Rejected, Throttled, Unreachable
from sluiceway.accounts import Served
from sluiceway.bus.link import Link
from sluiceway.bus.reader import Reader
from sluiceway.bus.store import Bucket
from sluiceway.bus.streams import Layout
from sluiceway.calls import placing
from sluiceway.calls.placing import Placed, Placing
from sluiceway.identity import Identity
from sluiceway_contracts import CallDial, CallHangUp, CallStep, Command, now, uuid7

WANTED = CallDial(call_id=uuid7(), attempt=1, leg="agent", address="tel:+442079460123")


class Network(Caller):
    """A provider that does as it is told, and the driver that asks it."""

    channel = "voice"

    def __init__(self) -> None:
        self.dials: list[str | Exception] = []
        self.finds: list[str | Exception | None] = []
        self.hang_ups: list[Exception | None] = []
        self.dialled = 0
        self.hung_up: list[str] = []

    def dial(self, order: Dial[Any]) -> Generator[Any, Any, str]:
        yield from ()
        self.dialled += 1
        return str(_told(self.dials.pop(0)))

    def find(self, order: Dial[Any]) -> Generator[Any, Any, str | None]:
        yield from ()
        found = _told(self.finds.pop(0))
        return None if found is None else str(found)

    def hang_up(self, account: Account, external_id: str) -> Generator[Any, Any, None]:
        yield from ()
        self.hung_up.append(external_id)
        _told(self.hang_ups.pop(0) if self.hang_ups else None)

    async def play(self, flow: Any, ask: Any = None) -> Any:
        try:
            next(flow)
        except StopIteration as stop:
            return stop.value
        raise AssertionError("it asks for more")

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        yield


def _told(outcome: object) -> object:
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


class Line:
    """One account's placing, and what it told."""

    def __init__(self, link: Link, layout: Layout) -> None:
        self.network = Network()
        account = Account(connection="c", tenant="acme", address="tel:+442079460000")
        served = Served(name="uk", channel="voice", connection="c", account=account, gateway=self.network)  # type: ignore[arg-type]  # it is a Caller, and that is all that is asked of it here
        self.placed = Bucket(link, layout.messages, Placed)
        self._reader = Reader(link, layout.commands)
        self._prefix = link.settings.prefix
        self.placing = Placing(
            served,
            link,
            self._prefix,
            identity=Identity(b"a key for tests only"),
            placed=self.placed,
            driver=self.network,
            health=self.network,  # type: ignore[arg-type]  # it has turns
        )

    async def run(self, data: CallDial | CallHangUp = WANTED) -> None:
        await self.placing.run(Command(tenant="acme", channel="voice", account="uk", data=data))

    async def told(self) -> list[tuple[str, str | None, str | None]]:
        """The steps that the dispatcher was told: step, the provider's id, the error's code."""
        start = f"{self._prefix}.v1.acme.commands.any.any.call.step.>"
        steps = [Command.decode(stored.data).data async for stored in self._reader.messages(start, "all", follow=False)]
        return [
            (step.step, step.external_id, step.error.code if step.error else None)
            for step in steps
            if isinstance(step, CallStep)
        ]


@pytest.fixture
async def line(link: Link, layout: Layout, monkeypatch: pytest.MonkeyPatch) -> Line:
    monkeypatch.setattr(placing, "TRIES_S", (0, 0))
    monkeypatch.setattr(placing, "LOOKS_S", (0, 0, 0))
    return Line(link, layout)


async def test_a_call_is_placed_once_however_often_it_is_ordered(line: Line) -> None:
    line.network.dials = ["CA1"]
    for _ in range(3):
        await line.run()
    assert line.network.dialled == 1
    assert await line.told() == [("placed", "CA1", None)]


async def test_after_a_crash_the_provider_is_asked_and_nobody_is_dialled_again(line: Line) -> None:
    await line.placed.create(f"acme.d.{WANTED.call_id}_1_agent", Placed(now()))
    line.network.finds = [None, "CA1"]
    await line.run()
    assert line.network.dialled == 0
    assert await line.told() == [("placed", "CA1", None)]


@pytest.mark.parametrize(
    ("finds", "step"),
    [
        (["CA1"], ("placed", "CA1", None)),
        ([None, None, None], ("failed", None, "not_placed")),
        ([Unreachable("no"), None, "CA1"], ("placed", "CA1", None)),
        ([None, None, Unreachable("no")], ("lost", None, "unknown")),
    ],
)
async def test_an_answer_that_was_lost_is_looked_up(line: Line, finds: list[Any], step: tuple[str, ...]) -> None:
    line.network.dials, line.network.finds = [Ambiguous("no answer")], finds
    await line.run()
    assert line.network.dialled == 1
    assert await line.told() == [step]


@pytest.mark.parametrize(
    ("dials", "dialled", "step"),
    [
        ([Rejected("no such number", "21211")], 1, ("failed", None, "rejected")),
        ([CredentialsRefused("who are you", "20003")], 1, ("failed", None, "credentials_refused")),
        ([Throttled("slower"), Unreachable("no"), "CA1"], 3, ("placed", "CA1", None)),
        ([Throttled("slower"), Throttled("slower"), Throttled("slower")], 3, ("failed", None, "throttled")),
    ],
)
async def test_what_was_not_placed_is_told_by_name(
    line: Line, dials: list[Any], dialled: int, step: tuple[str, ...]
) -> None:
    line.network.dials = dials
    await line.run()
    assert line.network.dialled == dialled
    assert await line.told() == [step]


async def test_whoever_is_to_be_hung_up_on_is_or_it_is_said_in_the_log(line: Line) -> None:
    hang_up = CallHangUp(call_id=WANTED.call_id, external_id="CA1")
    line.network.hang_ups = [Unreachable("no"), None, Rejected("gone", "20404"), *[Unreachable("no")] * 3]
    for _ in range(3):
        await line.run(hang_up)
    assert line.network.hung_up == ["CA1"] * 6
