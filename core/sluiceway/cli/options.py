"""Options that several commands share, and running asyncio code under them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

import click

T = TypeVar("T")

config = click.option(
    "--config", "file", metavar="FILE", help="The configuration; else $SLUICEWAY_CONFIG, else sluiceway.toml here."
)
as_json = click.option("--json", "as_json", is_flag=True, help="JSON lines, for programs.")


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run on uvloop, where there is one."""
    if sys.platform == "win32":
        return asyncio.run(main)
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)
