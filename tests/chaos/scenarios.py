"""The faults: what harm is done, and how. What must hold afterwards is the oracle's to say, but for a few bounds."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import random
import signal
import time
from collections.abc import Callable

from .patience import PATIENCE_S
from .provider import Manner
from .stage import EXIT_S, RECOVERY_S, Scenario, Stage, can_mount
from .world import Gateway

ILL: tuple[Manner, ...] = ("429", "500", "garbage", "nothing", "drip", "drop")
AWAY_S = 6.0
FROZEN_S = 3.0
DOWN_S = 1.0
ROOM_BYTES = 40_000
BALLAST_LEAVES = 200_000
REFUSED = 50
CATCH_UP_S = 5.0
STORM, TIMES, AT_ONCE = 1000, 10, 24
SPOOL = '\n[spool]\npath = "{folder}/spool"\n'


async def kill_nats(stage: Stage) -> None:
    for _ in range(stage.scale):
        stage.world.server.kill()
        await asyncio.sleep(DOWN_S)
        await stage.world.server.start()
        stage.mark()
        await asyncio.sleep(random.uniform(2, 4))


async def freeze_nats(stage: Stage) -> None:
    for _ in range(stage.scale):
        stage.world.server.signal(signal.SIGSTOP)
        await asyncio.sleep(FROZEN_S)
        stage.world.server.signal(signal.SIGCONT)
        stage.mark()
        await asyncio.sleep(random.uniform(2, 4))


async def take_nats_away(stage: Stage) -> None:
    before = stage.refused
    stage.world.server.kill()
    await asyncio.sleep(AWAY_S)
    stage.check(stage.refused - before <= len(stage.customers), "refused although the spool is on")
    await stage.world.server.start()
    stage.mark()


async def kill_with_spool(stage: Stage) -> None:
    """What one process spooled, the next one stores."""
    gateway = stage.gateway()
    stage.caught()
    stage.world.server.kill()
    await asyncio.sleep(AWAY_S / 2)
    gateway.kill()
    gateway.spawn()
    await asyncio.sleep(DOWN_S)
    await stage.world.server.start()
    stage.mark()


async def kill_gateways(stage: Stage) -> None:
    for _ in range(3 * stage.scale):
        gateway = stage.gateway()
        stage.caught()
        gateway.kill()
        stage.mark()
        await asyncio.sleep(random.uniform(0.3, 1.5))
        await gateway.start()
        await asyncio.sleep(random.uniform(0.2, 1.0))


async def kill_senders(stage: Stage) -> None:
    """One kill in two hits the replica that has the account. Each waits until the account is served again."""
    for turn in range(2 * stage.scale):
        gateway = stage.gateway() if turn % 2 else await _sender(stage)
        stage.caught()
        gateway.kill()
        stage.mark()
        await asyncio.sleep(random.uniform(0.1, 1.0))
        await gateway.start()
        await _until_sending(stage)
        await asyncio.sleep(random.uniform(0.5, 2.0))


async def _sender(stage: Stage) -> Gateway:
    gateways = stage.world.gateways
    before = [await asyncio.to_thread(gateway.sent) for gateway in gateways]
    await asyncio.sleep(1)
    after = [await asyncio.to_thread(gateway.sent) for gateway in gateways]
    return max(zip(gateways, before, after, strict=True), key=lambda found: found[2] - found[1])[0]


async def _until_sending(stage: Stage) -> None:
    (provider,) = stage.providers.values()
    mark = time.monotonic() + 1  # what was asked for until then may be of the one that was killed
    served = await until(lambda: bool(provider.asked) and provider.asked[-1].at > mark, PATIENCE_S)
    stage.check(served, f"the account was not served again within {PATIENCE_S:g} s")


async def stop_gateways(stage: Stage) -> None:
    for gateway in stage.world.gateways * stage.scale:
        code, seconds = await gateway.terminate()
        stage.mark()
        stage.check(code == 0, f"SIGTERM: exit code {code}")
        stage.check(seconds <= EXIT_S, f"SIGTERM: took {seconds:.1f} s")
        await gateway.start()
        await asyncio.sleep(1)


async def stop_unanswered(stage: Stage) -> None:
    """What the provider does not answer in time may end unknown; waiting for it must not take too long."""
    (provider,) = stage.providers.values()
    provider.slow_s = 2 * EXIT_S
    await asyncio.sleep(1)
    stopping = [asyncio.create_task(gateway.terminate()) for gateway in stage.world.gateways]
    stage.caught()
    for code, seconds in await asyncio.gather(*stopping):
        stage.check(code == 0, f"SIGTERM: exit code {code}")
        stage.check(seconds <= EXIT_S, f"SIGTERM: took {seconds:.1f} s")
    provider.slow_s = 0
    await asyncio.gather(*(gateway.start() for gateway in stage.world.gateways))
    stage.mark()


async def misbehave(stage: Stage) -> None:
    """The providers do it by themselves, until each conversation had its share."""
    await asyncio.sleep(4 * stage.scale)


async def storm(stage: Stage) -> None:
    (customers,) = stage.customers.values()
    async with asyncio.TaskGroup() as group:
        raging = group.create_task(customers.storm(STORM * stage.scale, TIMES, AT_ONCE))
        third = STORM * TIMES * stage.scale // 3
        in_the_midst = await until(lambda: customers.answers > third or raging.done(), 10 * PATIENCE_S)
        stage.check(in_the_midst and not raging.done(), "NATS was not killed in the midst of the storm")
        stage.world.server.kill()
        await asyncio.sleep(DOWN_S)
        await stage.world.server.start()
        stage.mark()


async def fill_stream(stage: Stage) -> None:
    before = stage.refused
    await stage.set_limit(ROOM_BYTES)
    await _until_refused(stage, before)
    await stage.set_limit(None)
    stage.mark()


async def fill_disk(stage: Stage) -> None:
    before, disk = stage.refused, stage.world.folder / "disk"
    ballast = disk / "ballast"
    free = _free(str(disk))
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as stream:  # the server may fill it first
        stream.write(bytes(max(0, free - BALLAST_LEAVES)))
    await _until_refused(stage, before)
    ballast.unlink()
    await stage.world.server.terminate()
    await stage.world.server.start()
    stage.mark()


async def kill_leader(stage: Stage) -> None:
    for _ in range(stage.scale):
        name = await stage.leader()
        leader = next(server for server in stage.world.servers if server.name == name)
        leader.kill()
        stage.mark()
        await asyncio.sleep(2)
        await leader.start()
        await asyncio.sleep(CATCH_UP_S)


async def _until_refused(stage: Stage, before: int) -> None:
    full = await until(lambda: stage.refused - before >= REFUSED, PATIENCE_S)
    stage.check(full, "it was never full, so that nothing was shown")


async def until(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait until something holds; whether it came to that in time."""
    deadline = time.monotonic() + seconds
    while True:
        if condition() or time.monotonic() > deadline:
            return condition()
        await asyncio.sleep(0.05)


def _free(path: str) -> int:
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


def _spool() -> str:
    return "" if importlib.util.find_spec("sluiceway.spool") else "there is no spool yet"


SCENARIOS = (
    Scenario("gateways killed, sending", kill_senders, replicas=3),
    Scenario("gateway killed", kill_gateways, replicas=2),
    Scenario("provider", misbehave, lines=ILL, customers=3, conversations=6, most=20),
    Scenario("SIGTERM, provider silent", stop_unanswered, replicas=2, timed=True),
    Scenario("leader of three killed", kill_leader, servers=3, replicas=2),
    Scenario("duplicate storm, NATS killed", storm, customers=0, limit_s=RECOVERY_S),
    Scenario("NATS killed", kill_nats, limit_s=RECOVERY_S),
    Scenario("SIGTERM", stop_gateways, replicas=2, timed=True),
    Scenario("disk full", fill_disk, disk_mb=32, limit_s=RECOVERY_S, missing=can_mount),
    Scenario("NATS away, spool on", take_nats_away, extra=SPOOL, limit_s=RECOVERY_S, missing=_spool),
    Scenario("gateway killed, spool filled", kill_with_spool, extra=SPOOL, missing=_spool),
    Scenario("NATS frozen", freeze_nats, limit_s=RECOVERY_S),
    Scenario("stream full", fill_stream, limit_s=RECOVERY_S),
)
