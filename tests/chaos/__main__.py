"""Plugs pulled while an independent ledger counts: every fault played, one table, exit code 1 on any violation."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from .patience import explained, places
from .scenarios import SCENARIOS
from .stage import Row, Scenario, Turns, play

COLUMNS = (
    "fault",
    "deliveries",
    "files",
    "lost",
    "duplicated",
    "out of order",
    "commands",
    "no end",
    "sent twice",
    "unknown",
    "recovery s in/out",
    "slowest answer s",
    "peak RSS MB",
    "",
)
LONG = 3
"""How much longer the scenarios of further rounds are."""


@dataclass
class Run:
    """What was found so far."""

    rows: dict[str, list[Row]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether there is anything to show, and nothing wrong with it."""
        violated = any(row.verdict.why for rows in self.rows.values() for row in rows)
        return bool(self.rows) and not self.broken and not violated

    def note_stray(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """An exception of ours that nobody waited for is a defect of this run; a library's is logged."""
        error = context.get("exception")
        if error is not None and places(error):
            self.broken.append(f"{context['message']}: {explained(error)}")
        else:
            loop.default_exception_handler(context)


async def rounds(chosen: list[Scenario], minutes: float, jobs: int, keep: Path | None) -> Run:
    """Every scenario once, however long that takes; then again and longer for as long as there is time."""
    run, began, scale = Run(), time.monotonic(), 1
    asyncio.get_running_loop().set_exception_handler(run.note_stray)
    run.skipped = {scenario.fault: why for scenario in chosen if (why := scenario.missing())}
    playable = [scenario for scenario in chosen if scenario.fault not in run.skipped]
    longest = 0.0
    while scale == 1 or time.monotonic() + longest < began + minutes * 60:
        round_began = time.monotonic()
        turns = Turns(jobs)
        await asyncio.gather(*(_one(run, scenario, scale, turns, keep) for scenario in playable))
        longest = max(longest, (time.monotonic() - round_began) * LONG / scale)
        scale = LONG
    return run


async def _one(run: Run, scenario: Scenario, scale: int, turns: Turns, keep: Path | None) -> None:
    began = time.monotonic()
    try:
        rows = await play(scenario, scale, turns, keep)
    except Exception as error:
        run.broken.append(f"{scenario.fault}: {explained(error)}")
    else:
        for row in rows:
            run.rows.setdefault(row.fault, []).append(row)
    click.echo(f"{scenario.fault}: judged after {time.monotonic() - began:.0f} s of this round", err=True)


def report(run: Run) -> str:
    """The table, what was skipped, and what is wrong."""
    lines = [tuple(COLUMNS), *(_line(fault, rows) for fault, rows in run.rows.items())]
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    text += [f"skipped: {fault}: {why}" for fault, why in run.skipped.items()]
    text += [f"broken: {why}" for why in run.broken]
    text += [f"{fault}: {why}" for fault, rows in run.rows.items() for row in rows for why in row.verdict.why]
    return "\n".join(text)


def _line(fault: str, rows: list[Row]) -> tuple[str, ...]:
    found = [row.verdict for row in rows]
    return (
        fault,
        str(sum(v.acknowledged for v in found)),
        str(sum(v.files for v in found)),
        str(sum(v.lost for v in found)),
        str(sum(v.duplicated for v in found)),
        str(sum(v.disorder for v in found)),
        str(sum(v.commands for v in found)),
        str(sum(v.unended for v in found)),
        str(sum(v.twice for v in found)),
        f"{sum(v.unknown for v in found)} of ≤{sum(v.may_be_unknown for v in found)}",
        f"{_worst([row.recovery_in_s for row in rows])}/{_worst([row.recovery_out_s for row in rows])}",
        f"{max(row.slowest_s for row in rows):.1f}",
        f"{max(row.peak_mb for row in rows):.0f}",
        "VIOLATED" if any(v.why for v in found) else "ok",
    )


def _worst(seconds: list[float | None]) -> str:
    known = [s for s in seconds if s is not None]
    return f"{max(known):.1f}" if known else "–"


@click.command()
@click.option("--minutes", default=3.0, show_default=True, type=click.FloatRange(0, min_open=True))
@click.option("--only", default="", help="Only faults whose name has this in it.")
@click.option("--jobs", default=2, show_default=True, type=click.IntRange(1), help="Scenarios at the same time.")
@click.option("--keep", type=click.Path(path_type=Path), help="A folder for the logs of what went wrong.")
def main(minutes: float, only: str, jobs: int, keep: Path | None) -> None:
    """Play every fault and print what came of it."""
    chosen = [scenario for scenario in SCENARIOS if only in scenario.fault]
    if not chosen:
        raise click.BadParameter(f"no fault has {only!r} in its name", param_hint="--only")

    async def whole() -> Run:
        task = asyncio.current_task()
        if task is not None:
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await rounds(chosen, minutes, jobs, keep)

    run = asyncio.run(whole())
    click.echo(report(run))
    sys.exit(0 if run.good else 1)


if __name__ == "__main__":
    main()
