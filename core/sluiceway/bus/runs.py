"""Rising numbers as text, runs of them written as their ends: "5-7,9". Short where they follow each other."""

from __future__ import annotations

from collections.abc import Iterable


def written(numbers: Iterable[int]) -> str:
    """Numbers that rise."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def read(text: str) -> tuple[int, ...]:
    """What `written` made; nothing for anything else."""
    found: list[int] = []
    try:
        for run in text.split(",") if text else ():
            first, _, last = run.partition("-")
            found += range(int(first), int(last or first) + 1)
    except ValueError:
        return ()
    return tuple(found)
