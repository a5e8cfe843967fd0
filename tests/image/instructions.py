"""What a Containerfile says, stage by stage. Knows the form of its instructions, not what they do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple


class Instruction(NamedTuple):
    """One, its continued lines joined: `RUN` and what follows it."""

    name: str
    value: str


class Stage(NamedTuple):
    """What a FROM begins; one without a name is called ""."""

    image: str
    name: str
    instructions: tuple[Instruction, ...]

    def values(self, name: str) -> list[str]:
        return [instruction.value for instruction in self.instructions if instruction.name == name]


def read(file: Path) -> tuple[list[Instruction], list[Stage]]:
    """What stands before the first FROM, and the stages."""
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")]
    whole = re.sub(r"\\\n", " ", "\n".join(lines))
    instructions = [Instruction(*line.strip().split(maxsplit=1)) for line in whole.splitlines() if line.strip()]
    starts = [number for number, instruction in enumerate(instructions) if instruction.name == "FROM"]
    stages = []
    for start, end in zip(starts, [*starts[1:], None], strict=True):
        image, _, name = instructions[start].value.partition(" AS ")
        stages.append(Stage(image, name, tuple(instructions[start + 1 : end])))
    return instructions[: starts[0]], stages
