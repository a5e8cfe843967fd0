"""Options that several commands share, and running asyncio code under them."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import click

from sluiceway_contracts import is_uuid, subjects

T = TypeVar("T")

INTERRUPTED = 130
UNITS_S = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}

config = click.option(
    "--config", "file", metavar="FILE", help="The configuration; else $SLUICEWAY_CONFIG, else sluiceway.toml here."
)
as_json = click.option("--json", "as_json", is_flag=True, help="JSON lines, for programs.")


def token(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """A tenant's, channel's or account's name, or the usage error that it is none."""
    try:
        return None if value is None else subjects.name(value)
    except subjects.InvalidSubject as error:
        raise click.BadParameter(str(error)) from error


def tokens(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """Several of them."""
    return tuple(found for value in values if (found := token(context, parameter, value)) is not None)


def conversation(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """A conversation's id, or the usage error that it is none."""
    if value is None or is_uuid(value):
        return value
    raise click.BadParameter(f"{value!r} is no conversation's id: a UUID in lower case, as `sluiceway tail` shows it")


def uuid(context: click.Context, parameter: click.Parameter, value: str) -> str:
    """An id, or the usage error that it is none."""
    if is_uuid(value):
        return value
    raise click.BadParameter(f"{value!r} is no id: a UUID in lower case")


def words(context: click.Context, parameter: click.Parameter, value: str) -> str:
    """A text that says something, or the usage error that it does not."""
    if not value.strip():
        raise click.BadParameter("the text is empty")
    return value


def seconds(context: click.Context, parameter: click.Parameter, value: str) -> float:
    """The seconds of a duration such as 30s, 10m, 2h or 1d, or the usage error that it is none."""
    found = re.fullmatch(r"([0-9]{1,9})([smhd]?)", value)
    if found is None:
        raise click.BadParameter(f"{value!r} is no duration: write a number and s, m, h or d, such as 30s or 10m")
    return int(found[1]) * UNITS_S[found[2]]


channels = click.argument("channels", nargs=-1, metavar="[CHANNEL…]", callback=tokens)


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run on uvloop, where there is one. Ctrl-C ends the process with 130, as shells expect."""
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(main)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    import uvloop

    return uvloop.new_event_loop
