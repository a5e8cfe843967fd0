"""`sluiceway streams`: streams and buckets made before anything runs, and how they are. Alters and removes nothing."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click
import msgspec

from sluiceway_contracts import subjects

from ..errors import SluicewayError, Unavailable
from . import options

if TYPE_CHECKING:
    from ..bus.link import Link
    from ..bus.streams import Stream
    from ..config import Core

State = Literal["made", "there", "differs", "wrong", "missing", "failed"]
T = TypeVar("T")

PAUSE_S = 0.5
ONCE = (
    "note: this NATS is a cluster, but [nats] replicas is 1: what is made so is lost with one server's disk. "
    "Make streams with the setting of the streams job, such as SLUICEWAY_NATS__REPLICAS=3; for those that are there, "
    "see SluicewayStreamReplicas in docs/operations.md"
)
COLOURS: dict[State, str] = {
    "made": "green",
    "there": "green",
    "differs": "yellow",
    "wrong": "red",
    "missing": "red",
    "failed": "red",
}
EXAMPLES = """\b
Examples:
  sluiceway streams create --config /etc/sluiceway.toml
  sluiceway streams create --tenant acme --tenant globex
  sluiceway streams list
"""


class Finding(msgspec.Struct, omit_defaults=True):
    """One stream or bucket, and what there is to say about it."""

    name: str
    state: State
    details: list[str] = []
    stream: Stream | None = None


def _tenants(context: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    try:
        return tuple(map(subjects.name, value))
    except subjects.InvalidSubject as error:
        raise click.BadParameter(str(error)) from error


tenants = click.option(
    "--tenant",
    "tenants",
    multiple=True,
    metavar="TENANT",
    callback=_tenants,
    help="A tenant whose files have a bucket, besides those of the configuration's accounts; may be given again.",
)


@click.group(epilog=EXAMPLES)
def command() -> None:
    """The streams and buckets that everything else needs; of the configuration only [nats] and tenants are read."""


@command.command(epilog="Example:  sluiceway streams create --tenant acme")
@tenants
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(min=0),
    default=0,
    show_default=True,
    metavar="SECONDS",
    help="How long NATS may not be there yet, or not with all its servers.",
)
@options.as_json
@options.config
def create(*, tenants: tuple[str, ...], wait_s: float, as_json: bool, file: str | None) -> None:
    """Make those that are missing, whatever [nats] streams says, and tell of each; exit code 1 where one can't be made.

    What is there is left as it is; where its limits are not those configured, that is told.
    """
    core, wanted = _wanted(file, tenants)
    if not options.run(_tell(_create(core, wanted, wait_s), as_json=as_json)):
        sys.exit(1)


@command.command("list", epilog="Example:  sluiceway streams list")
@tenants
@options.as_json
@options.config
def list_(*, tenants: tuple[str, ...], as_json: bool, file: str | None) -> None:
    """Tell of each how full it is, its replicas, storage and limits, and how it differs from what it must be."""
    core, wanted = _wanted(file, tenants)
    options.run(_tell(_list(core, wanted), as_json=as_json))


def _wanted(file: str | None, tenants: Iterable[str]) -> tuple[Core, dict[str, dict[str, Any]]]:
    from .. import outline
    from ..bus.streams import Layout
    from ..config import load

    config = load(file, optional=True, secrets=("nats",))
    return config.core, Layout(config.core.nats).with_media({*tenants, *outline.tenants(config)})


async def _tell(findings: AsyncIterator[Finding], *, as_json: bool) -> bool:
    """Tell of each as it is found; whether none failed."""
    good = True
    async for finding in findings:
        good = good and finding.state != "failed"
        click.echo(msgspec.json.encode(finding) if as_json else _line(finding))
    return good


def _line(finding: Finding) -> str:
    stream, told = finding.stream, list(finding.details)
    if stream is not None:
        age = f"{stream.max_age_s / 86_400:g}d" if stream.max_age_s else "without end"
        size = f"at most {stream.max_bytes:,} bytes" if stream.max_bytes else "of any size"
        how = f"{stream.storage} ×{stream.replicas}, kept {age}, {size}"
        told.insert(0, f"{stream.messages:,} messages, {stream.bytes:,} bytes; {how}")
    word = click.style(f"{finding.state:8}", fg=COLOURS[finding.state])
    return f"{word}{finding.name}{': ' if told else ''}{'; '.join(told)}"


class Patience:
    """Does something again until it can be done or the time is over, and says once what it waits for."""

    def __init__(self, wait_s: float) -> None:
        self._wait_s, self._end, self._told = wait_s, time.monotonic() + wait_s, False

    async def until(self, work: Callable[[], Awaitable[T]]) -> T:
        """What it returns, or the error of the last time."""
        from ..bus.streams import NotYet

        while True:
            try:
                return await work()
            except (Unavailable, NotYet) as error:
                if time.monotonic() >= self._end:
                    raise
                if not self._told:
                    click.echo(f"waiting for NATS, {self._wait_s:g} s at most: {error}", err=True)
                    self._told = True
            await asyncio.sleep(PAUSE_S)


async def _create(core: Core, wanted: dict[str, dict[str, Any]], wait_s: float) -> AsyncIterator[Finding]:
    from ..bus.streams import make
    from . import bus

    patience = Patience(wait_s)
    async with AsyncExitStack() as connections:
        link = await patience.until(lambda: connections.enter_async_context(bus.connected(core)))
        for name, config in wanted.items():
            try:
                made, differs = await patience.until(partial(make, link, name, config))
            except Unavailable:
                raise
            except SluicewayError as error:
                yield Finding(name, "failed", [str(error)])
            else:
                yield Finding(name, "made" if made else "differs" if differs else "there", differs)
        await _note(core, link, wanted)


async def _list(core: Core, wanted: dict[str, dict[str, Any]]) -> AsyncIterator[Finding]:
    from ..bus.streams import look
    from . import bus

    async with bus.connected(core) as link:
        for name, config in wanted.items():
            found = await look(link, name, config)
            if found is None:
                yield Finding(name, "missing", ["`sluiceway streams create` makes it"])
            elif found.wrong is not None:
                yield Finding(name, "wrong", [found.wrong, *found.differs], found.stream)
            else:
                yield Finding(name, "differs" if found.differs else "there", found.differs, found.stream)
        await _note(core, link, wanted)


async def _note(core: Core, link: Link, wanted: dict[str, dict[str, Any]]) -> None:
    """Say where NATS is a cluster, and what is made is kept once: that is seldom meant."""
    from ..bus.streams import look

    if core.nats.replicas > 1:
        return
    for name, config in wanted.items():
        if (found := await look(link, name, config)) is not None:
            if found.stream.clustered:
                click.secho(ONCE, fg="yellow", err=True)
            return
