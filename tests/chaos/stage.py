"""One scenario played: the world is built, loaded, harmed by the scenario's act, left to heal, and judged."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nats.aio.client import Client

from . import keeping, load, oracle
from .load import Customers, Desk, Hook, Receipts
from .oracle import STREAM, Ledger, Verdict
from .patience import persist
from .provider import Manner, Provider
from .world import Gateway, World, world

CUSTOMERS = 20
CONVERSATIONS = 10
THINK_S = 0.12
DESK_THINK_S = 0.2
WARM_S = 1.5
HEAL_S = 3.0
RECOVERY_S = 5.0
EXIT_S = 10.0
API_S = 5.0
UNAVAILABLE = 503
"""JetStream's word for now, such as without a leader."""


def possible() -> str:
    return ""


class Turns:
    """Who may load the machine: so many scenarios at the same time, or one alone."""

    def __init__(self, jobs: int) -> None:
        self._jobs = self._free = jobs
        self._changed = asyncio.Condition()

    @contextlib.asynccontextmanager
    async def taken(self, alone: bool) -> AsyncIterator[None]:
        """Wait for a turn, and have it."""
        wanted = self._jobs if alone else 1
        async with self._changed:
            await self._changed.wait_for(lambda: self._free >= wanted)
            self._free -= wanted
        try:
            yield
        finally:
            async with self._changed:
                self._free += wanted
                self._changed.notify_all()


@dataclass(frozen=True)
class Scenario:
    """A fault. `act` does the harm; `missing` says why it can't be played here, or nothing.

    `limit_s` bounds the recovery after each mark, `most` the commands to each conversation. `timed` where `act` checks
    how long something takes.
    """

    fault: str
    act: Callable[[Stage], Awaitable[None]]
    replicas: int = 1
    servers: int = 1
    lines: tuple[Manner, ...] = ("well",)
    customers: int = CUSTOMERS
    conversations: int = CONVERSATIONS
    most: int = 2000
    limit_s: float | None = None
    timed: bool = False
    disk_mb: int = 0
    extra: str = ""
    missing: Callable[[], str] = possible

    @property
    def alone(self) -> bool:
        """Whether a time is checked, so that no other scenario may load the machine meanwhile."""
        return self.timed or self.limit_s is not None


@dataclass
class Row:
    """What a scenario came to on one line."""

    fault: str
    verdict: Verdict
    recovery_in_s: float | None
    recovery_out_s: float | None
    slowest_s: float
    peak_mb: float


@dataclass
class Stage:
    """A scenario while it is played. `scale` says how much longer than in the short run."""

    world: World
    connection: Client
    customers: dict[str, Customers]
    desks: dict[str, Desk]
    providers: dict[str, Provider]
    receipts: dict[str, Receipts]
    scale: int
    kills: list[float] = field(default_factory=list)
    marks: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def mark(self) -> None:
        """From now on it should recover."""
        self.marks.append(time.monotonic())

    def caught(self) -> None:
        """A kill of a gateway, now: one send a conversation may be in flight."""
        self.kills.append(time.monotonic())

    def check(self, holds: bool, what: str) -> None:
        """Note a violation of the scenario's own."""
        if not holds:
            self.wrong.append(what)

    def gateway(self) -> Gateway:
        """One of the replicas, at random."""
        return random.choice(self.world.gateways)

    @property
    def refused(self) -> int:
        return sum(customers.hook.refused for customers in self.customers.values())

    async def set_limit(self, more_bytes: int | None) -> None:
        """Let the stream of events hold so many bytes more than now; None: no limit. Raises `NeverCame`."""
        found = await self._api(f"STREAM.INFO.{STREAM}", {})
        config = found["config"]
        config["max_bytes"] = -1 if more_bytes is None else int(found["state"]["bytes"]) + more_bytes
        await self._api(f"STREAM.UPDATE.{STREAM}", config)

    async def leader(self) -> str:
        """The server that leads the stream of events, as soon as all others are up to date. Raises `NeverCame`."""

        async def led() -> str | None:
            cluster = (await self._api(f"STREAM.INFO.{STREAM}", {}))["cluster"]
            others = cluster.get("replicas") or []
            whole = len(others) == len(self.world.servers) - 1 and all(other["current"] for other in others)
            return cluster.get("leader") or None if whole else None

        return await persist("a leader of the stream that all others follow", led)

    async def _api(self, call: str, body: dict[str, Any]) -> dict[str, Any]:
        """JetStream's answer; while it has no leader, or is away, it is asked again. Raises `NeverCame`."""
        payload = json.dumps(body).encode() if body else b""

        async def asked() -> dict[str, Any] | None:
            answer = await self.connection.request(f"$JS.API.{call}", payload, timeout=API_S)
            result: dict[str, Any] = json.loads(answer.data)
            return None if result.get("error", {}).get("code") == UNAVAILABLE else result

        result = await persist(f"an answer to {call}", asked)
        if "error" in result:
            raise RuntimeError(f"{call}: {result['error']}")
        return result


async def play(scenario: Scenario, scale: int, turns: Turns, keep: Path | None = None) -> list[Row]:
    """Play it in its turn, and judge each of its lines; while that waits for ends, the next one has its turn."""
    folder = Path(tempfile.mkdtemp(prefix="sluiceway-chaos-"))
    good = False
    try:
        async with contextlib.AsyncExitStack() as stack:
            async with turns.taken(scenario.alone):
                stage = await _build(scenario, scale, folder, stack)
                await _act(scenario, stage)
            rows = await _judge(scenario, stage)
        good = not any(row.verdict.why for row in rows)
        return rows
    finally:
        if keep is not None and not good:
            shutil.copytree(folder, keep / f"{scenario.fault.replace(' ', '-')}-{time.time():.0f}", dirs_exist_ok=True)
        shutil.rmtree(folder, ignore_errors=True)


async def _build(scenario: Scenario, scale: int, folder: Path, stack: contextlib.AsyncExitStack) -> Stage:
    names = [f"line-{manner}" for manner in scenario.lines]
    numbers = {name: f"+4477009001{n:02}" for n, name in enumerate(names)}
    providers = {
        name: await stack.enter_async_context(Provider(manner).serving())
        for name, manner in zip(names, scenario.lines, strict=True)
    }
    store = stack.enter_context(small_disk(folder / "disk", scenario.disk_mb)) if scenario.disk_mb else None
    lines = {name: (numbers[name], providers[name].url) for name in names}
    made = world(folder, lines, servers=scenario.servers, replicas=scenario.replicas, store=store, extra=scenario.extra)
    whole = await stack.enter_async_context(made)
    http = await stack.enter_async_context(load.http())
    connection = await stack.enter_async_context(load.connected(whole.url))
    hooks = {name: Hook(name, numbers[name], whole.gateways, http) for name in names}
    customers = {name: Customers(hooks[name], providers[name].url) for name in names}
    desks = {name: Desk(name, connection) for name in names}
    receipts = {name: Receipts(hooks[name]) for name in names}
    for name, provider in providers.items():
        provider.on_taken = receipts[name].expect
        await stack.enter_async_context(receipts[name].delivering())
    return Stage(whole, connection, customers, desks, providers, receipts, scale)


async def _act(scenario: Scenario, stage: Stage) -> None:
    async with _loaded(scenario, stage):
        await asyncio.sleep(WARM_S)
        await scenario.act(stage)
        await asyncio.sleep(HEAL_S)


@contextlib.asynccontextmanager
async def _loaded(scenario: Scenario, stage: Stage) -> AsyncIterator[None]:
    """Customers write and are written to within; what was begun is brought to its end."""
    stop = asyncio.Event()
    talks = [c.talk(scenario.customers, THINK_S, stop) for c in stage.customers.values()]
    talks += [d.talk(scenario.conversations, DESK_THINK_S, stop, scenario.most) for d in stage.desks.values()]
    talking = asyncio.gather(*talks)
    try:
        yield
        stop.set()
        await talking
    finally:
        talking.cancel()
        await asyncio.gather(talking, return_exceptions=True)


async def _judge(scenario: Scenario, stage: Stage) -> list[Row]:
    ledgers = {name: _ledger(scenario, stage, name) for name in stage.providers}
    async with load.connected(stage.world.url) as connection:
        js = connection.jetstream(timeout=API_S)

        def done(story: oracle.Story) -> bool:
            return all(ledger.is_told(story) for ledger in ledgers.values())

        await oracle.read(js, done)
        for receipts in stage.receipts.values():
            await receipts.finish()
        left = await keeping.left(js, stage.providers)
        story = await oracle.read(js, done)
        kept = {name: oracle.kept(story, ledger.deliveries) for name, ledger in ledgers.items()}
        missing = {name: await keeping.missing(js, digests) for name, digests in kept.items()}
    rows = []
    for name, provider in stage.providers.items():
        customers = stage.customers[name]
        verdict = oracle.judge(story, ledgers[name])
        verdict.lost += verdict.find("file not in the store", missing[name])
        verdict.find("work left", left[name])
        verdict.why += stage.wrong
        verdict.find("asked before Retry-After was over", (f"{s:.2f} s after the 429" for s in provider.early))
        into, out = _recovery_in(scenario, stage, customers), _recovery_out(stage, provider)
        if scenario.limit_s is not None:
            verdict.why += late("inbound", into, scenario.limit_s) + late("outbound", out, scenario.limit_s)
        fault = scenario.fault if len(stage.providers) == 1 else f"{scenario.fault}: {name.removeprefix('line-')}"
        rows.append(Row(fault, verdict, into, out, customers.hook.slowest_s, stage.world.peak_mb))
    return rows


def late(way: str, seconds: float | None, limit_s: float) -> list[str]:
    """What is wrong with a recovery: it took too long, or never was."""
    if seconds is None:
        return [f"{way} never recovered"]
    return [f"{way} recovered after {seconds:.1f} s, not within {limit_s:g} s"] if seconds > limit_s else []


def _ledger(scenario: Scenario, stage: Stage, name: str) -> Ledger:
    return Ledger(
        deliveries=stage.customers[name].deliveries,
        commands=stage.desks[name].sent,
        receipts=stage.receipts[name].acknowledged,
        provider=stage.providers[name],
        kills=stage.kills,
        conversations=scenario.conversations,
    )


def _recovery_in(scenario: Scenario, stage: Stage, customers: Customers) -> float | None:
    """From a mark until the last customer had a 2xx again, in a storm the first; the worst of all marks."""
    worst: list[float] = []
    for mark in stage.marks:
        first: dict[str, float] = {}
        for delivery in customers.deliveries:
            if delivery.acknowledged is not None and delivery.acknowledged > mark:
                first.setdefault(delivery.customer, delivery.acknowledged - mark)
        if first:
            worst.append(max(first.values()) if scenario.customers else min(first.values()))
    return max(worst, default=None)


def _recovery_out(stage: Stage, provider: Provider) -> float | None:
    """From a mark until the provider was asked again, the worst of all marks."""
    firsts = [next((asked.at - mark for asked in provider.asked if asked.at > mark), None) for mark in stage.marks]
    return max((first for first in firsts if first is not None), default=None)


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """A tmpfs of this size. Raises `CalledProcessError`."""
    folder.mkdir(parents=True)
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "chaos", str(folder)], check=True, capture_output=True
    )
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False, capture_output=True)


def can_mount() -> str:
    """Why no small disk can be had, or nothing."""
    folder = Path(tempfile.mkdtemp(prefix="sluiceway-chaos-"))
    try:
        with small_disk(folder / "disk", 1):
            return ""
    except (OSError, subprocess.CalledProcessError):
        return "a small tmpfs can't be mounted; that takes root"
    finally:
        shutil.rmtree(folder, ignore_errors=True)
