"""How good estimates of waits are: what callers are told against how long they wait, on a virtual clock.

Run as `python -m tests.bench.waits`. All figures are of those who can't be put through at once.
"""

from __future__ import annotations

import itertools

import click

from ..calls import line


def sentence(runs: list[list[line.Told]]) -> str:
    """All runs together, and the one in which the fewest ranges were true."""
    all = line.figures(itertools.chain.from_iterable(runs))
    worst = min(line.figures(run).true for run in runs)
    return (
        f"{all.waits:,} waits, {all.told:.1%} told a range, {all.true:.1%} of those true "
        f"({worst:.1%} in the worst run); "
        f"median width {all.width_ms / 1000:.0f} s, {all.relative_width:.2f} of the middle"
    )


@click.command()
@click.option("--seeds", default=20, show_default=True, type=click.IntRange(1), help="Runs, each by its seed.")
@click.option("--n", default=1000, show_default=True, type=click.IntRange(100), help="Requests a run.")
def main(seeds: int, n: int) -> None:
    """Say how often the wait was in the range that was told, and how wide the ranges are."""
    for name, draw in line.HOLDING_TIMES.items():
        runs = [line.play(draw, seed, n) for seed in range(seeds)]
        click.echo(f"{name}, on arrival: {sentence([run.arriving for run in runs])}")
        click.echo(f"{name}, moving up: {sentence([run.moving for run in runs])}")


if __name__ == "__main__":
    main()
